"""A checkpoint in several files, with an index that says which tensor is in which."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from vit_tf.checkpoints.errors import (
    CheckpointError,
    CorruptCheckpointError,
    UnsafeCheckpointError,
    listing,
)
from vit_tf.checkpoints.json_file import read_json

INDEX = ".index.json"


class ShardedTensors(Mapping[str, np.ndarray]):
    """The tensors of all files that an index names: name -> array.

    Each is read where its own file's reader reads it: when it is asked for.

    Args:
        index: A file such as `model.safetensors.index.json`.
        read: The reader of a shard.

    Raises:
        CheckpointError: if a shard is missing, or cannot be read.
        CorruptCheckpointError: if the index is none, or does not agree with the shards.
        UnsafeCheckpointError: if it names a file outside its own folder.
    """

    def __init__(
        self, index: str | Path, read: Callable[[Path], Mapping[str, np.ndarray]]
    ):
        self.path = Path(index)
        self._files = _weight_map(self.path)
        paths = {name: self.path.parent / name for name in file_names(self.path)}
        if missing := [name for name, path in paths.items() if not path.is_file()]:
            raise CheckpointError(
                f"{self.path}: {listing(missing)} not there; expected: all "
                f"{len(paths)} files that the index names"
            )
        self._shards = {name: read(path) for name, path in paths.items()}
        self._check()

    def __getitem__(self, name: str) -> np.ndarray:
        return self._shards[self._files[name]][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def _check(self) -> None:
        problems = [
            f"{name} is not in {file}"
            for name, file in self._files.items()
            if name not in self._shards[file]
        ]
        problems += [
            f"{name} is in {file}, which the index does not say"
            for file, shard in self._shards.items()
            for name in shard
            if self._files.get(name) != file
        ]
        if problems:
            raise CorruptCheckpointError(
                f"{self.path}: the index and its files differ: "
                f"{'; '.join(problems[:8])}{'; ...' if problems[8:] else ''}"
            )


def is_index(path: Path) -> bool:
    """Whether a file is named as the index of a sharded checkpoint."""
    return path.name.endswith(INDEX)


def file_names(index: Path) -> list[str]:
    """The files that an index names, all in its own folder.

    Raises:
        CheckpointError: if it is no such index.
    """
    return sorted(set(_weight_map(index).values()))


def _weight_map(path: Path) -> dict[str, str]:
    files = read_json(path).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise CorruptCheckpointError(
            f"{path}: no weight_map found; expected: an index, tensor's name -> file"
        )
    ending = path.name.removesuffix(INDEX).rpartition(".")[2]
    outside = [
        repr(file)
        for file in files.values()
        if not isinstance(file, str) or file != Path(file).name
    ]
    if outside:
        raise UnsafeCheckpointError(
            f"{path}: {listing(dict.fromkeys(outside))} found; expected: names of "
            "files in the same folder"
        )
    others = {file for file in files.values() if not file.endswith(f".{ending}")}
    if others:
        raise CorruptCheckpointError(
            f"{path}: {listing(sorted(others))} found; expected: .{ending} files"
        )
    return files
