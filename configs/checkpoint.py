"""The configuration that a checkpoint tells: `checkpoint.py:uri=FILE&model=NAME`."""

from urllib.parse import parse_qsl

from ml_collections import ConfigDict


def get_config(query: str) -> ConfigDict:
    """Architecture and constructor arguments of a checkpoint's model.

    Args:
        query: As in a URL: `uri`, and where the checkpoint does not tell, `model`,
            `checkpoint_key` and `dialect`.

    Raises:
        CheckpointError: if it cannot be read, contradicts itself or the model's name,
            or does not tell which model it is.
        UnknownModelError: if there is no model of that name.
    """
    from vit_tf.checkpoint import read_checkpoint
    from vit_tf.find_config import config_of

    given = dict(parse_qsl(query))
    model = given.pop("model", "")
    return config_of(read_checkpoint(given.pop("uri"), **given), model)
