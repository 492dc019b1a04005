"""What a bundle may hold beside its SavedModel, and how each is read again."""

import contextlib
import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_tf.export import timm_directory
from vit_tf.export.bundle import KERAS
from vit_tf.export.formats import keras_files, litert, onnx, tfjs, timm_safetensors
from vit_tf.export.formats.errors import FormatError
from vit_tf.export.verify import TOLERANCES
from vit_tf.parity import LOGITS, Report, Top1, compare_layers

AT_ONCE = 8  # images of a set that may be large


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a format is written from.

    Attributes:
        folder: The bundle, in which the SavedModel and `config.json` are.
        described: What that `config.json` holds.
        dtypes: Those of the source's tensors.
        representative: (N, H, W, C) float32 real images, where a format needs them.
        model: The Keras model, as long as it is in memory.
        litert_converter: Its converter to LiteRT, made when it is first asked for.
    """

    folder: Path
    described: Mapping[str, Any]
    dtypes: Sequence[str] = ()
    representative: np.ndarray | None = None
    model: keras.Model | None = None

    @functools.cached_property
    def litert_converter(self) -> litert.Converter:
        return litert.Converter(self.model, self.folder)

    def close(self) -> None:
        """Removes what was in the folder for the time of writing only."""
        if "litert_converter" in vars(self):
            self.litert_converter.close()


@dataclasses.dataclass(frozen=True)
class Format:
    """
    Attributes:
        path: The file, or folder, in a bundle.
        title: What it is called.
        tolerances: What it holds: `config.dtype` -> how far the logits may be from the
            original's, relative to the largest.
        write: Writes it at a path.
        run: (B, H, W, C) float32 images to what is written's logits, by the software
            that its users have.
        of_model: Whether it is written from the Keras model, or from the SavedModel.
        represented: Whether it needs real images. It is then compared on those.
        packages: What must be installed for it.
        install: The command that does it.
    """

    path: Path
    title: str
    tolerances: Mapping[str, float]
    write: Callable[[Converted, Path], None]
    run: Callable[[Path, np.ndarray], np.ndarray]
    of_model: bool = False
    represented: bool = False
    packages: Sequence[str] = ()
    install: str = ""


def _litert(
    precision: str,
    tolerance: float,
    write: Callable[[Converted, Path], None],
    represented: bool = False,
) -> Format:
    return Format(
        path=Path(f"model_{precision}.tflite"),
        title=f"LiteRT {precision}",
        tolerances={"float32": tolerance},
        write=write,
        run=litert.run,
        of_model=True,
        represented=represented,
        packages=("ai_edge_litert",),
        install=litert.INSTALL,
    )


FORMATS: Mapping[str, Format] = {
    "keras": Format(
        path=KERAS,
        title=".keras",
        tolerances=TOLERANCES,
        write=lambda converted, path: keras_files.write_model(converted.model, path),
        run=keras_files.run_model,
        of_model=True,
    ),
    "weights_h5": Format(
        path=Path("model.weights.h5"),
        title=".weights.h5",
        tolerances=TOLERANCES,
        write=lambda converted, path: keras_files.write_weights(converted.model, path),
        run=keras_files.run_weights,
        of_model=True,
    ),
    "timm": Format(
        path=Path("timm"),
        title="timm safetensors",
        # timm computes in float32, with attention fused, whatever the bundle does
        tolerances=dict.fromkeys(TOLERANCES, TOLERANCES["float32"]),
        write=lambda converted, path: timm_directory.write_model(
            converted.model, converted.described, converted.dtypes, path
        ),
        run=timm_safetensors.run,
        of_model=True,
    ),
    # Operations in another order, and GELU and softmax of LiteRT's own.
    "litert_float32": _litert(
        "float32",
        1e-5,
        lambda converted, path: converted.litert_converter.write_float32(path),
    ),
    # Each weight is rounded to 11 bits, 5e-4 of it.
    "litert_float16": _litert(
        "float16",
        2e-3,
        lambda converted, path: converted.litert_converter.write_float16(path),
    ),
    # Weights are rounded to 127 steps of each output's largest, and what they are
    # multiplied with to 255 steps of each token's range.
    "litert_dynamic_int8": _litert(
        "dynamic_int8",
        0.06,
        lambda converted, path: converted.litert_converter.write_dynamic_int8(path),
    ),
    # Also what is between, to 255 steps of the range that it has over all images: of
    # residuals, norms and softmax too, and a residual is rounded again at each sum. No
    # single operation is off by more than a step; how far logits get depends on the
    # model, which is why top-1 is counted. This only tells it from a broken one.
    "litert_int8": _litert(
        "int8",
        0.5,
        lambda converted, path: converted.litert_converter.write_int8(
            path, converted.representative
        ),
        represented=True,
    ),
    # TensorFlow's own arithmetic, in another order.
    "tfjs": Format(
        path=Path("tfjs"),
        title="TensorFlow.js files by TensorFlow",
        tolerances={"float32": 1e-5},
        write=lambda converted, path: tfjs.write(converted.folder, path),
        run=tfjs.run,
        packages=("tensorflowjs",),
        install=tfjs.INSTALL,
    ),
    "onnx": Format(
        path=Path("model.onnx"),
        title="ONNX",
        tolerances={"float32": 1e-5},
        write=lambda converted, path: onnx.write(converted.folder, path),
        run=onnx.run,
        packages=("tf2onnx", "onnxruntime"),
        install=onnx.INSTALL,
    ),
}


def check_formats(names: Sequence[str], dtype: str, representative: str) -> None:
    """That formats can be written, as far as it can be told before any work.

    Args:
        names: Formats.
        dtype: What the bundle computes in.
        representative: The folder of real images, or "".

    Raises:
        ValueError: listing what is in the way.
    """
    problems = []
    for name in names:
        form = FORMATS[name]
        missing = [p for p in form.packages if importlib.util.find_spec(p) is None]
        if missing:
            problems.append(
                f"{name} needs {', '.join(missing)}, which is not installed: "
                f"{form.install}"
            )
        if dtype not in form.tolerances:
            problems.append(
                f"{name} holds no model whose config.dtype is {dtype}; expected: "
                f"{', '.join(form.tolerances)}"
            )
        if form.represented and not representative:
            problems.append(
                f"{name} needs real images, by which its ranges are set: a folder of "
                "them, --representative=FOLDER (config.export.representative)"
            )
    if problems:
        raise ValueError("formats: " + "; ".join(problems))


def read_back(name: str) -> str:
    """The title of the report on a format."""
    return f"{FORMATS[name].title} read back"


def write_format(name: str, converted: Converted) -> None:
    """Writes a format into a bundle.

    Raises:
        FormatError: naming the model and the format, if one cannot hold the other.
    """
    form = FORMATS[name]
    with _named(name, converted):
        form.write(converted, converted.folder / form.path)


def compare_format(
    name: str, converted: Converted, images: np.ndarray, logits: np.ndarray
) -> Report:
    """Reads a format again, and compares it with the original.

    Args:
        name: The format.
        converted: What it was written from.
        images: (B, H, W, C) float32.
        logits: What the original gives for them.

    Returns:
        A report; of a classifier in integers, with how often the likeliest class is
        the original's.

    Raises:
        FormatError: if its runtime cannot run it.
    """
    form, described = FORMATS[name], converted.described
    path = converted.folder / form.path
    with _named(name, converted):
        found = in_parts(lambda part: form.run(path, part), images)
    report = compare_layers(
        {LOGITS: logits},
        {LOGITS: found},
        form.tolerances[described["dtype"]],
        read_back(name),
    )
    if not form.represented or not described["model"]["num_classes"]:
        return report
    agree = (found.argmax(-1) == logits.argmax(-1)).sum()
    return dataclasses.replace(report, top1=Top1(int(agree), len(images)))


@contextlib.contextmanager
def _named(name: str, converted: Converted) -> Iterator[None]:
    """Within it, an error says of which model and format it is."""
    try:
        yield
    except ValueError as error:
        model = converted.described["architecture"]
        raise FormatError(f"{model} as {name}: {error}") from error


def in_parts(
    function: Callable[[np.ndarray], np.ndarray], images: np.ndarray
) -> np.ndarray:
    """What a function gives for images, a few at a time: memory stays small."""
    starts = range(0, len(images), AT_ONCE)
    return np.concatenate([function(images[i : i + AT_ONCE]) for i in starts])
