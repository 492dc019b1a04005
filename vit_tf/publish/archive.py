"""A bundle as TF-Hub's clients fetch it: one archive, with its documentation beside."""

import dataclasses
import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from vit_tf.export import card as cards
from vit_tf.export.whole_file import replacing
from vit_tf.publish.earlier import TELLING, check_replaceable
from vit_tf.publish.release import Release
from vit_tf.publish.target import Plan

LEVEL = 1  # weights hardly get smaller: more costs seconds, and saves nothing
UNREADABLE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)


@dataclasses.dataclass(frozen=True)
class Archive:
    """NAME.tar.gz in a folder, with saved_model.pb at its root, and NAME.md.

    `hub.load("https://HOST/NAME.tar.gz")` takes it from any file server.

    Attributes:
        directory: The folder.
        name: The archive's, without its ending.
        overwrite: Whether the archive of whatever bundle may be replaced.
    """

    directory: Path
    name: str
    overwrite: bool = False

    @property
    def place(self) -> str:
        return f"tar:{self.directory}"

    @property
    def address(self) -> str:
        return str(self._archive)

    @property
    def _archive(self) -> Path:
        return self.directory / f"{self.name}.tar.gz"

    @property
    def _documentation(self) -> Path:
        return self.directory / f"{self.name}.md"

    def rendered(self, release: Release) -> Release:
        return release

    def card(self, release: Release) -> str:
        return cards.tf_hub(release.card)

    def plan(self, release: Release) -> Plan:
        there = hashes(self._archive)
        differing = release.differing(there)
        self._check_own(release, there, differing)
        sizes = {
            self._archive.name: sum(file.size for file in release.files.values()),
            self._documentation.name: len(self.card(release).encode()),
        }
        if differing:
            return Plan(sizes)
        lacking = [] if self._is_documented(release) else [self._documentation.name]
        return Plan({path: sizes[path] for path in lacking})

    def send(self, release: Release, plan: Plan) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._archive.name in plan.files:
            with replacing(self._archive) as file:
                write(release, file)
        if self._documentation.name in plan.files:
            with replacing(self._documentation) as file:
                file.write(self.card(release).encode())

    def differing(self, release: Release) -> list[str]:
        differing = release.differing(hashes(self._archive))
        if not self._is_documented(release):
            differing.append(self._documentation.name)
        return differing

    def _is_documented(self, release: Release) -> bool:
        path = self._documentation
        return path.is_file() and path.read_bytes() == self.card(release).encode()

    def _check_own(
        self, release: Release, there: Mapping[str, str], differing: Sequence[str]
    ) -> None:
        """That what is there may be replaced: what this wrote earlier, or nothing."""
        if self._archive.exists():
            if "saved_model.pb" not in there:
                raise FileExistsError(
                    f"{self._archive} is no archive of a bundle, so it is not replaced"
                )
            if differing and not self.overwrite:
                told = contents(self._archive, [n for n in TELLING if n in there])
                check_replaceable(release, str(self._archive), there, told)
        elif self._documentation.exists():
            raise FileExistsError(
                f"{self._documentation} is of something else: there is no "
                f"{self._archive.name} beside it; so it is not replaced"
            )


def write(release: Release, file: BinaryIO) -> None:
    """Writes a release as an archive. The same release gives the same bytes."""
    with (
        gzip.GzipFile("", "wb", LEVEL, file, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        folders = {str(parent) for path in release.files for parent in _parents(path)}
        for name in sorted(folders):  # TF-Hub's client makes none by itself
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name in sorted(release.files):
            entry = tarfile.TarInfo(name)
            entry.size = release.files[name].size
            with release.files[name].open() as source:
                archive.addfile(entry, source)


def hashes(path: Path) -> dict[str, str]:
    """Relative path -> sha256, of every file in an archive; none of what is not one."""
    found: dict[str, str] = {}
    if not path.is_file():
        return found
    try:
        with tarfile.open(path, "r|gz") as archive:
            for entry in archive:
                if source := archive.extractfile(entry):
                    digest = hashlib.file_digest(source, "sha256")
                    found[entry.name] = digest.hexdigest()
    except UNREADABLE:
        return {}
    return found


def contents(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Relative path -> bytes, of files that are in an archive."""
    with tarfile.open(path, "r:gz") as archive:
        return {name: archive.extractfile(name).read() for name in names}


def _parents(path: str) -> list[Path]:
    return list(Path(path).parents)[:-1]  # the last is "."
