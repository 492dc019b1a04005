"""Models of the Hugging Face hub, by its own client and in its own cache."""

from pathlib import Path

from vit_tf.checkpoints import preprocessor_config
from vit_tf.checkpoints.errors import DownloadError, listing
from vit_tf.checkpoints.local_dir import CONFIG, WEIGHTS
from vit_tf.checkpoints.shards import file_names, is_index

TIMEOUT = 5  # seconds for the hub to answer, before its cache is looked into


def fetch_from_hub(name: str) -> Path:
    """The weights of a model, with its configurations beside them.

    The hub is asked once for each file, and where it does not answer its cache is
    taken, at once: the client's own way waits for most of a minute.

    Args:
        name: "ORG/NAME" or "ORG/NAME@REVISION".

    Returns:
        The weights, or their index with all its files beside it.

    Raises:
        DownloadError: if there is no such model, it has no weights that can be read, or
            the hub does not answer and its cache has none.
    """
    try:
        from huggingface_hub.errors import HFValidationError
    except ImportError as error:
        raise DownloadError(
            f"hf-hub:{name} needs huggingface_hub: pip install huggingface_hub"
        ) from error
    repository, _, revision = name.partition("@")
    try:
        return _from_hub(repository, revision or "main")
    except DownloadError:
        raise
    except HFValidationError as error:
        raise DownloadError(f"hf-hub:{name}: {error}") from error
    except Exception as error:  # of the client, its transport, the disk: many kinds
        if cached := _from_cache(repository, revision or "main"):
            return cached
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DownloadError(
            f"hf-hub:{name}: cannot be had, and is not in the cache: {reason}"
        ) from error


def _from_hub(repository: str, revision: str) -> Path:
    for name in WEIGHTS:
        if weights := _file(repository, name, revision):
            break
    else:
        raise DownloadError(
            f"hf-hub:{repository}: no weights found; expected: {' or '.join(WEIGHTS)}"
        )
    commit = weights.parent.name  # all files are of the same
    for name in (CONFIG, preprocessor_config.NAME):
        _file(repository, name, commit)
    if is_index(weights):
        names = file_names(weights)
        if missing := [name for name in names if not _file(repository, name, commit)]:
            raise DownloadError(
                f"hf-hub:{repository}: {listing(missing)} not there; expected: all "
                f"{len(names)} files that {weights.name} names"
            )
    return weights


def _file(repository: str, name: str, revision: str) -> Path | None:
    """A file, fetched if it is not in the cache; None if the model has none such."""
    import huggingface_hub as hub

    url = hub.hf_hub_url(repository, name, revision=revision)
    try:
        hub.get_hf_file_metadata(url, timeout=TIMEOUT)
    except hub.errors.EntryNotFoundError:
        return None
    return Path(hub.hf_hub_download(repository, name, revision=revision))


def _from_cache(repository: str, revision: str) -> Path | None:
    import huggingface_hub as hub

    for name in WEIGHTS:
        path = hub.try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(path, str):
            return Path(path)
    return None
