"""The configuration that a timm local directory states: `local_dir.py:DIRECTORY`."""

from ml_collections import ConfigDict


def get_config(directory: str, architecture: str = "") -> ConfigDict:
    """Architecture and constructor arguments from the directory's `config.json`.

    Args:
        directory: The folder.
        architecture: What it must state, if anything.

    Raises:
        CheckpointError: if there is none, it is not timm's, states another
            architecture, or an argument that vit_tf does not have.
        UnknownModelError: if it names an architecture that vit_tf does not have.
    """
    from vit_tf import models
    from vit_tf.checkpoints import CheckpointError
    from vit_tf.checkpoints.local_dir import check_architecture, read_config

    stated = read_config(directory)
    if architecture:
        check_architecture(directory, stated["architecture"], architecture)
    try:
        return models.get_config(stated["architecture"], **stated["model_args"])
    except models.UnknownModelError:
        raise
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{directory}/config.json: {error}") from error
