"""Per-image predictions in a file that a run goes on from, wherever it was stopped."""

import contextlib
import dataclasses
import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from i1k_eval.errors import EvaluationError
from vit_tf.export.whole_file import write_text


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one model says of an image.

    Attributes:
        classes: The most likely ones, the best first; none if the image was not read.
        logits: Theirs.
        error: Why it was not read.
    """

    classes: tuple[int, ...] = ()
    logits: tuple[float, ...] = ()
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far the two models are apart on an image that both read.

    Attributes:
        pixels: How many of the values that the models take differ.
        levels: By how much at most, in levels of 0 to 255.
        logits: The largest difference of a logit; infinite where one is no number.
        scale: The original's largest logit, without its sign.
        starts: "pixels" or "model", where a difference was looked into.
        layer: The first layer that differs, by timm's name, if any by itself does.
    """

    pixels: int
    levels: int
    logits: float
    scale: float
    starts: str = ""
    layer: str = ""

    @property
    def relative(self) -> float:
        """The difference, relative to the largest logit."""
        if not self.logits:
            return 0.0
        known = self.scale and math.isfinite(self.logits)
        return self.logits / self.scale if known else math.inf


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A line of the file.

    Attributes:
        name: The image's name in its data set.
        labels: The classes that count as right; none where it has no label.
        ported: What the ported model says.
        original: What the original says, where it ran.
        difference: Between the two, where both read the image.
    """

    name: str
    labels: tuple[int, ...]
    ported: Answer
    original: Answer | None = None
    difference: Difference | None = None

    def to_json(self) -> str:
        values = dataclasses.asdict(self)
        return json.dumps({k: v for k, v in values.items() if v is not None})

    @staticmethod
    def from_json(text: str | bytes) -> "Prediction":
        values = json.loads(text)

        def answer(side: str) -> Answer | None:
            if side not in values:
                return None
            found = values[side]
            return Answer(
                tuple(found["classes"]), tuple(found["logits"]), found["error"]
            )

        difference = values.get("difference")
        return Prediction(
            name=values["name"],
            labels=tuple(values["labels"]),
            ported=answer("ported"),
            original=answer("original"),
            difference=Difference(**difference) if difference else None,
        )


@contextlib.contextmanager
def predictions_file(
    path: Path,
    run: Mapping[str, Any],
    names: Sequence[str],
    *,
    batch_size: int,
    overwrite: bool = False,
) -> Iterator[tuple[list[Prediction], Callable[[list[Prediction]], None]]]:
    """The predictions that are there, and what appends a batch of them.

    The first line says which run it is. A batch that was not written whole is cut off,
    so that what is computed again is computed as it would have been.

    Args:
        path: The file, JSON lines. It is made where there is none.
        run: What the predictions depend on.
        names: The images' names, in order.
        batch_size: How many images are computed at once.
        overwrite: Whether to begin anew whatever is there.

    Raises:
        EvaluationError: if the file is another run's, is no such file, or another
            process writes to it.
    """
    with contextlib.ExitStack() as stack:
        if overwrite or not path.exists():
            stack.enter_context(_begun(path, run))
        file = stack.enter_context(path.open("r+b"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EvaluationError(f"{path}: another process writes to it") from error
        lines = file.read().splitlines(keepends=True)
        _check_run(path, lines, run)
        lines = [line for line in lines if line.endswith(b"\n")]
        done = _read(path, lines[1:], names)
        if len(done) < len(names):
            del done[len(done) // batch_size * batch_size :]
        file.truncate(sum(map(len, lines[: 1 + len(done)])))

        def append(batch: list[Prediction]) -> None:
            _append(file, batch)

        yield done, append


@contextlib.contextmanager
def _begun(path: Path, run: Mapping[str, Any]) -> Iterator[None]:
    """Makes the file with its first line; if no more comes to it, nothing is left."""
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    first = json.dumps(run) + "\n"
    write_text(path, first)
    try:
        yield
    except BaseException:
        if path.stat().st_size == len(first):
            path.unlink()
            with contextlib.suppress(OSError):  # one that holds something stays
                for parent in made:
                    parent.rmdir()
        raise


def _check_run(path: Path, lines: Sequence[bytes], run: Mapping[str, Any]) -> None:
    try:
        found = json.loads(lines[0])
        differing = [k for k in {**run, **found} if found.get(k) != run.get(k)]
    except (ValueError, LookupError, TypeError) as error:
        raise EvaluationError(
            f"{path} is not a file of predictions; name another folder as --out"
        ) from error
    if differing:
        said = "; ".join(
            f"{name}: {found.get(name)!r} found, {run.get(name)!r} expected"
            for name in differing
        )
        raise EvaluationError(
            f"{path} is of another run: {said}. --overwrite begins anew; or name "
            "another folder as --out"
        )


def _read(path: Path, lines: Sequence[bytes], names: Sequence[str]) -> list[Prediction]:
    done = []
    for i, line in enumerate(lines):
        try:
            prediction = Prediction.from_json(line)
            right = prediction.name == names[i]
        except (ValueError, LookupError, TypeError) as error:
            raise EvaluationError(_damaged(path, i, repr(error))) from error
        if not right:
            problem = f"{prediction.name!r} found, {names[i]!r} expected"
            raise EvaluationError(_damaged(path, i, problem))
        done.append(prediction)
    return done


def _damaged(path: Path, i: int, problem: str) -> str:
    return f"{path}, line {i + 2}: {problem}. --overwrite begins anew"


def _append(file: BinaryIO, batch: Sequence[Prediction]) -> None:
    text = "".join(prediction.to_json() + "\n" for prediction in batch)
    file.seek(0, os.SEEK_END)
    file.write(text.encode())
    file.flush()
