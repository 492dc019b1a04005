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

* Source: `{uri}`{sha256}
* Licence of the weights: {license}
* {tensors:,} tensors, {parameters:,} parameters

## Input
Float images, (batch, {height}, {width}, {channels}), preprocessed: {preprocessing}.

## Output
* `serving_default`: `logits`, {outputs}
* `features`: `features` ({pooled}, {width_of_token}), what the classifier sees;
  `tokens` (batch, N, {width_of_token})
* `attention`: probabilities (batch, heads, N, N) of every block, by timm's name

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
    name: str,
) -> str:
    """
    Args:
        described: What `config.json` holds.
        source: uri, sha256, tensors, parameters.
        reports: What was compared.
        name: The bundle's folder.
    """
    arguments, data = described["model"], described["data"]
    channels, height, width = data["input_size"]
    classes = arguments["num_classes"]
    rows = [
        f"* {report.title}: worst relative error {report.worst.relative:.1e} "
        f"({report.worst.name}), tolerance {report.tolerance:.0e}, "
        f"{len(report.layers)} compared"
        for report in reports
    ]
    pooled = "batch" if arguments["global_pool"] else "batch, N"
    return CARD.format(
        claim=COMPARED if compared_with_timm(reports) else NOT_COMPARED,
        pooled=pooled,
        architecture=described["architecture"],
        tag=f".{described['tag']}" if described["tag"] else "",
        uri=source["uri"],
        sha256=f", sha256 `{source['sha256']}`" if source["sha256"] else "",
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
        outputs=f"({pooled}, {classes})" if classes else "the features, as below",
        width_of_token=arguments["embed_dim"],
        name=name,
        parity="\n".join(rows),
    )
