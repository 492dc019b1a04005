"""One row for each architecture: how far it is from timm's."""

import dataclasses
import gc
import json
import math
import multiprocessing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from vit_tf import models, proof, source
from vit_tf.activations import outputs
from vit_tf.checkpoints.random import RandomTensors
from vit_tf.layer_values import layer_values
from vit_tf.parity import LayerDiff, Report, layer_diff
from vit_tf.parity.disk import Disk, temporary_disk
from vit_tf.proof import TOLERANCES

HEADER = (
    "architecture", "tensors", "parameters", "float32", "layer", "ours", "timm's",
    "float64", "layer", "gradient", "parameter",
)  # fmt: skip
TIMMS = "timm's"
_PROCESS = 1e9  # bytes that TensorFlow and torch take themselves
AS_FAR = 2  # what ours may be times timm's own distance from float64
WIDTHS = (-44, 6, 14, 9, -30, 9, 9, 9, -30, 9, -38)  # negative: to the left

PAGE = """# Parity

Made by `{command}`.

Both sides are filled with the same random tensors. Errors are relative to the largest
value of the layer, or of the gradient (in float64); each column names the one that
differs most. Beside the worst layer in float32: how far our float32 and timm's own are
there from timm's float64.

{table}
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """What the comparison of one architecture with timm's came to.

    Attributes:
        architecture: timm's name.
        tensors: Number of tensors in its checkpoint.
        parameters: Number of values in them.
        worst: "float32", "float64" and "gradient" -> the layer or the parameter that
            differs most. "ours" and "timm's" -> how far that layer in float32 is from
            timm's float64. What was not compared is not there.
        problems: What is beyond its tolerance.
        left_out: What was not compared -> how many bytes of memory it would take.
        notes: Layers that float32 cannot hold, in timm either.
        configuration: What was compared: family, class and constructor arguments.
    """

    architecture: str
    tensors: int
    parameters: int
    worst: Mapping[str, LayerDiff]
    problems: tuple[str, ...] = ()
    left_out: Mapping[str, float] = dataclasses.field(default_factory=dict)
    configuration: str = ""
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[str, ...]:
        def cell(kind: str) -> str:
            return f"{self.worst[kind].relative:.1e}" if kind in self.worst else ""

        def name(kind: str) -> str:
            return self.worst[kind].name if kind in self.worst else ""

        return (
            self.architecture, f"{self.tensors:,}", f"{self.parameters:,}",
            cell("float32"), name("float32"), cell("ours"), cell("timm's"),
            cell("float64"), name("float64"), cell("gradient"), name("gradient"),
        )  # fmt: skip

    @property
    def whole(self) -> bool:
        """Whether everything was compared, and within its tolerance."""
        return bool(self.worst) and not self.problems and not self.left_out

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why something was not compared."""
        return tuple(
            f"{kind} (would need {size / 1e9:.0f} GB)"
            for kind, size in self.left_out.items()
        )

    def is_final(self, memory: float) -> bool:
        """Whether comparing again with so much memory could add nothing."""
        more = any(size <= memory for size in self.left_out.values())
        return not (self.problems or more)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> "Row":
        worst = {kind: LayerDiff(**diff) for kind, diff in row["worst"].items()}
        names = ("problems", "notes")
        lists = {name: tuple(row.get(name, ())) for name in names}
        return Row(**{**row, "worst": worst, **lists})


