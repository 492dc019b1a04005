"""A file server on this machine that misbehaves as it is told."""

import contextlib
import dataclasses
import http.server
import threading
from collections.abc import Iterator
from typing import Any


@dataclasses.dataclass
class Served:
    """One file, and how it is sent.

    Attributes:
        content: Its bytes.
        cuts: After how many bytes the connection breaks: one a request, then none.
        status: Answers that are no files: one a request, then the file.
        ranges: Whether it can be asked for a part.
        version: Its ETag; "" for none.
        length: The Content-Length to state; None for the right one.
        chunked: Whether no length is stated.
        start: The first byte to state of a part; None for the right one.
        location: Where it is instead.
    """

    content: bytes
    cuts: list[int] = dataclasses.field(default_factory=list)
    status: list[int] = dataclasses.field(default_factory=list)
    ranges: bool = True
    version: str = '"one"'
    length: int | None = None
    chunked: bool = False
    start: int | None = None
    location: str = ""


@contextlib.contextmanager
def serving(files: dict[str, Served]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Serves `files` until the end of the block.

    Args:
        files: "/path" -> what is there; it may be changed meanwhile.

    Yields:
        The server's address, and the requests it has had: (path, Range).
    """
    requests: list[tuple[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append((self.path, self.headers.get("Range", "")))
            file = files.get(self.path.partition("?")[0])
            if file is None:
                return self.send_error(404)
            if file.status:
                return self.send_error(file.status.pop(0))
            if file.location:
                self.send_response(302)
                self.send_header("Location", file.location)
                return self.end_headers()
            self._send(file)

        def log_message(self, *arguments: Any) -> None:
            pass

        def _send(self, file: Served) -> None:
            start = self._start(file)
            if start is not None and start >= len(file.content):
                return self.send_error(416)
            self.send_response(200 if start is None else 206)
            body = file.content[start or 0 :]
            if start is not None:
                stated = start if file.start is None else file.start
                last, size = len(file.content) - 1, len(file.content)
                self.send_header("Content-Range", f"bytes {stated}-{last}/{size}")
            if file.version:
                self.send_header("ETag", file.version)
            if not file.chunked:
                length = len(body) if file.length is None else file.length
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body[: file.cuts.pop(0)] if file.cuts else body)
            self.close_connection = True

        def _start(self, file: Served) -> int | None:
            asked = self.headers.get("Range")
            same = self.headers.get("If-Range") in (None, file.version)
            if not asked or not file.ranges or not same:
                return None
            return int(asked.removeprefix("bytes=").removesuffix("-"))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
