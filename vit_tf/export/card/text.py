"""The parts of a card that every rendering has, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from vit_tf.export.bundle import PARITY
from vit_tf.export.card.facts import Card
from vit_tf.parity import LayerDiff

COMPARED = "compared every layer with the original before it wrote this"
NOT_COMPARED = "was told to leave out the comparison: it was **not compared** with timm"
STORED = {
    "serving_bytes": "files of any size: JPEG, PNG, BMP or WebP",
    "serving_uint8": "pixels, all of one size",
    "serving_uint8_ragged": "pixels of several sizes: all images' values in a row, and "
    "height and width of each",
}
TOPS = ("top1", "top5")
LISTED = 4  # outputs of a signature; of more, the first is shown


def sections(card: Card, **others: str) -> str:
    """A heading and a text for each; what is empty is left out.

    Args:
        card: What is told.
        others: Further sections, by their heading, which follow the output.
    """
    texts = {
        "Source": source(card),
        "Input": inputs(card),
        "Output": outputs(card),
        **others,
        "Accuracy": accuracy(card),
        "Parity": parity(card),
        "References": references(card),
    }
    return "\n\n".join(f"## {name}\n\n{text}" for name, text in texts.items() if text)


def title(card: Card) -> str:
    return f"{card.model} for TensorFlow"


def summary(card: Card) -> str:
    claim = COMPARED if card.compared_with_timm else NOT_COMPARED
    what = "" if card.num_classes else ", without its classifier: a feature extractor"
    return (
        f"`{card.model}`{what}, timm's model in TensorFlow, converted by vit_tf, "
        f"which\n{claim}."
    )


def source(card: Card) -> str:
    told = card.source
    known = {name: told.get(name) for name in ("commit", "sha256")}
    exactly = "".join(f", {name} `{value}`" for name, value in known.items() if value)
    lines = [
        f"* Source: `{told['uri']}`{exactly}",
        *(f"  * {note}" for note in told["notes"]),
        f"* Licence of the weights: {card.license or 'not stated by the source'}",
    ]
    if card.datasets:
        lines.append(f"* Trained on: {', '.join(card.datasets)}")
    lines += [
        f"* {told['tensors']:,} tensors, {told['parameters']:,} parameters",
        f"* Computes in {card.described['dtype']}",
        "* Converted with "
        + ", ".join(f"{name} {version}" for name, version in card.versions.items()),
    ]
    return "\n".join(lines)


def inputs(card: Card) -> str:
    channels, height, width = card.input_size
    any_size = " or any size" if card.takes_any_size else ""
    data = {k: v for k, v in card.described["data"].items() if k != "input_size"}
    prepared = "are prepared as the source was trained."
    if data:
        how = ", ".join(f"{name} {value}" for name, value in data.items())
        prepared = f"are resized, cropped and normalised as timm does it: {how}."
    floats = (
        f"Float images, (batch, {height}, {width}, {channels}){any_size}, channels "
        f"last. Pixels between 0 and 1\n{prepared}"
    )
    return f"{floats}\n\n{_stored_inputs(card)}"


def _stored_inputs(card: Card) -> str:
    if card.pixels is None:
        return (
            "No signature takes image files, as how they are prepared is not fully\n"
            f"known ({'; '.join(card.unknown)});\n"
            "`--config.preprocessing.NAME=VALUE` says it when converting."
        )
    lines = ["Or images as they are stored; preparing them is in the model:", ""]
    return "\n".join([*lines, *(f"* `{k}`: {v}" for k, v in STORED.items())])


def outputs(card: Card) -> str:
    rows = []
    for name, signature in card.signatures.items():
        first = "batch x windows" if _of_windows(card, name) else "batch"
        takes = _tensors(signature.inputs, "batch")
        gives = _few(_tensors(signature.outputs, first))
        rows.append((f"`{name}`", ", ".join(takes), gives))
    features = (
        "`features` is what the classifier sees, `tokens` what it is pooled from;"
        if card.num_classes
        else "`logits` are the features themselves, as there are no classes;"
    )
    attention = "`attention` has each layer's probabilities, by timm's name of it."
    table = _table(("signature", "takes", "gives"), rows)
    return f"{table}\n\n{features}\n{attention}"


def accuracy(card: Card) -> str:
    if not card.accuracy:
        return ""
    columns = ("data set", "images", "top-1", "top-5")
    columns += ("top-1 original", "top-5 original", "disagreements")
    rows = []
    for entry in card.accuracy:
        name = f"{entry['dataset']} {entry['split']}".rstrip()
        sides = (entry, entry["original"] or {})
        parts = [_percent(side.get(top)) for side in sides for top in TOPS]
        differing = entry["disagreements"]
        last = "-" if differing is None else f"{differing:,}"
        rows.append((name, f"{entry['images']:,}", *parts, last))
    return _table(columns, rows)


def parity(card: Card) -> str:
    pixels = f"pixels of image files: {card.pixels or 'not compared'}"
    lines = [*map(_compared, card.reports), f"* {pixels}"]
    return "\n".join([*lines, "", f"All figures are in `{PARITY}`."])


def _compared(report: Mapping[str, Any]) -> str:
    worst = LayerDiff(**report["worst"])
    line = (
        f"* {report['title']}: worst relative error {worst.relative:.1e} "
        f"({worst.name}), tolerance {report['tolerance']:.0e}, "
        f"{len(report['layers'])} compared"
    )
    if top1 := report.get("top1"):
        line += f"; top-1 agrees on {top1['agree']:,} of {top1['images']:,} images"
    return line


def references(card: Card) -> str:
    """The paper and the pages that timm names for these weights."""
    origin, lines = card.origin, []
    if name := origin.get("paper_name"):
        lines.append(f"* {name}")
    identifiers = origin.get("paper_ids") or ()
    for paper in (identifiers,) if isinstance(identifiers, str) else identifiers:
        number = paper.removeprefix("arXiv:")
        known = paper.startswith("arXiv:")
        lines.append(f"* {f'https://arxiv.org/abs/{number}' if known else paper}")
    if card.base_model:
        lines.append(f"* https://huggingface.co/{card.base_model}")
    lines += [f"* {origin[name]}" for name in ("origin_url", "url") if origin.get(name)]
    return "\n".join(lines)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _of_windows(card: Card, signature: str) -> bool:
    return signature == "attention" and card.attends_to_windows


def _tensors(specs: Mapping[str, tf.TensorSpec], first: str) -> list[str]:
    found = []
    for name, spec in specs.items():
        shape = ["any" if n is None else str(n) for n in spec.shape]
        shape[0] = "values" if name == "pixels" else first
        found.append(f"`{name}` ({', '.join(shape)}) {spec.dtype.name}")
    return found


def _few(texts: list[str]) -> str:
    if len(texts) > LISTED + 1:
        return f"{texts[0]} and {len(texts) - 1} more"
    return ", ".join(texts)


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.3f} %"