def compare(config: ConfigDict, *, memory: float = float("inf")) -> Row:
    """Compares an architecture with timm's, filled with the same random tensors.

    In float32 and in float64 every layer, in float64 every gradient. What one side
    needs of the other waits in files, in the folder for temporary files.

    Args:
        config: From `vit_tf.get_config` or `vit_tf.models.small_config`.
        memory: Bytes that may be used. What would need more is not compared, and the
            row says so.

    Raises:
        OSError: if there is no room for the files.
    """
    shapes = source.parameter_shapes(config)
    parameters = sum(map(math.prod, shapes.values()))
    needed = bytes_needed(config, parameters)
    fitting = {kind for kind in needed if needed[kind] <= memory}
    with temporary_disk() as disk:
        tensors = disk.keep_all(RandomTensors(shapes, config.parity.seed))
        reports, worst = _reports(config, tensors, fitting)
    worst |= {kind: report.worst for kind, report in reports.items()}
    problems = {
        kind: f"{kind}: {len(report.failures)} of {len(report.layers)} beyond "
        f"{report.tolerance:.0e}"
        for kind, report in reports.items()
        if not report.passed
    }
    notes = []
    if "float32" in problems and cannot_hold(worst):
        notes.append(
            f"{problems.pop('float32')}: {worst['float32'].name} is "
            f"{worst['ours'].relative:.1e} from float64, timm's own "
            f"{worst[TIMMS].relative:.1e}"
        )
    left_out = {kind: needed[kind] for kind in needed if kind not in fitting}
    return Row(
        config.architecture,
        len(shapes),
        parameters,
        worst,
        tuple(problems.values()),
        left_out,
        _key(config),
        tuple(notes),
    )


def bytes_needed(config: ConfigDict, parameters: int) -> dict[str, float]:
    """About how much memory each part of a comparison takes: what is not in files.

    Args:
        config: The architecture.
        parameters: Number of values in its checkpoint.

    Returns:
        "float32", "float64" and "gradient" -> bytes.
    """
    values = layer_values(config)
    layer = max(values.of_block, values.backbone) * config.parity.images
    all_layers = values.total * config.parity.images
    return {
        "float32": _PROCESS + 4 * parameters + 4 * 4 * layer,
        "float64": _PROCESS + 8 * parameters + 4 * 8 * layer,
        "gradient": _PROCESS + 2 * 8 * parameters + 3 * 8 * all_layers,
    }


def cannot_hold(worst: Mapping[str, LayerDiff]) -> bool:
    """Whether float32 itself is too narrow for the layer that differs most.

    Then timm's own float32 is as far from its float64 as ours is, and in float64 the
    two are the same.
    """
    if not {"ours", TIMMS, "float64"} <= worst.keys():
        return False
    as_far = worst["ours"].relative <= AS_FAR * worst[TIMMS].relative
    return as_far and worst["float64"].relative <= TOLERANCES["float64"]


def compare_apart(config: ConfigDict, *, memory: float = float("inf")) -> Row:
    """As `compare`, in a process of its own: all of its memory comes back."""
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(compare, config, memory=memory).result()
    except BrokenProcessPool:  # the system ended it, as it does where memory runs out
        shapes = source.parameter_shapes(config).values()
        problems = ("its process was ended from outside",)
        sizes = len(shapes), sum(map(math.prod, shapes))
        return Row(config.architecture, *sizes, {}, problems, {}, _key(config))


def full_config(name: str) -> ConfigDict:
    """An architecture in its real size, to be compared on one image."""
    config = models.get_config(name)
    config.parity.images = 1
    return config


def run(
    names: Iterable[str],
    configure: Callable[[str], ConfigDict],
    compare: Callable[..., Row],
    *,
    memory: Callable[[], float] = lambda: float("inf"),
    rows: Path | None = None,
) -> Iterable[Row]:
    """Compares architecture after architecture.

    Those that differ in their names only, once shrunken, are compared once.

    Args:
        names: timm's names.
        configure: Name -> configuration.
        compare: `compare` or `compare_apart`.
        memory: How many bytes one comparison may use, asked before each.
        rows: A file of rows, one JSON object a line. What is compared is added to it,
            and what is in it, of the same configuration, is compared again only where
            that could add something.
    """
    compared = {row.configuration: row for row in _read(rows)}
    kept = {(row.architecture, row.configuration) for row in compared.values()}
    for name in names:
        config = configure(name)
        key, bytes_free = _key(config), memory()
        if key not in compared or not compared[key].is_final(bytes_free):
            compared[key] = compare(config, memory=bytes_free)
            kept.discard((name, key))
        row = dataclasses.replace(compared[key], architecture=name)
        if rows and (name, key) not in kept:
            with rows.open("a") as file:
                file.write(json.dumps(row.to_json()) + "\n")
        yield row


