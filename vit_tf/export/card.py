"""The model card: what a person who finds a bundle needs to know."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_tf.export.data_config import problems
from vit_tf.export.serving import TOP
from vit_tf.parity import Report, compared_with_timm
from vit_tf.parity.pixels import PixelReport

COMPARED = "compared every layer with the original before it wrote this"
NOT_COMPARED = "was told to leave out the comparison: it was **not compared** with timm"
CARD = """\
# {architecture}{tag} for TensorFlow

`{architecture}`, converted from PyTorch (timm) by vit_tf, which
{claim}.

* Source: `{uri}`{sha256}{notes}
* Licence of the weights: {license}
* {tensors:,} tensors, {parameters:,} parameters

## Input
Float images, (batch, {height}, {width}, {channels}){any_size}, preprocessed:
{preprocessing}.
{stored_input}

## Output
* `serving_default`: `logits` {logits}{no_head}
* `features`: `features` {features}, what the classifier sees; `tokens` {tokens}
* `attention`: probabilities by timm's name, {attention}{stored_output}

## Usage
```python
import tensorflow as tf

model = tf.saved_model.load("{name}")
logits = model(tf.zeros((1, {height}, {width}, {channels})))
{stored_usage}```
The loaded model can be trained: `model(images, training=True)` and
`model.trainable_variables`. `vit_tf.load("{name}")` gives the Keras model.

## Parity
{parity}
{pixels}
All figures are in `assets.extra/parity.json`.
"""

STORED_INPUT = """
Or images as they are stored, of any size; preprocessing is in the model:
* `serving_bytes`: `images` (batch,), JPEG, PNG, BMP or WebP files
* `serving_uint8`: `images` (batch, height, width, {channels}) uint8, of one size
* `serving_uint8_ragged`: of several sizes, `pixels` (values,) uint8, all images' values
  in a row, and `sizes` (batch, 2) int32, height and width of each"""
NO_STORED_INPUT = """
No signature takes image files, as how they are preprocessed is not fully known
({problems}); `--config.preprocessing.NAME=VALUE` says it when converting."""
STORED_USAGE = """
image = tf.zeros((480, 640, {channels}), tf.uint8)  # of any size
file = tf.io.encode_jpeg(image)  # or tf.io.read_file(PATH)
outputs = model.signatures["serving_bytes"](images=tf.stack([file]))
{shown}
images = model.preprocess(tf.stack([file]))  # or pixels, of any sizes:
images = model.preprocess(tf.ragged.stack([image, image[:99]]))
outputs = model.predict(images)  # the same outputs
"""
CLASSES = """
* the three that take stored images: `logits`, `probabilities`, and of the {top}
  likeliest classes `classes`, `labels` and `scores`"""
FEATURES = """
* the three that take stored images: `features`, those of `serving_default`"""


def render(
    described: Mapping[str, Any],
    source: Mapping[str, Any],
    reports: Sequence[Report],
    shapes: Mapping[str, Mapping[str, Sequence[int]]],
    name: str,
    pixels: PixelReport | None = None,
) -> str:
    """
    Args:
        described: What `config.json` holds.
        source: uri, sha256, notes, tensors, parameters.
        reports: What was compared.
        shapes: signature -> output -> shape, for one image.
        name: The bundle's folder.
        pixels: What was compared of them, where the model takes stored images.
    """
    arguments, data = described["model"], described["data"]
    channels, height, width = data["input_size"]
    rows = [
        f"* {report.title}: worst relative error {report.worst.relative:.1e} "
        f"({report.worst.name}), tolerance {report.tolerance:.0e}, "
        f"{len(report.layers)} compared"
        for report in reports
    ]
    first, *others = shapes["attention"].items()
    attention = f"`{first[0]}` {_shape(first[1])}"
    return CARD.format(
        claim=COMPARED if compared_with_timm(reports) else NOT_COMPARED,
        architecture=described["architecture"],
        tag=f".{described['tag']}" if described["tag"] else "",
        uri=source["uri"],
        sha256=f", sha256 `{source['sha256']}`" if source["sha256"] else "",
        notes="".join(f"\n  * {note}" for note in source["notes"]),
        license=described["license"] or "not stated by the source",
        tensors=source["tensors"],
        parameters=source["parameters"],
        height=height,
        width=width,
        channels=channels,
        preprocessing=", ".join(
            f"{k} {v}" for k, v in data.items() if k != "input_size"
        )
        or "as the source was trained",
        any_size=" or any size" if _takes_any_size(arguments) else "",
        logits=_shape(shapes["serving_default"]["logits"]),
        no_head="" if arguments["num_classes"] else ", the features themselves",
        features=_shape(shapes["features"]["features"]),
        tokens=_shape(shapes["features"]["tokens"]),
        attention=attention + f" and {len(others)} more" * bool(others),
        name=name,
        parity="\n".join(rows),
        **_stored(described, pixels),
    )


def _stored(described: Mapping[str, Any], pixels: PixelReport | None) -> dict[str, str]:
    """What is said of images as they are stored, where the model takes them."""
    channels, classes = (
        described["data"]["input_size"][0],
        described["model"]["num_classes"],
    )
    if pixels is None:
        unknown = "; ".join(problems(described["data"]))
        return {
            "stored_input": NO_STORED_INPUT.format(problems=unknown),
            "stored_output": "",
            "stored_usage": "",
            "pixels": "* pixels: not compared",
        }
    shown = 'outputs["labels"], outputs["scores"]' if classes else 'outputs["features"]'
    output = CLASSES.format(top=min(TOP, classes)) if classes else FEATURES
    return {
        "stored_input": STORED_INPUT.format(channels=channels),
        "stored_output": output,
        "stored_usage": STORED_USAGE.format(channels=channels, shown=shown),
        "pixels": f"* pixels of image files: {pixels}",
    }


def _takes_any_size(arguments: Mapping[str, Any]) -> bool:
    return arguments["dynamic_img_size"] or not arguments.get("strict_img_size", True)


def _shape(shape: Sequence[int]) -> str:
    """The shape of what one image gave, for a batch."""
    first = "batch" if shape[0] == 1 else f"batch x {shape[0]}"
    return f"({', '.join([first, *map(str, shape[1:])])})"
