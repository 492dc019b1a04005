"""A bundle as a variation of a model on Kaggle."""

import dataclasses
import functools
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vit_tf.export import bundle
from vit_tf.export import card as cards
from vit_tf.publish import kaggle_card
from vit_tf.publish.errors import DifferentError, PublishError
from vit_tf.publish.patience import status
from vit_tf.publish.release import DESCRIBED, Release
from vit_tf.publish.target import Plan

if TYPE_CHECKING:
    from kagglesdk.models.services.model_api_service import ModelApiClient
    from kagglesdk.models.types.model_api_service import ApiModel, ApiModelInstance

FRAMEWORK = "tensorFlow2"
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
SEPARATE = 50  # files; the client sends more of them as one zip
ALL = None  # what its client calls all files of a version
# Many files it unpacks with a filter that Python has since 3.11.4; others come singly.
UNPACKS = hasattr(tarfile, "data_filter")
NOT_THERE = (403, 404)  # Kaggle does not tell what is missing from what is private


@dataclasses.dataclass(frozen=True)
class Kaggle:
    """A variation. The token is the client's own: KAGGLE_API_TOKEN, or ~/.kaggle.

    Files arrive first, then one request makes a version of them, which appears once
    Kaggle has processed it. It does not show a version before, so the variation's
    overview says which bundle was sent last.

    Attributes:
        name: "OWNER/MODEL/VARIATION".
        overwrite: Whether a bundle is sent again that was sent, and is not there yet.

    Raises:
        PublishError: if the client is not installed, or it is no such name.
    """

    name: str
    overwrite: bool = False

    def __post_init__(self) -> None:
        try:
            import kagglehub  # noqa: F401
        except ImportError as error:
            raise PublishError(
                f"{self.place} needs kagglehub: pip install 'vit_tf[publish]'"
            ) from error
        parts = self.name.split("/")
        if len(parts) != 3 or not all(map(SLUG.fullmatch, parts)):
            raise PublishError(
                f"{self.place} found; expected: kaggle:OWNER/MODEL/VARIATION, of "
                "letters, digits and hyphens"
            )

    @property
    def place(self) -> str:
        return f"kaggle:{self.name}"

    @property
    def address(self) -> str:
        from kagglehub.handle import parse_model_handle

        return parse_model_handle(self._handle).to_url()

    def rendered(self, release: Release) -> Release:
        return release

    def card(self, release: Release) -> str:
        told = self._told(release)
        return "\n\n".join(f"{name}: {value}" for name, value in told.items())

    def plan(self, release: Release) -> Plan:
        told = self._told(release)
        model, variation = self._there()
        described = kaggle_card.said_anew(told, model, variation)
        notes = [] if told["license_name"] else ["Kaggle has no name for its licence"]
        if model is None or model.is_private:
            notes.append("private, until it is made public there")
        if variation and not self._describing_differ(release, variation):
            files = {}
        elif _is_processed(release, variation) and not self.overwrite:
            files = {}
            notes.append("sent before; Kaggle does not show it yet")
        else:
            files = {path: file.size for path, file in release.files.items()}
        if len(files) > SEPARATE:
            notes.append(f"{len(files)} files go as one zip, which Kaggle unpacks")
        return Plan(files, described=described, notes=tuple(notes))

    def send(self, release: Release, plan: Plan) -> None:
        import kagglehub
        from kagglehub.exceptions import handle_mutate_call

        if plan.files:
            with _as_folder(release) as folder:
                kagglehub.model_upload(
                    self._handle,
                    str(folder),
                    license_name=plan.described.get("license_name"),
                    version_notes=f"bundle {release.digest}",
                )
        with self._client() as client:
            for call, request in kaggle_card.requests(client, plan.described):
                handle_mutate_call(functools.partial(call, self._address(request)))

    def differing(self, release: Release) -> list[str]:
        """What a client downloads otherwise. Small files first: they tell versions.

        Raises:
            DifferentError: if it is of an earlier version, and this one was sent.
        """
        _, variation = self._there()
        if variation is None:
            return list(release.files)
        if differing := self._describing_differ(release, variation):
            if _is_processed(release, variation):
                raise DifferentError(
                    f"version {variation.version_number} found; expected: the one that "
                    "was sent after it. The same command looks again; where Kaggle's "
                    "page says that it could not be processed, --overwrite sends anew"
                )
            return differing
        paths = [ALL] if UNPACKS else release.files
        return release.differing(self._downloaded(variation, paths))

    @property
    def _handle(self) -> str:
        owner, model, variation = self.name.split("/")
        return f"{owner}/{model}/{FRAMEWORK}/{variation}"

    def _told(self, release: Release) -> dict[str, Any]:
        """What Kaggle is to say of a release."""
        told = cards.kaggle(release.card, self._handle)
        return {**told, "overview": f"{told['overview']}\n\n{_sent(release)}"}

    @contextmanager
    def _client(self) -> "Iterator[ModelApiClient]":
        from kagglehub.clients import build_kaggle_client

        with build_kaggle_client() as client:
            yield client.models.model_api_client

    def _address(self, request: Any) -> Any:
        """Says in a request which model, or which variation of it, is meant."""
        from kagglehub.handle import parse_model_handle

        handle = parse_model_handle(self._handle)
        request.owner_slug, request.model_slug = handle.owner, handle.model
        if hasattr(request, "instance_slug"):
            request.instance_slug = handle.variation
            request.framework = handle.framework_enum()
        return request

    def _there(self) -> "tuple[ApiModel | None, ApiModelInstance | None]":
        """The model and the variation; None where there is none."""
        import requests
        from kagglesdk.models.types import model_api_service as api

        found = []
        with self._client() as client:
            for call, kind in (
                (client.get_model, api.ApiGetModelRequest),
                (client.get_model_instance, api.ApiGetModelInstanceRequest),
            ):
                try:
                    found.append(call(self._address(kind())))
                except requests.HTTPError as error:
                    if status(error) not in NOT_THERE:
                        raise
                    found.append(None)
        return found[0], found[1]

    def _describing_differ(
        self, release: Release, variation: "ApiModelInstance"
    ) -> list[str]:
        """Which of the files differ that say what is in all others."""
        describing = [path for path in DESCRIBED if path in release.files]
        found = self._downloaded(variation, describing)
        return [path for path in release.differing(found) if path in describing]

    def _downloaded(
        self, variation: "ApiModelInstance", paths: Iterable[str | None]
    ) -> dict[str, str]:
        """path -> sha256 of those of `paths` that a client finds; or of `ALL`."""
        import kagglehub
        import requests

        handle = f"{self._handle}/{variation.version_number}"
        with tempfile.TemporaryDirectory() as folder:
            for path in paths:
                try:
                    kagglehub.model_download(handle, path, output_dir=folder)
                except requests.HTTPError as error:
                    if path is ALL or status(error) not in NOT_THERE:
                        raise
            return bundle.hashes(Path(folder))


def _sent(release: Release) -> str:
    """The words in an overview that tell one bundle from another."""
    return f"Bundle: sha256 {release.digest}"


def _is_processed(release: Release, variation: "ApiModelInstance | None") -> bool:
    """Whether a variation that shows another bundle was sent this one after it."""
    return variation is not None and _sent(release) in (variation.overview or "")


@contextmanager
def _as_folder(release: Release) -> Iterator[Path]:
    """A folder of the release's files and no others, of which none is copied."""
    with tempfile.TemporaryDirectory() as name:
        for path, file in release.files.items():
            place = Path(name) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(file.source, bytes):
                place.write_bytes(file.source)
            else:
                place.symlink_to(file.source)
        yield Path(name)
