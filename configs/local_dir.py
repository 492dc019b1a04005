"""The configuration that a timm local directory states: `local_dir.py:DIRECTORY`."""

from ml_collections import ConfigDict


def get_config(directory: str) -> ConfigDict:
    """Architecture and constructor arguments from the directory's `config.json`.

    Raises:
        CheckpointError: if there is none, or it is not timm's.
        UnknownModelError: if it names an architecture that vit_tf does not have.
    """
    from vit_tf import models
    from vit_tf.checkpoints.local_dir import read_config

    stated = read_config(directory)
    return models.get_config(stated["architecture"], **stated["model_args"])
