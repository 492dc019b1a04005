"""How far two sets of layer outputs are apart."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

LOGITS = "logits"  # the name under which the output of a whole model is recorded
_PART = 2**16  # values


class ParityError(ValueError):
    """The candidate is not the same model as the reference."""


@dataclasses.dataclass(frozen=True)
class LayerDiff:
    """The difference between two outputs of one layer.

    Attributes:
        name: timm's name of the layer, or of the parameter for a gradient.
        error: the largest absolute difference; NaN if either side holds one.
        scale: the largest absolute value of the reference.
        problem: what makes a comparison impossible, or "".
    """

    name: str
    error: float
    scale: float
    problem: str = ""

    @property
    def relative(self) -> float:
        """The error divided by the scale; infinite where that is impossible."""
        if self.problem or not np.isfinite(self.error):
            return float("inf")
        if self.error == 0:
            return 0.0
        return self.error / self.scale if self.scale else float("inf")


class Top1(NamedTuple):
    """On how many of so many images the likeliest class is the original's."""

    agree: int
    images: int

    def __str__(self) -> str:
        return f"top-1 agrees on {self.agree} of {self.images} images"


@dataclasses.dataclass(frozen=True)
class Report:
    """The differences of all layers, in the reference's order of computation."""

    layers: tuple[LayerDiff, ...]
    tolerance: float
    title: str = "parity"
    with_timm: bool = False  # or with another form of our own model
    top1: Top1 | None = None  # where that was counted

    @property
    def failures(self) -> tuple[LayerDiff, ...]:
        return tuple(d for d in self.layers if not d.relative <= self.tolerance)

    @property
    def first_divergence(self) -> LayerDiff | None:
        """The first layer beyond the tolerance: what computes wrongly, as a rule."""
        return self.failures[0] if self.failures else None

    @property
    def worst(self) -> LayerDiff:
        return max(self.layers, key=lambda diff: diff.relative)

    @property
    def passed(self) -> bool:
        """Nothing compared has not passed."""
        return bool(self.layers) and not self.failures

    def check(self) -> None:
        """
        Raises:
            ParityError: unless all layers are within the tolerance; it names the
                first that is not, and the worst.
        """
        if not self.layers:
            raise ParityError(f"{self.title}: nothing was compared")
        if self.failures:
            first, worst = self.first_divergence, self.worst
            raise ParityError(
                f"{self.title}: {len(self.failures)} of {len(self.layers)} differ by "
                f"more than {self.tolerance:.0e}; the first is {_describe(first)}; "
                f"the worst is {_describe(worst)}"
            )

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "tolerance": self.tolerance,
            "passed": self.passed,
            "worst": dataclasses.asdict(self.worst) if self.layers else None,
            "top1": self.top1._asdict() if self.top1 else None,
            "layers": [
                {**dataclasses.asdict(diff), "relative": diff.relative}
                for diff in self.layers
            ],
        }

    def __str__(self) -> str:
        rows = [_row(diffs, self.tolerance) for diffs in _fold(self).values()]
        rows.insert(0, ("layer", "max error", "largest value", "relative", ""))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [
            f"{row[0]:<{widths[0]}}  "
            + "  ".join(
                f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True)
            )
            for row in rows
        ]
        lines.insert(1, "-" * len(lines[0]))
        verdict = "passed" if self.passed else "FAILED"
        lines.append(
            f"{self.title}: {verdict}, {len(self.layers)} compared, tolerance "
            f"{self.tolerance:.0e}"
        )
        if self.layers:
            lines[-1] += f", worst {_describe(self.worst)}"
        if self.top1:
            lines[-1] += f", {self.top1}"
        if self.failures:
            lines.append(f"first divergence: {_describe(self.first_divergence)}")
        return "\n".join(line.rstrip() for line in lines)


def compare_layers(
    reference: Mapping[str, np.ndarray],
    candidate: Mapping[str, np.ndarray],
    tolerance: float,
    title: str = "parity",
) -> Report:
    """Compares what two models computed, layer by layer.

    Args:
        reference: name -> output of timm's layers, in the order of computation.
        candidate: name -> output of ours. The names must be the same: a layer on
            one side only fails.
        tolerance: How large an error may be, relative to the layer's largest value.
        title: What is compared, for the report.
    """
    diffs = {
        name: layer_diff(name, reference, candidate.get(name)) for name in reference
    }
    return report(reference, diffs | _only(candidate, reference), tolerance, title)


