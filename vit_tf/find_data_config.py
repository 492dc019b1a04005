"""How images are prepared for a model, by what it is called or found as."""

from pathlib import Path

import keras

from vit_tf.export.bundle import BundleError, is_bundle, read_data_config
from vit_tf.preprocessing import DataConfig


def resolve_data_config(model: DataConfig | keras.Model | str | Path) -> DataConfig:
    """As `timm.data.resolve_data_config`, of what is known here.

    Args:
        model: The folder of a bundle; a model that `vit_tf.load` read, or that was
            made with `include_preprocessing=True`; timm's name of one of its
            pretrained models, "architecture" or "architecture.tag" (which needs timm);
            or the configuration itself.

    Raises:
        BundleError: if a bundle does not say it all.
        ValueError: if it is none of these.
    """
    if isinstance(model, DataConfig):
        return model
    if isinstance(model, keras.Model):
        data = getattr(model, "data_config", None)
        if data is None:
            raise ValueError(
                f"the model {model.name!r} does not say how its images are prepared; "
                "expected: one of vit_tf.load(bundle), or a DataConfig"
            )
        return data
    if is_bundle(Path(model)):
        return read_data_config(model)
    if Path(model).exists():
        raise BundleError(f"{model} is not a bundle of vit_tf")
    from vit_tf import reference

    return DataConfig.from_json(reference.pretrained_cfg(str(model)))
