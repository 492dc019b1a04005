"""The model card: what a person who finds a bundle needs to know."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_tf.parity import Report, compared_with_timm

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

## Output
* `serving_default`: `logits` {logits}{no_head}
* `features`: `features` {features}, what the classifier sees; `tokens` {tokens}
* `attention`: probabilities by timm's name, {attention}

## Usage
```python
import tensorflow as tf

model = tf.saved_model.load("{name}")
logits = model(tf.zeros((1, {height}, {width}, {channels})))
```
The loaded model can be trained: `model(images, training=True)` and
`model.trainable_variables`. `vit_tf.load("{name}")` gives the Keras model.

## Parity
{parity}
All figures are in `assets.extra/parity.json`.
"""


def render(
    described: Mapping[str, Any],
    source: Mapping[str, Any],
    reports: Sequence[Report],
    shapes: Mapping[str, Mapping[str, Sequence[int]]],
    name: str,
) -> str:
    """
    Args:
        described: What `config.json` holds.
        source: uri, sha256, notes, tensors, parameters.
        reports: What was compared.
        shapes: signature -> output -> shape, for one image.
        name: The bundle's folder.
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
    )


def _takes_any_size(arguments: Mapping[str, Any]) -> bool:
    return arguments["dynamic_img_size"] or not arguments.get("strict_img_size", True)


def _shape(shape: Sequence[int]) -> str:
    """The shape of what one image gave, for a batch."""
    first = "batch" if shape[0] == 1 else f"batch x {shape[0]}"
    return f"({', '.join([first, *map(str, shape[1:])])})"
