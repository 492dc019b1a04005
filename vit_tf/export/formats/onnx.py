"""ONNX: one file, for ONNX Runtime and what else reads it."""

from pathlib import Path

import numpy as np

from vit_tf.export.formats.own_process import check_installed, convert

INSTALL = 'pip install "vit_tf[onnx]"'


def write(saved_model: Path, path: Path) -> None:
    """Writes a SavedModel's `serving_default`: float images to logits, any batch.

    tf2onnx does it (https://github.com/onnx/tensorflow-onnx), in the version of ONNX's
    operators that it prefers.

    Args:
        saved_model: As `vit_tf.export.saved_model.save` writes it.
        path: The file.

    Raises:
        ImportError: if tf2onnx is not installed.
        ValueError: if it refuses the model.
    """
    check_installed("tf2onnx", INSTALL)
    command = ["-m", "tf2onnx.convert", "--signature_def", "serving_default"]
    command += ["--saved-model", str(saved_model), "--output", str(path)]
    convert("tf2onnx", command, saved_model, path)


def run(path: Path, images: np.ndarray) -> np.ndarray:
    """The logits, (B, num_classes), that ONNX Runtime computes on the CPU.

    Args:
        path: The file.
        images: (B, height, width, in_chans) float32.

    Raises:
        ImportError: if onnxruntime is not installed.
    """
    check_installed("onnxruntime", INSTALL)
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images})
    return logits