def document(rows: Iterable[Row], command: str) -> str:
    """The rows as a page in Markdown, with the command that made it."""
    rows = list(rows)
    lines = [HEADER, ["---"] * len(HEADER), *(row.cells for row in rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    notes = [
        f"* {row.architecture}: {note}"
        for row in rows
        for note in (
            *row.problems,
            *row.notes,
            *(f"not compared: {reason}" for reason in row.reasons),
        )
    ]
    return "\n".join([PAGE.format(command=command, table=table), *notes]).strip() + "\n"


def text(row: Row) -> str:
    """A row as a line of a table of fixed width, its problems behind it."""
    said = (*row.problems, *row.notes, *row.reasons)
    return " ".join([_line(row.cells), *said]).rstrip()


def header() -> str:
    """The line above the lines of `text`."""
    return _line(HEADER)


def _line(cells: Sequence[str]) -> str:
    return " ".join(
        f"{cell[:-width]:<{-width}}" if width < 0 else f"{cell:>{width}}"
        for cell, width in zip(cells, WIDTHS, strict=True)
    )


def _key(config: ConfigDict) -> str:
    arguments = sorted(config.model.items())
    return repr((config.family, config.model_class, arguments, config.parity.images))


def _read(rows: Path | None) -> list[Row]:
    if rows is None or not rows.exists():
        return []
    return [Row.from_json(json.loads(line)) for line in rows.read_text().splitlines()]


Outputs = Mapping[str, tuple[str, np.ndarray]]  # whose -> a layer's name and output


def _reports(
    config: ConfigDict, tensors: Mapping[str, np.ndarray], kinds: Collection[str]
) -> tuple[dict[str, Report], dict[str, LayerDiff]]:
    """The comparisons asked for; and how far outputs in float32 are from timm's."""
    images = proof.random_images(config)
    reports, doubtful, rounding = {}, {}, {}
    if "float32" in kinds:
        with temporary_disk() as disk:
            reports["float32"], doubtful = _in_float32(config, tensors, images, disk)
        gc.collect()
    if "float64" in kinds:
        with temporary_disk() as disk:
            of_float64, rounding = _in_float64(
                config, tensors, images, doubtful, disk, "gradient" in kinds
            )
        reports |= of_float64
    return reports, rounding


def _in_float32(
    config: ConfigDict,
    tensors: Mapping[str, np.ndarray],
    images: np.ndarray,
    disk: Disk,
) -> tuple[Report, Outputs]:
    """The comparison, and on both sides the output of the layer that differs most."""
    reference = proof.timm_outputs(config, tensors, images, "float32", disk.keep)
    model = proof.filled(config, tensors, "float32")
    report = proof.layer_report(reference, model, images, "float32")
    name = report.worst.name
    ours = outputs(model, [name])(tf.constant(images))[name].numpy()
    return report, {"ours": (name, ours), TIMMS: (name, np.array(reference[name]))}


def _in_float64(
    config: ConfigDict,
    tensors: Mapping[str, np.ndarray],
    images: np.ndarray,
    doubtful: Outputs,
    disk: Disk,
    with_gradients: bool,
) -> tuple[dict[str, Report], dict[str, LayerDiff]]:
    """Layers and gradients; and how far outputs in float32 are from timm's."""
    images = images.astype("float64")
    original = proof.original(config, tensors, "float64")
    reference = original.record(images, disk.keep)
    if with_gradients:
        gradients = disk.keep_all(proof.timm_gradients(config, original, images))
    del original  # before more memory is needed
    rounding = {
        whose: layer_diff(name, reference, output)
        for whose, (name, output) in doubtful.items()
    }
    model = proof.filled(config, tensors, "float64")
    reports = {"float64": proof.layer_report(reference, model, images, "float64")}
    if with_gradients:
        found = proof.gradient_report(config, gradients, model, images)
        reports["gradient"] = found
    return reports, rounding
