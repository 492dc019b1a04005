"""Whether a bundle that is in the place of another may go for it."""

import json
from collections.abc import Collection, Mapping

from vit_tf.export import bundle
from vit_tf.publish.release import DESCRIBED, Release

TELLING = (str(bundle.CONFIG), str(bundle.PARITY))  # the files that say what one is


def check_replaceable(
    release: Release, place: str, names: Collection[str], told: Mapping[str, bytes]
) -> None:
    """That what is there is an earlier bundle of the same model, and nothing else.

    Args:
        release: What is to take its place.
        place: Where that is.
        names: The files that are there.
        told: Those of `TELLING` that are there: name -> bytes.

    Raises:
        FileExistsError: saying what is there.
    """
    if problems := _problems(release, names, told):
        raise FileExistsError(
            f"{place} is not replaced: {'; '.join(problems)}; --overwrite replaces it "
            "all the same"
        )


def _problems(
    release: Release, names: Collection[str], told: Mapping[str, bytes]
) -> list[str]:
    try:
        described, proven = (json.loads(told[name]) for name in TELLING)
        found = described["architecture"], proven["source"]["uri"]
        own = {*proven["result"], *DESCRIBED}
    except (KeyError, TypeError, ValueError):
        return [f"it does not say what it is, in {' and '.join(TELLING)}"]
    expected = release.card.described["architecture"], release.card.source["uri"]
    problems = []
    if found != expected:
        problems.append(
            f"a bundle of {' from '.join(found)} found, of {' from '.join(expected)} "
            "expected"
        )
    if others := sorted(set(names) - own):
        problems.append(f"{', '.join(others)} found, which no bundle wrote")
    return problems
