"""What `--to` names."""

from pathlib import Path

from vit_tf.publish.archive import Archive
from vit_tf.publish.errors import PublishError
from vit_tf.publish.folder import Folder
from vit_tf.publish.hugging_face import HuggingFace
from vit_tf.publish.kaggle import Kaggle
from vit_tf.publish.release import Release
from vit_tf.publish.target import Target

FORMS = "hf:ORG/NAME, kaggle:OWNER/MODEL/VARIATION, tar:DIRECTORY or dir:DIRECTORY"


def target_of(
    to: str,
    release: Release,
    *,
    private: bool = False,
    revision: str = "",
    overwrite: bool = False,
) -> Target:
    """Where a release is to go.

    Raises:
        PublishError: if it is none of the four forms, or has no such options.
    """
    kind, _, name = to.partition(":")
    if kind not in ("hf", "kaggle", "tar", "dir") or not name:
        raise PublishError(f"--to={to} found; expected: {FORMS}")
    given = {"--private": private, "--revision": revision}, {"--overwrite": overwrite}
    for flags, kinds in zip(given, (["hf"], ["kaggle", "tar", "dir"]), strict=True):
        wrong = [flag for flag, value in flags.items() if value]
        if wrong and kind not in kinds:
            places = ", ".join(f"{kind}:" for kind in kinds)
            raise PublishError(
                f"{' and '.join(wrong)} found; expected with {places} only"
            )
    if kind == "hf":
        return HuggingFace(name, revision or "main", private)
    if kind == "kaggle":
        return Kaggle(name, overwrite)
    place = Path(name).resolve()
    if place != release.folder and release.folder in place.parents:
        raise PublishError(f"{place} is in the bundle itself; name another place")
    if kind == "tar":
        return Archive(place, release.name, overwrite)
    return Folder(place, overwrite)
