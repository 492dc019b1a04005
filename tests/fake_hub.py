"""A Hugging Face hub of a few files, on this machine."""

import contextlib
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator, Mapping

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def serving(files: Mapping[str, bytes], cut: frozenset[str] = frozenset()) -> Iterator:
    """Serves `files` until the end of the block.

    Args:
        files: "OWNER/REPOSITORY/FILE" -> content.
        cut: Those of `files` of which half arrives, however often they are asked for.

    Yields:
        The hub's address, and the requests it has had: "METHOD OWNER/...".
    """
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            name, content = self._answer()
            if name in cut:
                content = b"" if self._resumes() else content[: len(content) // 2]
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

        def _resumes(self) -> bool:
            return "Range" in self.headers

        def _answer(self) -> tuple[str, bytes]:
            name = self.path.lstrip("/").replace(f"/resolve/{COMMIT}/", "/")
            name = re.sub("/resolve/(.*?)/", r"@\1/", name).replace("@main/", "/")
            requests.append(f"{self.command} {name}")
            name = re.sub("@.*?/", "/", name)
            content = files.get(name, b"")
            found = 206 if self._resumes() else 200
            self.send_response(found if name in files else 404)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            if name in files:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            else:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return name, content

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
