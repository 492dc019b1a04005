"""A server on this machine that fails as it is told."""

import contextlib
import dataclasses
import http.server
import io
import re
import socket
import threading
from collections.abc import Iterator

Fault = int | str


@dataclasses.dataclass
class Faults:
    """Faults that are to happen, each once, and the requests that a server has had.

    Attributes:
        planned: (which requests, what becomes of the first of them). Which is a regular
            expression for the beginning of "METHOD /path". What is a status to answer,
            "html" (503, in no JSON), "reset" (the connection breaks before it is
            heard), "lost" (it is done, and the connection breaks before the answer) or
            "hang" (no answer before `released`).
        requests: All so far.
        hanging: Set once a request hangs.
        released: To be set, so that those that hang end.
    """

    planned: list[tuple[str, Fault]] = dataclasses.field(default_factory=list)
    requests: list[str] = dataclasses.field(default_factory=list)
    hanging: threading.Event = dataclasses.field(default_factory=threading.Event)
    released: threading.Event = dataclasses.field(default_factory=threading.Event)

    def count(self, pattern: str) -> int:
        """How many requests began so."""
        return sum(bool(re.match(pattern, request)) for request in self.requests)

    @contextlib.contextmanager
    def applied(
        self, handler: http.server.BaseHTTPRequestHandler, request: str
    ) -> Iterator[bool]:
        """Yields whether a request is to be answered; otherwise it was dealt with."""
        self.requests.append(request)
        fault = self._next(request)
        if isinstance(fault, int):
            handler.send_error(fault)
        elif fault == "html":
            handler.send_error(503, explain="<b>busy</b>")
        elif fault == "hang":
            self.hanging.set()
            self.released.wait()
        elif fault == "lost":
            handler.wfile = io.BytesIO()
        if fault in ("hang", "lost", "reset"):
            handler.close_connection = True
        try:
            yield fault in (None, "lost")
        finally:
            if fault in ("hang", "lost", "reset"):
                with contextlib.suppress(OSError):
                    handler.connection.shutdown(socket.SHUT_RDWR)

    def _next(self, request: str) -> Fault | None:
        for index, (pattern, fault) in enumerate(self.planned):
            if re.match(pattern, request):
                del self.planned[index]
                return fault
        return None


@contextlib.contextmanager
def running(
    handler: type[http.server.BaseHTTPRequestHandler], faults: Faults
) -> Iterator[str]:
    """Answers requests until the end of the block. Yields its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        faults.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
