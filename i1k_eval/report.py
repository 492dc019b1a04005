"""What a run found, as text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from i1k_eval.datasets.dataset import printable

SHOWN = 10  # of a list that `results.json` holds whole

Row = tuple[str, str]  # a heading, and what is under it


def report(results: Mapping[str, Any]) -> str:
    """The text of a run's results, as `i1k_eval.results` describes them."""
    rows = [
        *_model(results),
        *_accuracy(results),
        *_comparison(results["comparison"]),
        *_listed("unreadable", _unreadable(results["unreadable"])),
        *_listed("confusions", _confusions(results)),
        *_listed("worst classes", _worst(results)),
    ]
    return "\n".join(f"{heading:<15} {text}".rstrip() for heading, text in rows)


def percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.3f}"


def rate(images_per_second: float | None) -> str:
    return "-" if images_per_second is None else f"{images_per_second:,.1f}"


def _model(results: Mapping[str, Any]) -> Iterator[Row]:
    channels, height, width = results["input_size"]
    yield (
        "bundle",
        f"{results['bundle']}: {results['architecture']}, "
        f"{results['parameters']:,} parameters, {height} x {width} x {channels}",
    )
    yield (
        "data",
        f"{results['run']['data']}: {results['images']:,} images, "
        f"{len(results['unreadable']):,} unreadable, "
        f"{results['unlabelled']:,} unlabelled",
    )
    for note in results["notes"]:
        yield "", note
    if results["changed"]:
        yield (
            "changed",
            f"{', '.join(results['changed'])}: not what was compared with timm when "
            "the bundle was made",
        )


def _accuracy(results: Mapping[str, Any]) -> Iterator[Row]:
    sides = [side for side in ("original", "ported") if results[side]]

    def line(cells: Sequence[str]) -> str:
        return "".join(f"{cell:>14}" for cell in cells)

    yield "", line(sides)
    for heading, key, text in (
        ("top-1 %", "top1", percent),
        ("top-5 %", "top5", percent),
        ("of images", "images", "{:,}".format),
        ("images/s", "images_per_second", rate),
    ):
        yield heading, line([text(results[side][key]) for side in sides])


def _comparison(found: Mapping[str, Any] | None) -> Iterator[Row]:
    if not found:
        return
    images = found["images"]
    yield "disagreements", f"{found['disagreements']:,} of {images:,} images (top-1)"
    if largest := found["largest_difference"]:
        yield (
            "logits",
            f"largest difference {largest['logits']:.1e} ({printable(largest['name'])})"
            f", {largest['relative']:.1e} relative to the largest logit",
        )
    yield "pixels", f"{found['differing_pixels']:,} of {images:,} images differ"
    for name, (theirs, ours) in found["preprocessing"].items():
        yield "", f"{name}: {theirs!r} in the original, {ours!r} in the bundle"
    order = found["pass_order"]
    if found["differing_pixels"] and order["found"] != order["expected"]:
        yield (
            "",
            f"Pillow {order['pillow']} is installed, which resizes in the order of "
            f"{order['found']!r}; the bundle has that of {order['expected']!r}",
        )
    yield from _listed("differences", [_difference(row) for row in found["different"]])


def _difference(row: Mapping[str, Any]) -> str:
    said = "the same class" if row["agree"] else "another class"
    where = f"{row['pixels']:,} values, {row['levels']} levels at most"
    if row["starts"] == "model":
        where = row["layer"] or "no layer by itself differs, or none was looked at"
    return (
        f"{printable(row['name'])}: {said}, logits {row['logits']:.1e} apart; starts "
        f"in the {row['starts']}: {where}"
    )


def _unreadable(rows: Sequence[Mapping[str, str]]) -> list[str]:
    texts = []
    for row in rows:
        sides = {side: row[side] for side in ("original", "ported") if side in row}
        failed = [side for side in sides if sides[side]]
        by = "" if len(failed) == len(sides) else f"by the {failed[0]} model alone: "
        texts.append(f"{printable(row['name'])}: {by}{printable(sides[failed[-1]])}")
    return texts


def _confusions(results: Mapping[str, Any]) -> list[str]:
    return [
        f"{row['images']:,} x {_names(row['labels'], results)} -> "
        f"{_names([row['predicted']], results)}"
        for row in results["confusions"]
    ]


def _worst(results: Mapping[str, Any]) -> list[str]:
    return [
        f"{_names([row['label']], results)}: {percent(row['top1'])} % of "
        f"{row['images']:,}"
        for row in results["worst_classes"]
    ]


def _names(labels: Sequence[int], results: Mapping[str, Any]) -> str:
    known = results["label_names"]
    return " or ".join(
        f"{label} ({printable(known[str(label)])})"
        if known.get(str(label), str(label)) != str(label)
        else str(label)
        for label in labels
    )


def _listed(heading: str, texts: Sequence[str]) -> Iterator[Row]:
    for i, text in enumerate(texts[:SHOWN]):
        yield heading if i == 0 else "", text
    if len(texts) > SHOWN:
        yield "", f"... and {len(texts) - SHOWN:,} more: see results.json"
