"""Remote checkpoints as files on this machine."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from vit_tf.checkpoints.download import download
from vit_tf.checkpoints.errors import DownloadError
from vit_tf.checkpoints.hub import fetch_from_hub

HUB = "hf-hub:"
GCS = "gs://"
GCS_ENDPOINT = "https://storage.googleapis.com"  # or what $VIT_TF_GCS_ENDPOINT says
Progress = Callable[[int, int | None], None]  # (bytes so far, all of them if known)


def fetch(uri: str | Path, progress: Progress = lambda done, total: None) -> Path:
    """The file on this machine that a remote one becomes; a local path as it is.

    Files are kept in `$VIT_TF_CACHE`, or ~/.cache/vit_tf, and those of the Hugging Face
    hub in its own cache. What is there is not fetched again.

    Args:
        uri: "hf-hub:ORG/NAME" or "hf-hub:ORG/NAME@REVISION"; "https://...";
            "gs://BUCKET/PATH", a public object of Google Cloud Storage; or a path.
        progress: Called as bytes of "https://" and "gs://" files arrive.

    Raises:
        DownloadError: if it cannot be had, or is not what was announced.
    """
    text = str(uri)
    if text.startswith(HUB):
        return fetch_from_hub(text.removeprefix(HUB))
    if text.startswith(GCS):
        bucket, _, path = text.removeprefix(GCS).partition("/")
        if not bucket or not path:
            raise DownloadError(f"{text}: gs://BUCKET/PATH expected")
        endpoint = os.environ.get("VIT_TF_GCS_ENDPOINT", GCS_ENDPOINT)
        return download(f"{endpoint}/{bucket}/{quote(path)}", _cache(), progress)
    if text.startswith(("https://", "http://")):
        return download(text, _cache(), progress)
    return Path(uri)


def is_remote(uri: str | Path) -> bool:
    """Whether `fetch` would ask another machine."""
    return str(uri).startswith((HUB, GCS, "https://", "http://"))


def _cache() -> Path:
    given = os.environ.get("VIT_TF_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "vit_tf"
