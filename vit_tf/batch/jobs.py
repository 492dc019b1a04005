"""Which conversions a batch is made of: architectures by name, or a manifest."""

import csv
import dataclasses
import fnmatch
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vit_tf.checkpoints.fetch import is_remote
from vit_tf.checkpoints.random import RANDOM

COLUMNS = ("name", "checkpoint", "model", "checkpoint_key", "dialect", "overrides")
REPRESENTATIVE = "export.representative"  # the field of a folder of images
RESERVED = ("ledger.jsonl", "summary.md", "summary.csv", "summary.json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=@-]*(/[A-Za-z0-9][A-Za-z0-9._+=@-]*)*")


class ManifestError(ValueError):
    """A manifest, or the jobs that flags ask for, cannot be used. It says why."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One conversion.

    Attributes:
        name: Of its bundle: a folder below the batch's.
        checkpoint: As for `vit_tf.convert`; "" for timm's pretrained weights.
        model: timm's name, or "" where the checkpoint tells which model it is.
        checkpoint_key: Where a file holds several models, which of them.
        dialect: Whose names the tensors have, where they do not tell it.
        overrides: Fields of the configuration, e.g. ("model.num_classes", 5).
        formats: What is written, as for `vit_tf.convert`.
    """

    name: str
    checkpoint: str = ""
    model: str = ""
    checkpoint_key: str = ""
    dialect: str = ""
    overrides: tuple[tuple[str, Any], ...] = ()
    formats: tuple[str, ...] = ("saved_model",)

    @property
    def key(self) -> str:
        """What the result depends on, as 16 hexadecimal digits.

        That is what was asked for: a file that holds another checkpoint later is the
        same job. Its bundle's parity.json has the hash of what was converted.
        """
        facts = dataclasses.asdict(self) | {"formats": sorted(self.formats)}
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def located(job: Job, folder: Path) -> Job:
    """A job for a process elsewhere: its local paths begin at `folder`, not there.

    It is not the same job: whoever counts jobs keeps the one that was given.
    """
    given = job.checkpoint
    local = given and not given.startswith(RANDOM) and not is_remote(given)
    overrides = {
        name: str(folder / value) if name == REPRESENTATIVE and value else value
        for name, value in job.overrides
    }
    return dataclasses.replace(
        job,
        checkpoint=str(folder / given) if local else given,
        overrides=tuple(overrides.items()),
    )


def of_models(
    patterns: Sequence[str],
    names: Sequence[str],
    *,
    checkpoint: str = "",
    formats: Sequence[str] = ("saved_model",),
) -> list[Job]:
    """A job for each model that a pattern fits.

    Args:
        patterns: Shell patterns, e.g. "deit_*", of which each must fit something.
        names: timm's names of the models that there are.
        checkpoint: Where their weights come from; "" for timm's pretrained weights.
        formats: What is written of each.

    Raises:
        ManifestError: naming every pattern that fits nothing.
    """
    fitting = {pattern: fnmatch.filter(names, pattern) for pattern in patterns}
    if idle := [pattern for pattern, found in fitting.items() if not found]:
        raise ManifestError(
            f"no model fits {', '.join(map(repr, idle))}; expected: patterns of timm's "
            "names, as vit_tf.list_models() has them"
        )
    chosen = set().union(*fitting.values())
    return [
        Job(name, checkpoint, name, formats=tuple(formats))
        for name in names
        if name in chosen
    ]


def of_manifest(path: Path, formats: Sequence[str] = ("saved_model",)) -> list[Job]:
    """The jobs that a file lists: one a row of CSV, or one a JSON object a line.

    Columns are those of `COLUMNS`, of which "name" and "checkpoint" must be there; in
    CSV, "overrides" is a JSON object.

    Raises:
        ManifestError: listing what is wrong, by line, up to ten.
        OSError: if it cannot be read.
    """
    rows = {".csv": _of_csv, ".jsonl": _of_jsonl}.get(path.suffix)
    if rows is None:
        raise ManifestError(f"{path} found; expected: a file ending in .csv or .jsonl")
    jobs, problems = {}, []
    try:
        for line, row in rows(path):
            try:
                jobs[line] = _job(row, tuple(formats))
            except ManifestError as error:
                problems.append(f"line {line}: {error}")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is no text in UTF-8: {error}") from error
    problems += _repeated(jobs)
    if problems:
        rest = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ManifestError(f"{path}: {'; '.join(problems[:10])}{rest}")
    if not jobs:
        raise ManifestError(f"{path}: no row found")
    return [*jobs.values()]


def _of_csv(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for row in reader:
            if row.pop(None, None) is not None:  # what has no column
                yield reader.line_num, {"more values than columns": True}
                continue
            given = {column: value for column, value in row.items() if value}
            if "overrides" in given:
                given["overrides"] = _json(given["overrides"])
            yield reader.line_num, given


def _of_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _json(line)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        return f"{text.strip()!r} is no JSON: {error}"


def _job(row: Any, formats: tuple[str, ...]) -> Job:
    if not isinstance(row, Mapping):
        found = row if isinstance(row, str) else f"{row!r} found"
        raise ManifestError(f"{found}; expected: an object with {', '.join(COLUMNS)}")
    problems = [f"no column {name!r} is known" for name in row if name not in COLUMNS]
    problems += [f"{name} is missing" for name in COLUMNS[:2] if not row.get(name)]
    texts = {name: row.get(name, "") for name in COLUMNS[:-1]}
    problems += [
        f"{name}={value!r} found, a text expected"
        for name, value in texts.items()
        if not isinstance(value, str)
    ]
    name = texts["name"]
    if isinstance(name, str) and name and not _NAME.fullmatch(name):
        problems.append(f"name={name!r} found, one that can be a folder expected")
    if name in RESERVED:
        problems.append(f"name={name!r} found, which is a file of the batch")
    overrides = row.get("overrides") or {}
    if not isinstance(overrides, Mapping):
        problems.append(f"overrides={overrides!r} found, a JSON object expected")
    if problems:
        raise ManifestError(", ".join(problems))
    return Job(**texts, overrides=tuple(sorted(overrides.items())), formats=formats)


def _repeated(jobs: Mapping[int, Job]) -> Iterable[str]:
    """Names that are given twice, or are inside of another's folder."""
    counts = Counter(job.name for job in jobs.values())
    for line, job in jobs.items():
        parents = [str(parent) for parent in Path(job.name).parents]
        if counts[job.name] > 1:
            yield f"line {line}: name={job.name!r} is there {counts[job.name]} times"
        elif outer := [name for name in parents if name in counts]:
            yield f"line {line}: {job.name!r} would be inside the bundle {outer[0]!r}"
