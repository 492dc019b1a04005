"""A bundle published: planned, sent, read back."""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path

from vit_tf.publish import release as releases
from vit_tf.publish.address import target_of
from vit_tf.publish.errors import DifferentError
from vit_tf.publish.patience import patiently
from vit_tf.publish.release import Release
from vit_tf.publish.target import Plan, Target


@dataclasses.dataclass(frozen=True)
class Publication:
    """What became of it.

    Attributes:
        place: Where the bundle is, or would be.
        address: Where a person finds it.
        plan: What that place lacked.
        card: What it shows.
        sent: Whether that was sent; False where nothing was to be sent, and in a dry
            run.
        read_back: Whether what a client downloads was compared.
    """

    place: str
    address: str
    plan: Plan
    card: str
    sent: bool
    read_back: bool

    def __str__(self) -> str:
        done = _listed("sent", self.plan) if self.sent else ["unchanged: nothing sent"]
        if self.read_back:
            done.append("read back: the same")
        notes = self.plan.notes if self.sent else ()
        return "\n".join([f"{self.place}: {'; '.join(done)}", self.address, *notes])

    def preview(self) -> str:
        """What a dry run shows."""
        if not self.plan:
            return f"{self.place}: unchanged, nothing would be sent"
        rows = [f"  {size:>15,}  {path}" for path, size in self.plan.files.items()]
        rows += [f"  {'removed':>15}  {path}" for path in self.plan.removed]
        return "\n".join(
            [
                f"{self.place}: {'; '.join(_listed('would be sent', self.plan))}",
                *rows,
                *self.plan.notes,
                f"\n{self.card}",
            ]
        )


def publish(
    bundle: str | Path,
    to: str,
    *,
    license_name: str = "",
    allow_unproven: bool = False,
    private: bool = False,
    revision: str = "",
    overwrite: bool = False,
    dry_run: bool = False,
    verify: bool = True,
    retries: int = 5,
    wait: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = lambda text: None,
) -> Publication:
    """Publishes a bundle; what is there already is not sent again.

    Args:
        bundle: The folder that `convert` wrote.
        to: "hf:ORG/NAME", "kaggle:OWNER/MODEL/VARIATION", "tar:DIRECTORY" or
            "dir:DIRECTORY".
        license_name: That of the weights, where the bundle does not say it.
        allow_unproven: Whether it may be one that was not compared with timm.
        private: Whether a Hugging Face repository that is made is a private one.
        revision: The branch of a Hugging Face repository; "" for main.
        overwrite: Whether a folder or an archive may replace a bundle of another
            model, or one with files that no bundle wrote; whether Kaggle is sent again
            what it was sent and does not show.
        dry_run: Whether nothing is sent, and only what would be is said.
        verify: Whether what a client downloads is compared with the bundle afterwards.
        retries: How often what fails by chance is tried again.
        wait: Waits for seconds, before it is.
        say: Is told of each try that failed.

    Raises:
        PublishError: if the bundle may not be published, or its place refuses it, or
            gives back something else.
        OSError: if a folder or an archive cannot be written, or what is there not be
            replaced.
    """
    release = releases.of_bundle(
        bundle, license_name=license_name, allow_unproven=allow_unproven
    )
    target = target_of(
        to, release, private=private, revision=revision, overwrite=overwrite
    )
    release = target.rendered(release)
    attempt = functools.partial(
        patiently, place=target.place, retries=retries, wait=wait, say=say
    )
    if dry_run:
        plan = attempt(lambda: target.plan(release))
    else:
        plan = _sent(target, release, attempt)
    read_back = verify and not dry_run
    if read_back:
        attempt(lambda: _check_same(target, release))
    return Publication(
        target.place,
        target.address,
        plan,
        target.card(release),
        sent=bool(plan) and not dry_run,
        read_back=read_back,
    )


def _sent(target: Target, release: Release, attempt: Callable) -> Plan:
    """Sends what is lacking. What was lacking at first is what it gives back.

    Each try plans anew: of one that failed, all may have arrived but the answer.
    """
    plans = []

    def send() -> None:
        plans.append(target.plan(release))
        if plans[-1]:
            target.send(release, plans[-1])

    attempt(send)
    return plans[0]


def _check_same(target: Target, release: Release) -> None:
    if differing := target.differing(release):
        raise DifferentError(
            f"read back, {', '.join(differing)} found to differ from what was sent"
        )


def _listed(done: str, plan: Plan) -> list[str]:
    """What a plan comes to, part by part."""
    parts = []
    if plan.files:
        total = sum(plan.files.values())
        parts.append(f"{done}: {len(plan.files)} files, {total:,} bytes")
    if plan.removed:
        parts.append(f"removed: {len(plan.removed)}")
    if plan.described:
        parts.append(f"described: {', '.join(plan.described)}")
    return parts
