"""A tar of images, as a folder that is read where it lies."""

import itertools
import lzma
import os.path
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from i1k_eval.datasets.classes import Model
from i1k_eval.datasets.dataset import Dataset, DatasetError, is_image, listed
from i1k_eval.datasets.files import checked_size, class_and_file, of_files
from i1k_eval.datasets.label_file import LabelFile

_ERRORS = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)


class Member(NamedTuple):
    """Where an image is.

    Attributes:
        path: its name, which is nothing but a name.
        start: its first byte in the archive, inflated.
        size: its bytes.
        error: why it cannot be read.
    """

    path: str
    start: int
    size: int
    error: str = ""


def open_tar(file: Path, *, labels: LabelFile, model: Model) -> Dataset:
    """A tar, or a compressed one, as a data set; nothing is extracted.

    Its members are listed once. Then an image is read where it is; in a compressed tar
    what is before it is inflated first.

    Raises:
        DatasetError: if it is no tar or not a whole one, has no images, or their
            classes cannot be told.
    """
    try:
        members = _members(file)
    except _ERRORS as error:
        reason = str(error).partition("\n")[0]
        raise DatasetError(f"{file} is no whole tar: {reason}") from error
    paths = _below_common([member.path for member in members])
    class_and_file(paths)

    def read(start: int, stop: int) -> Iterator[bytes | OSError]:
        return _read(file, members[start:stop])

    return of_files(str(file), paths, read, labels, model)


def _members(file: Path) -> list[Member]:
    """The images in a tar, in its order."""
    found: dict[str, Member] = {}
    links: dict[str, str] = {}
    others, repeated = [], []
    with tarfile.open(file) as archive:
        for member in archive:
            archive.members.clear()  # tarfile keeps them all
            path = member.name.removeprefix("./")
            if not is_image(path):
                others.append(path)
                continue
            if path in found:
                repeated.append(path)
            found[path] = _located(path, member)
            if member.islnk():
                links[path] = member.linkname
            if member.issym():
                links[path] = os.path.join(os.path.dirname(path), member.linkname)
        _check_end(archive.fileobj, archive.offset, len(found) + len(others))
    if repeated:
        raise DatasetError(f"{file} has two files named {listed(repeated)}")
    if not found:
        raise DatasetError(
            f"{file} has no images; it has: {listed(others) or 'nothing'}"
        )
    return [_followed(member, links, found) for member in found.values()]


def _located(path: str, member: tarfile.TarInfo) -> Member:
    error = "" if member.isreg() and not member.issparse() else "no regular file"
    return Member(path, member.offset_data, member.size, error)


def _followed(
    member: Member, links: dict[str, str], found: dict[str, Member]
) -> Member:
    """A link as the file that it is a link to, if that is an image in the tar."""
    if member.path not in links:
        return member
    target = found.get(os.path.normpath(links[member.path]))
    if target is None or target.path in links:
        error = f"a link to {links[member.path]}, which is no image in the tar"
        return member._replace(error=error)
    return target._replace(path=member.path)


def _check_end(archive: IO[bytes], end: int, members: int) -> None:
    """Sees to it that a block of zeros follows the last member.

    To tarfile a broken header is the end, as is the end of the file.
    """
    archive.seek(end)
    if archive.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(
            f"it breaks off, or is broken, behind {members} members"
        )


def _below_common(paths: Sequence[str]) -> list[str]:
    """Paths without the folders above those that tell the classes."""
    folders = {os.path.dirname(path) for path in paths}
    parts = [folder.split("/")[:-1] for folder in folders]
    levels = zip(*parts, strict=False)
    common = itertools.takewhile(lambda level: len(set(level)) == 1, levels)
    above = "".join(level[0] + "/" for level in common)
    return [path.removeprefix(above) for path in paths]


def _read(file: Path, members: Sequence[Member]) -> Iterator[bytes | OSError]:
    try:
        archive = tarfile.open(file)  # noqa: SIM115 (closed below)
    except _ERRORS as error:
        yield from [_as_os_error(error)] * len(members)
        return
    with archive:
        for member in members:
            try:
                yield _bytes(archive.fileobj, member)
            except _ERRORS as error:
                yield _as_os_error(error)


def _bytes(archive: IO[bytes], member: Member) -> bytes:
    if member.error:
        raise OSError(member.error)
    archive.seek(member.start)
    encoded = archive.read(checked_size(member.size))
    if len(encoded) < member.size:
        raise OSError(f"{len(encoded)} bytes are left of {member.size}")
    return encoded


def _as_os_error(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(str(error))
