"""What a run found, in one `results.json`.

name                  the bundle's folder
bundle                where it is
architecture, tag     timm's names
parameters            how many numbers the model was trained to
input_size            [channels, height, width]
changed               files of the bundle that are not those that were proven
run                   what the numbers depend on: sha256 of the bundle and of the
                      images' names, data set, options, versions
images                how many there are
unlabelled            how many of them have no label: no accuracy counts them
unreadable            [{name, ported, original}]: who could not read it, and why
ported, original      {top1, top5, images, images_per_second}: parts between 0 and 1
                      of the labelled images that it read, and their number; "top5"
                      counts all classes where there are fewer. The time is from
                      files to predictions (for the original, from the files' bytes).
                      `original` is null without it
comparison            null without the original, or else
  images              how many both read
  disagreements       on how many the most likely classes differ
  largest_difference  of a logit, and "relative" to the image's largest, with "name"
  differing_pixels    on how many images any value differs
  pass_order          {pillow, found, expected}: that of the installed Pillow, and
                      the bundle's
  preprocessing       {field: [the original's, the bundle's]}, where they differ
  different           [{name, agree, pixels, levels, logits, scale, starts, layer}]:
                      the images on which the classes differ, or the logits by more
                      than rounding, and where that starts: see
                      `i1k_eval.predictions.Difference`
confusions            [{labels, predicted, images}]: the ported model's most frequent
worst_classes         [{label, top1, images}]: those that it gets right least often
label_names           of all labels in the two lists, where known
notes                 what there is to know of the data set's labels
"""

import collections
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i1k_eval.ported import Ported
from i1k_eval.predictions import Answer, Prediction
from i1k_eval.scores import SHOWN
from vit_tf.preprocessing import DataConfig
from vit_tf.preprocessing.data_config import pillow_of

LISTED = 20  # confusions, and worst classes


def summary(
    run: Mapping[str, Any],
    ported: Ported,
    predictions: Sequence[Prediction],
    rates: Mapping[str, float],
    *,
    label_names: Mapping[int, str],
    notes: Sequence[str] = (),
    original_data: DataConfig | None = None,
) -> dict[str, Any]:
    """What `results.json` holds, as the module says.

    Args:
        run: What the predictions depend on.
        ported: The bundle.
        predictions: Of all images.
        rates: Images per second, of each side.
        label_names: Of classes, where known.
        notes: What there is to know of the data set.
        original_data: How images became what the original takes, where it ran.
    """
    confusions, worst = _confusions(predictions), _worst_classes(predictions)
    labels = {
        label for row in confusions for label in (*row["labels"], row["predicted"])
    }
    labels |= {row["label"] for row in worst}
    return {
        "name": ported.name,
        "bundle": str(ported.path),
        "architecture": ported.described["architecture"],
        "tag": ported.described["tag"],
        "parameters": ported.parameters,
        "input_size": list(ported.data.input_size),
        "changed": ported.changed,
        "run": run,
        "images": len(predictions),
        "unlabelled": sum(not prediction.labels for prediction in predictions),
        "unreadable": _unreadable(predictions),
        "ported": _accuracy(
            [(p.labels, p.ported) for p in predictions], rates.get("ported")
        ),
        "original": _accuracy(
            [(p.labels, p.original) for p in predictions], rates.get("original")
        )
        if original_data
        else None,
        "comparison": _comparison(predictions, run, ported.data, original_data)
        if original_data
        else None,
        "confusions": confusions,
        "worst_classes": worst,
        "label_names": {
            str(n): label_names[n] for n in sorted(labels) if n in label_names
        },
        "notes": list(notes),
    }


def rates(path: Path, run: Mapping[str, Any]) -> dict[str, float]:
    """How fast the same run was before, so that nothing is lost if it is all done."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
        if found["run"] != run:
            return {}
        sides = {side: found[side] for side in ("ported", "original")}
    except (ValueError, LookupError, TypeError):  # to be written anew
        return {}
    return {side: value["images_per_second"] for side, value in sides.items() if value}


def _unreadable(predictions: Sequence[Prediction]) -> list[dict[str, str]]:
    found = []
    for prediction in predictions:
        sides = {"ported": prediction.ported, "original": prediction.original}
        errors = {side: answer.error for side, answer in sides.items() if answer}
        if any(errors.values()):
            found.append({"name": prediction.name, **errors})
    return found


def _accuracy(
    answers: Sequence[tuple[tuple[int, ...], Answer]], rate: float | None
) -> dict[str, Any]:
    counted = [(set(labels), a) for labels, a in answers if labels and not a.error]

    def part(classes: int) -> float | None:
        right = sum(not labels.isdisjoint(a.classes[:classes]) for labels, a in counted)
        return right / len(counted) if counted else None

    return {
        "top1": part(1),
        "top5": part(SHOWN),
        "images": len(counted),
        "images_per_second": rate,
    }


def _comparison(
    predictions: Sequence[Prediction],
    run: Mapping[str, Any],
    ported: DataConfig,
    original: DataConfig,
) -> dict[str, Any]:
    both = [p for p in predictions if p.difference]
    farthest = max(both, key=lambda p: p.difference.logits, default=None)
    relative = max((p.difference.relative for p in both), default=None)
    pillow = run["versions"]["pillow"]
    return {
        "images": len(both),
        "disagreements": sum(not _agree(p) for p in both),
        "largest_difference": {
            "logits": farthest.difference.logits,
            "name": farthest.name,
            "relative": relative,
        }
        if farthest
        else None,
        "differing_pixels": sum(p.difference.pixels > 0 for p in both),
        "pass_order": {
            "pillow": pillow,
            "found": pillow_of(pillow),
            "expected": ported.pillow,
        },
        "preprocessing": {
            name: [value, getattr(ported, name)]
            for name, value in original.to_json().items()
            if value != getattr(ported, name)
        },
        "different": [
            {"name": p.name, "agree": _agree(p), **vars(p.difference)}
            for p in both
            if p.difference.starts
        ],
    }


def _agree(prediction: Prediction) -> bool:
    return prediction.ported.classes[:1] == prediction.original.classes[:1]


def _confusions(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    counts = collections.Counter(
        (p.labels, p.ported.classes[0])
        for p in predictions
        if p.labels and not p.ported.error and p.ported.classes[0] not in p.labels
    )
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:LISTED]
    return [
        {"labels": list(labels), "predicted": predicted, "images": images}
        for (labels, predicted), images in most
    ]


def _worst_classes(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Those that are not always right; an image of several labels counts for each."""
    seen: collections.Counter[int] = collections.Counter()
    right: collections.Counter[int] = collections.Counter()
    for p in predictions:
        if not p.ported.error:
            seen.update(p.labels)
            right.update(p.labels if p.ported.classes[0] in p.labels else ())
    rows = [
        {"label": label, "top1": right[label] / seen[label], "images": seen[label]}
        for label in sorted(seen)
        if right[label] < seen[label]
    ]
    return sorted(rows, key=lambda row: row["top1"])[:LISTED]
