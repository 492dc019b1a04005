"""A model as a backbone: the outputs of its blocks or stages as images of features."""

import keras
import tensorflow as tf


def feature_take_indices(
    num_features: int, indices: int | list[int] | None = None
) -> list[int]:
    """Which of a model's intermediate features are taken; timm's `_features.py`.

    Args:
        num_features: How many there are.
        indices: None for all; a number for the last so many; or a list, in which
            negative ones count from the end.

    Raises:
        ValueError: if there are not as many.
    """
    if indices is None:
        return list(range(num_features))
    if isinstance(indices, int):
        if not 0 < indices <= num_features:
            raise ValueError(f"the last {indices} of {num_features} features")
        return list(range(num_features - indices, num_features))
    found = [num_features + i if i < 0 else i for i in indices]
    if any(not 0 <= i < num_features for i in found):
        raise ValueError(f"indices={list(indices)} of {num_features} features")
    return found


@keras.saving.register_keras_serializable(package="vit_tf")
class FeatureGetter(keras.Model):
    """What `features_only=True` gives; timm's `FeatureGetterNet`.

    timm removes what the features do not need; here the model stays whole, its
    weights are those of the classifier's checkpoint, and what is not needed does not
    run, and is not trained.

    Call it on images, (B, height, width, in_chans); it returns a list of feature maps,
    (B, H, W, C), the larger ones first.

    Args:
        model: A built model that has `forward_intermediates`.
        out_indices: Which features, as `feature_take_indices` takes them; None for
            timm's default, the last three blocks or all stages.
        norm: Whether the model's last norm is applied to each.

    Raises:
        ValueError: if there are not as many features.
    """

    def __init__(
        self,
        model: keras.Model,
        out_indices: int | list[int] | None = None,
        norm: bool = False,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # the model does it itself
        self.model = model
        self.out_indices = out_indices
        self.norm = norm
        feature_take_indices(len(model.feature_info), self.indices)  # are there as many
        self.build((None, *model.img_size, model.in_chans))

    @property
    def feature_info(self) -> list[dict]:
        """Of each feature map: `module`, `num_chs` and `reduction`, as in timm."""
        info = self.model.feature_info
        return [info[i] for i in sorted(feature_take_indices(len(info), self.indices))]

    @property
    def indices(self) -> int | list[int] | None:
        """Which features, as plain values."""
        if self.out_indices is None:
            return min(self.model.default_features, len(self.model.feature_info))
        if isinstance(self.out_indices, int):
            return self.out_indices
        return list(self.out_indices)

    def call(self, images: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        return self.model.forward_intermediates(
            images,
            self.indices,
            norm=self.norm,
            intermediates_only=True,
            training=training,
        )

    def get_config(self) -> dict:
        model = keras.saving.serialize_keras_object(self.model)
        arguments = {"out_indices": self.indices, "norm": self.norm}
        return {**super().get_config(), "model": model, **arguments}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        model = keras.saving.deserialize_keras_object(
            config["model"], custom_objects=custom_objects
        )
        return cls(**{**config, "model": model})

    def build(self, input_shape):
        self.built = True  # as the model is