def layer_diff(
    name: str, reference: Mapping[str, np.ndarray], candidate: np.ndarray | None
) -> LayerDiff:
    """Compares one layer. Shapes must be equal: nothing is broadcast."""
    if name not in reference:
        return LayerDiff(name, np.nan, np.nan, "not in the reference")
    expected = reference[name]
    if candidate is None:
        return _not_in_the_candidate(name)
    if expected.shape != candidate.shape:
        problem = f"shape {candidate.shape}, {expected.shape} expected"
        return LayerDiff(name, np.nan, np.nan, problem)
    return LayerDiff(name, *_largest(expected.reshape(-1), candidate.reshape(-1)))


def _not_in_the_candidate(name: str) -> LayerDiff:
    return LayerDiff(name, np.nan, np.nan, "not in the candidate")


def _largest(expected: np.ndarray, candidate: np.ndarray) -> tuple[float, float]:
    """The largest absolute difference, and the largest absolute value expected.

    Part after part, as large as stays in a cache: several times as fast.
    """
    dtype = np.result_type(expected, candidate, np.float32)
    largest = np.zeros(2)
    for start in range(0, expected.size, _PART):
        part = slice(start, start + _PART)
        error = np.subtract(expected[part], candidate[part], dtype=dtype)
        of_part = np.abs(error).max(), np.abs(expected[part]).max()
        largest = np.maximum(largest, of_part)  # NaN where either is
    return float(largest[0]), float(largest[1])


def report(
    reference: Iterable[str],
    diffs: Mapping[str, LayerDiff],
    tolerance: float,
    title: str = "parity",
    with_timm: bool = False,
) -> Report:
    """A report from differences taken one by one, in the order of the reference."""
    missing = {name: _not_in_the_candidate(name) for name in reference}
    layers = tuple({**missing, **diffs}.values())
    return Report(layers, tolerance, title, with_timm)


def compared_with_timm(reports: Iterable[Report]) -> bool:
    """Whether any of several comparisons was with timm."""
    return any(report.with_timm for report in reports)


def _only(
    candidate: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]
) -> dict[str, LayerDiff]:
    extra = [name for name in candidate if name not in reference]
    return {name: layer_diff(name, reference, candidate[name]) for name in extra}


def _fold(report: Report) -> dict[tuple[str, bool], list[LayerDiff]]:
    """Groups rows that differ in their block only, apart where the verdict differs."""
    groups: dict[tuple[str, bool], list[LayerDiff]] = {}
    for diff in report.layers:
        pattern = re.sub(r"\.\d+(?=\.|$)", ".{}", diff.name)
        passed = diff.relative <= report.tolerance
        groups.setdefault((pattern, passed), []).append(diff)
    return groups


def _row(diffs: list[LayerDiff], tolerance: float) -> tuple[str, str, str, str, str]:
    worst = max(diffs, key=lambda diff: diff.relative)
    verdict = "ok" if worst.relative <= tolerance else worst.problem or "FAILED"
    return (
        _folded_name([diff.name for diff in diffs]),
        f"{worst.error:.1e}",
        f"{worst.scale:.3g}",
        f"{worst.relative:.1e}",
        verdict,
    )


def _folded_name(names: list[str]) -> str:
    """blocks.0.attn, ..., blocks.11.attn as blocks.{0..11}.attn."""
    if len(names) == 1:
        return names[0]
    numbers = [int(re.search(r"\.(\d+)(?=\.|$)", name).group(1)) for name in names]
    consecutive = numbers == list(range(numbers[0], numbers[-1] + 1))
    shown = (
        f"{numbers[0]}..{numbers[-1]}" if consecutive else ",".join(map(str, numbers))
    )
    return re.sub(r"\.\d+(?=\.|$)", f".{{{shown}}}", names[0], count=1)


def _describe(diff: LayerDiff) -> str:
    return f"{diff.name} ({diff.problem or f'{diff.relative:.1e} relative'})"
