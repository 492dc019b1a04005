"""One file over HTTP: resumed where it was cut off, and whole or not there."""

import dataclasses
import hashlib
import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from vit_tf.checkpoints.errors import DownloadError

ATTEMPTS = 5  # to go on, each after a longer pause
PAUSE = 0.5  # seconds before the second
TIMEOUT = 20  # seconds without a byte
CHUNK = 1 << 20  # bytes
# What may pass, if one asks again; any other answer stands.
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
# timm's and torch's files carry the beginning of their sha256: name-a1311bcf.pth
DIGEST = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


class _Again(Exception):  # noqa: N818
    """This attempt failed; another may not."""


@dataclasses.dataclass(frozen=True)
class _Answer:
    """What a server says of what it sends."""

    start: int  # the first byte that it sends
    total: int | None  # bytes of the whole file
    version: str  # of the file, "" where the server does not say


def download(
    url: str,
    folder: Path,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Path:
    """Fetches a file once; a second call finds it.

    What has arrived is kept when the connection breaks, and the rest asked for, now or
    by a later call, if the file at the server is still the same.

    Args:
        url: https://..., whose last part names the file.
        folder: Where files are kept, each in a folder of its own.
        progress: Called with the bytes that are here, and all, as they arrive.

    Raises:
        DownloadError: if it cannot be had, or is not as long, or has not the sha256,
            that it should have.
    """
    path = folder / hashlib.sha256(url.encode()).hexdigest()[:16] / _name(url)
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f"{path.name}.partial")) as partial:
            if not path.exists():  # another process had the lock, and was first
                _download(url, partial, progress)
                _check_digest(url, path.name, partial)
                Path(partial.name).rename(path)
                _version_file(partial).unlink(missing_ok=True)
            else:
                Path(partial.name).unlink(missing_ok=True)
    except OSError as error:  # of the disk: those of the network are no such any more
        raise DownloadError(f"{url}: cannot be kept in {folder}: {error}") from error
    return path


def _download(
    url: str, partial: BinaryIO, progress: Callable[[int, int | None], None]
) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _continue(url, partial, progress)
        except _Again as error:
            if attempt == ATTEMPTS:
                kept = partial.seek(0, 2)
                raise DownloadError(
                    f"{url}: {error}; tried {ATTEMPTS} times, {kept:,} bytes are kept"
                ) from error
            time.sleep(PAUSE * 2 ** (attempt - 1))


def _continue(
    url: str, partial: BinaryIO, progress: Callable[[int, int | None], None]
) -> None:
    """Asks for what is not there yet."""
    done, version = partial.seek(0, 2), _read_version(partial)
    if not version:  # whether the file at the server is the same, nobody could say
        done = 0
    headers = {"Range": f"bytes={done}-", "If-Range": version} if done else {}
    headers["Accept-Encoding"] = "identity"
    with _opened(url, headers) as response:
        if response.status == 416:  # there is no more, or less than is here
            partial.truncate(0)
            raise _Again(f"byte {done:,} and more asked for, and there is none")
        answer = _read_answer(response)
        if answer.start not in (0, done):
            partial.truncate(0)
            raise _Again(f"bytes from {answer.start:,} found, from {done:,} expected")
        _check_space(url, partial, answer)
        partial.truncate(answer.start)
        _version_file(partial).write_text(answer.version)
        _copy(response, partial, answer, progress)


def _copy(
    response: http.client.HTTPResponse,
    partial: BinaryIO,
    answer: _Answer,
    progress: Callable[[int, int | None], None],
) -> None:
    done = partial.seek(answer.start)
    while True:
        try:
            chunk = response.read(CHUNK)
        except (http.client.HTTPException, OSError) as error:
            raise _Again(f"the connection broke ({_reason(error)})") from error
        if not chunk:
            break
        partial.write(chunk)
        done += len(chunk)
        progress(done, answer.total)
    partial.flush()
    if answer.total is not None and done != answer.total:
        raise _Again(f"{done:,} bytes found, {answer.total:,} expected")


@contextmanager
def _opened(url: str, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
    """The server's answer, if it sends the file or has no such bytes of it."""
    try:
        request = urllib.request.Request(url, headers=headers)
        response = urllib.request.build_opener(_Redirect).open(request, timeout=TIMEOUT)
    except DownloadError:
        raise
    except urllib.error.HTTPError as error:
        said = f"the server answers {error.code} {error.reason}"
        if error.code in TEMPORARY:
            raise _Again(said) from error
        if error.code != 416:
            raise DownloadError(f"{url}: {said}") from error
        response = error
    except (http.client.HTTPException, OSError) as error:
        raise _Again(f"no answer ({_reason(error)})") from error
    except ValueError as error:
        raise DownloadError(f"{url}: no address of a file ({error})") from error
    with response:
        yield response


class _Redirect(urllib.request.HTTPRedirectHandler):
    """To where the file is, but not to another kind of place."""

    def redirect_request(self, request, file, code, message, headers, url):
        if not url.startswith(("https://", f"{request.type}://")):
            raise DownloadError(f"{request.full_url}: leads to {url}; expected: https")
        return super().redirect_request(request, file, code, message, headers, url)


def _read_answer(response: http.client.HTTPResponse) -> _Answer:
    headers = response.headers
    version = headers.get("ETag") or headers.get("Last-Modified") or ""
    if version.startswith("W/"):  # no promise that the bytes are the same
        version = ""
    length = headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    if response.status != 206:
        return _Answer(0, total, version)
    stated = re.fullmatch(
        r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip()
    )
    if not stated:
        return _Answer(-1, None, version)
    start = int(stated[1])
    if stated[2] != "*":
        return _Answer(start, int(stated[2]), version)
    return _Answer(start, None if total is None else start + total, version)


def _check_space(url: str, partial: BinaryIO, answer: _Answer) -> None:
    free = shutil.disk_usage(Path(partial.name).parent).free
    needed = (answer.total or 0) - answer.start
    if needed > free:
        raise DownloadError(
            f"{url}: {needed:,} bytes announced, {free:,} free on the disk of "
            f"{Path(partial.name).parent}"
        )


def _check_digest(url: str, name: str, partial: BinaryIO) -> None:
    """A file's name may say what its bytes are. Digits alone may be a date."""
    stated = DIGEST.search(name)
    if not stated or stated[1].isdecimal():
        return
    partial.seek(0)
    found = hashlib.file_digest(partial, "sha256").hexdigest()
    if not found.startswith(stated[1]):
        partial.truncate(0)
        raise DownloadError(
            f"{url}: sha256 {found} found, {stated[1]}... expected, as its name says"
        )


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file, for this process alone."""
    import fcntl  # which Windows has not: there, files are not fetched

    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _version_file(partial: BinaryIO) -> Path:
    return Path(f"{partial.name}.version")


def _read_version(partial: BinaryIO) -> str:
    path = _version_file(partial)
    return path.read_text() if path.exists() else ""


def _name(url: str) -> str:
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if name in ("", ".."):
        raise DownloadError(f"{url}: no file is named; expected: https://HOST/.../FILE")
    return name


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__
