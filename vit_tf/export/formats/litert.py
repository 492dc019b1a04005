"""LiteRT, which runs models on phones: float32, float16, dynamic int8, full int8."""

import contextlib
import functools
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vit_tf import quiet
from vit_tf.export.formats.errors import FormatError
from vit_tf.layers.window_attention_v2 import WindowAttentionV2
from vit_tf.mapping import named_layers

INSTALL = 'pip install "vit_tf[litert]"'
SIGNATURE = "serving_default"


class Converter:
    """A model's converter, which is made ready once for all precisions.

    Each file has a signature, `serving_default`, as the SavedModel has. It takes
    `images` (batch, height, width, channels) float32 of the model's own size, also
    where the model takes any: LiteRT lacks what that needs. A batch may have any
    length. It gives `logits`.

    What is made ready, a SavedModel, lies in a folder until `close`.

    Raises:
        FormatError: from each `write_...`, naming the operations that LiteRT does not
            have.
    """

    def __init__(self, model: keras.Model, folder: Path):
        """
        Args:
            model: One of ours, that computes in float32.
            folder: In which there is room for its weights once more.
        """
        self._saved = tempfile.TemporaryDirectory(dir=folder, prefix="litert-")
        with quiet.compiled_code():
            _save(model, self._saved.name)
            self._converter = tf.lite.TFLiteConverter.from_saved_model(self._saved.name)

    def close(self) -> None:
        """Removes the folder."""
        self._saved.cleanup()

    def write_float32(self, path: Path) -> None:
        """Writes a `.tflite` that computes as the model does."""
        self._write(path)

    def write_float16(self, path: Path) -> None:
        """Weights in float16, which are raised to float32 where they are used."""
        self._write(path, optimized=True, supported_types=[tf.float16])

    def write_dynamic_int8(self, path: Path) -> None:
        """Large weights in int8; the range of what they meet is found as it runs."""
        self._write(path, optimized=True)

    def write_int8(self, path: Path, representative: np.ndarray) -> None:
        """Weights, activations and arithmetic in int8; images and logits stay float32.

        Squares are in float32, too, where vectors are divided by their length (Swin
        V2): LiteRT has none in integers.

        Args:
            path: The file.
            representative: (N, H, W, C) float32, from which the ranges are taken.
        """

        def one_by_one():
            for image in representative:
                yield {"images": image[None]}

        integers = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        self._write(path, True, one_by_one, supported_ops=integers)

    def _write(
        self,
        path: Path,
        optimized: bool = False,
        representative: Callable | None = None,
        **target: Any,
    ) -> None:
        converter = self._converter
        converter.optimizations = [tf.lite.Optimize.DEFAULT] if optimized else []
        converter.representative_dataset = representative
        converter.target_spec = tf.lite.TargetSpec(**target)
        with quiet.compiled_code():
            path.write_bytes(_converted(converter.convert))


def run(path: Path, images: np.ndarray) -> np.ndarray:
    """What a `.tflite` gives for (B, H, W, C) float32 images.

    Raises:
        FormatError: if the runtime cannot run it.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet.compiled_code():
            runner = Interpreter(str(path)).get_signature_runner(SIGNATURE)
            return runner(images=images)["logits"]
    except RuntimeError as error:
        raise FormatError(f"LiteRT does not run {path.name}: {error}") from error


def _save(model: keras.Model, folder: str) -> None:
    images = tf.TensorSpec((None, *model.img_size, model.in_chans), name="images")

    @tf.function(input_signature=[images], autograph=False)
    def serving_default(images):
        return {"logits": model(images, training=False)}

    with _constant_biases(model):
        concrete = serving_default.get_concrete_function()
    weights = tf.train.Checkpoint()  # the converter sees no variables of a Keras model
    weights.variables = [variable.value for variable in model.variables]
    tf.saved_model.save(weights, folder, signatures={SIGNATURE: concrete})


@contextlib.contextmanager
def _constant_biases(model: keras.Model) -> Iterator[None]:
    """Within it, biases of positions that an MLP computes are numbers.

    That MLP sees constants only, and LiteRT's XNNPACK never runs what does.
    """
    layers = [layer for layer, _ in named_layers(model)]
    layers = [layer for layer in layers if isinstance(layer, WindowAttentionV2)]
    try:
        for layer in layers:
            bias = layer.relative_position_bias()
            layer.relative_position_bias = functools.partial(tf.identity, bias)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("relative_position_bias", None)


def _converted(convert: Callable[[], bytes]) -> bytes:
    try:
        return convert()
    except Exception as error:
        if type(error).__name__ != "ConverterError":  # which has no public name
            raise
        refused = sorted(set(re.findall(r"'(tf\.\w+)' op is neither", str(error))))
        said = f"it has no {', '.join(refused)}" if refused else _first_line(error)
        raise FormatError(f"LiteRT's converter refuses it: {said}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
