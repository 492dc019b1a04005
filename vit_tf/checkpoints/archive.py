"""Zip archives that are whole, and no larger inside than they may be."""

import struct
import zipfile
from pathlib import Path

from vit_tf.checkpoints.errors import (
    ZIP_ERRORS,
    CorruptCheckpointError,
    TooLargeCheckpointError,
    listing,
)

# Weights hardly compress: zlib takes a tenth off float32. What inflates to more than
# this many times the file, beyond what a test model may hold, was made to fill memory.
INFLATION = 20
ALLOWANCE = 64 << 20  # bytes
LOCAL_HEADER = struct.Struct("<26xHH")  # before a member: lengths of name and extra
LAST_RECORD = struct.Struct("<10xH10x")  # of an archive: how many members it has
LAST_RECORD_BEGINS = b"PK\x05\x06"


def checked_members(path: Path) -> list[zipfile.ZipInfo]:
    """The members of an archive, all of whose checksums agree.

    Nothing is inflated before the sizes in the archive's directory are within bounds;
    `zipfile` never inflates a member beyond its size there.

    Raises:
        CorruptCheckpointError: if the archive is damaged, or two members have one
            name.
        TooLargeCheckpointError: if it would inflate beyond `INFLATION`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except ZIP_ERRORS as error:
        raise CorruptCheckpointError(f"{path}: damaged ({error})") from error
    _check_count(path, len(members))
    _check_names(path, members)
    _check_sizes(path, members)
    _check_sums(path)
    return members


def data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Where in the archive the bytes of a member begin."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        lengths = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
        return file.tell() + sum(lengths)


def _check_count(path: Path, found: int) -> None:
    """`zipfile` does not: a damaged entry may hide those behind it."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LAST_RECORD.size - 0xFFFF))
        end = file.read()
    last = len(end) - LAST_RECORD.size + len(LAST_RECORD_BEGINS)
    at = end.rfind(LAST_RECORD_BEGINS, 0, last)  # it is there: `zipfile` has found it
    (stated,) = LAST_RECORD.unpack_from(end, at)
    if stated not in (found, 0xFFFF):  # the latter: more than a short number holds
        raise CorruptCheckpointError(
            f"{path}: damaged ({found} members found, {stated} stated)"
        )


def _check_names(path: Path, members: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    twice = [m.filename for m in members if m.filename in seen or seen.add(m.filename)]
    if twice:
        raise CorruptCheckpointError(
            f"{path}: several members named {listing(twice)} found; expected: each "
            "name once"
        )


def _check_sizes(path: Path, members: list[zipfile.ZipInfo]) -> None:
    stored = sum(m.file_size for m in members if m.compress_type == zipfile.ZIP_STORED)
    size, claimed = path.stat().st_size, sum(m.file_size for m in members)
    limit = INFLATION * size + ALLOWANCE
    if stored > size:
        raise CorruptCheckpointError(
            f"{path}: {stored:,} bytes stored as they are, in a file of {size:,} bytes"
        )
    if claimed > limit:
        raise TooLargeCheckpointError(
            f"{path}: its {size:,} bytes would inflate to {claimed:,}; expected: at "
            f"most {limit:,} ({INFLATION} times the file and {ALLOWANCE:,})"
        )


def _check_sums(path: Path) -> None:
    """torch does not: a flipped bit would load as another weight."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except ZIP_ERRORS as error:
        raise CorruptCheckpointError(f"{path}: damaged ({error})") from error
    if damaged:
        raise CorruptCheckpointError(
            f"{path}: damaged since it was written: the checksum of {damaged} differs"
        )
