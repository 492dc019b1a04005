"""A Hugging Face hub to publish to, on this machine."""

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import urllib.parse
from collections.abc import Iterator
from typing import NamedTuple

from faulty_server import Faults, running

TOKEN = "hf_of_a_writer"
LARGE = 10_000  # bytes: larger files are kept by their sha256
NAME = r"(\w+/[\w-]+)"


class Commit(NamedTuple):
    oid: str
    files: dict[str, bytes]


@dataclasses.dataclass
class Repository:
    """What the hub keeps of one.

    Attributes:
        private: Whether it is a private one.
        branches: Name -> commits, the latest last.
    """

    private: bool
    branches: dict[str, list[Commit]]

    def commit(self, revision: str) -> Commit | None:
        if revision in self.branches:
            return self.branches[revision][-1]
        commits = [commit for branch in self.branches.values() for commit in branch]
        return next((commit for commit in commits if commit.oid == revision), None)


@dataclasses.dataclass
class Hub:
    """A hub that can be written to.

    Attributes:
        faults: What becomes of requests, and those that it has had.
        address: Its own.
        repositories: "OWNER/REPOSITORY" -> what it keeps.
        large: sha256 -> content, of what was uploaded, with or without a commit.
        ignored: What it tells clients to leave out of commits.
    """

    faults: Faults = dataclasses.field(default_factory=Faults)
    address: str = ""
    repositories: dict[str, Repository] = dataclasses.field(default_factory=dict)
    large: dict[str, bytes] = dataclasses.field(default_factory=dict)
    ignored: set[str] = dataclasses.field(default_factory=set)


class _Refused(Exception):  # noqa: N818 - it is an answer
    def __init__(self, status: int, code: str = "", **told: str) -> None:
        super().__init__(status)
        self.status, self.code, self.told = status, code, told


class _Handler(http.server.BaseHTTPRequestHandler):
    """The part of the hub's protocol that its client speaks to publish a folder."""

    hub: Hub

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urllib.parse.unquote(self.path.partition("?")[0])
        with self.hub.faults.applied(self, f"{self.command} {path}") as heard:
            if heard:
                self._send(*self._answered(path, body))

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _answered(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        signed_in = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        try:
            if not signed_in and not path.startswith("/large/"):  # its own permission
                raise _Refused(401, error="Invalid username or password.")
            return self._answer(path, body)
        except _Refused as refused:
            headers = {"X-Error-Code": refused.code} if refused.code else {}
            return refused.status, headers, json.dumps(refused.told).encode()

    def _answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        routes = (
            (r"POST /api/repos/create", self._create),
            (r"POST /api/validate-yaml", self._validate),
            (rf"POST /api/models/{NAME}/branch/(.+)", self._branch),
            (rf"POST /api/models/{NAME}/preupload/(.+)", self._preupload),
            (rf"POST /{NAME}\.git/info/lfs/objects/batch", self._batch),
            (r"PUT /large/(\w+)", self._upload),
            (rf"POST /api/models/{NAME}/commit/(.+)", self._commit),
            (rf"GET /api/models/{NAME}/tree/([^/]+)", self._tree),
            (rf"GET /api/models/{NAME}(?:/revision/(.+))?", self._info),
        )
        for pattern, answer in routes:
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                return 200, {}, json.dumps(answer(body, *found.groups())).encode()
        if found := re.fullmatch(rf"/{NAME}/resolve/([^/]+)/(.+)", path):
            return self._resolve(*found.groups())
        raise _Refused(404)

    def _repository(self, name: str) -> Repository:
        if name not in self.hub.repositories:
            raise _Refused(404, "RepoNotFound")
        return self.hub.repositories[name]

    def _found(self, name: str, revision: str) -> Commit:
        if commit := self._repository(name).commit(revision):
            return commit
        raise _Refused(404, "RevisionNotFound")

    def _create(self, body: bytes) -> dict:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            raise _Refused(409, url=f"{self.hub.address}/{name}")
        first = _commit({".gitattributes": b"* text\n"}, "")
        private = asked.get("visibility") == "private"
        self.hub.repositories[name] = Repository(private, {"main": [first]})
        return {"url": f"{self.hub.address}/{name}", "id": name}

    def _validate(self, body: bytes) -> dict:
        if not json.loads(body)["content"].startswith("---\n"):
            raise _Refused(400)
        return {"errors": [], "warnings": []}

    def _branch(self, body: bytes, name: str, branch: str) -> dict:
        branches = self._repository(name).branches
        if branch in branches:
            raise _Refused(409)
        branches[branch] = [branches["main"][0]]
        return {}

    def _preupload(self, body: bytes, name: str, revision: str) -> dict:
        files = self._found(name, revision).files
        return {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] > LARGE else "regular",
                    "shouldIgnore": file["path"] in self.hub.ignored,
                    "oid": _oid(files[file["path"]]) if file["path"] in files else None,
                }
                for file in json.loads(body)["files"]
            ]
        }

    def _batch(self, body: bytes, name: str) -> dict:
        self._repository(name)
        objects = []
        for asked in json.loads(body)["objects"]:
            href = f"{self.hub.address}/large/{asked['oid']}"
            there = asked["oid"] in self.hub.large
            actions = {} if there else {"actions": {"upload": {"href": href}}}
            objects.append({**asked, **actions})
        return {"transfer": "basic", "objects": objects}

    def _upload(self, body: bytes, oid: str) -> dict:
        if hashlib.sha256(body).hexdigest() != oid:
            raise _Refused(400)
        self.hub.large[oid] = body
        return {}

    def _commit(self, body: bytes, name: str, branch: str) -> dict:
        commits = self._repository(name).branches[branch]
        last, files = commits[-1], dict(commits[-1].files)
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "header" if value.get("parentCommit", last.oid) != last.oid:
                    raise _Refused(412, error="another commit came first")
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.large[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        commits.append(_commit(files, last.oid))
        oid = commits[-1].oid
        return {
            "commitUrl": f"{self.hub.address}/{name}/commit/{oid}",
            "commitOid": oid,
        }

    def _info(self, body: bytes, name: str, revision: str | None) -> dict:
        private = self._repository(name).private
        oid = self._found(name, revision or "main").oid
        return {"id": name, "sha": oid, "private": private, "tags": []}

    def _tree(self, body: bytes, name: str, revision: str) -> list[dict]:
        entries = []
        for path, content in self._found(name, revision).files.items():
            entry = {"type": "file", "path": path, "size": len(content)}
            if len(content) > LARGE:
                large = {"oid": _oid(content), "size": len(content), "pointerSize": 9}
                entry |= {"lfs": large, "oid": "0" * 40}
            else:
                entry["oid"] = _oid(content)
            entries.append(entry)
        return entries

    def _resolve(
        self, name: str, revision: str, path: str
    ) -> tuple[int, dict[str, str], bytes]:
        commit = self._found(name, revision)
        if path not in commit.files:
            raise _Refused(404, "EntryNotFound")
        tag = f'"{_oid(commit.files[path])}"'
        return 200, {"X-Repo-Commit": commit.oid, "ETag": tag}, commit.files[path]


def _oid(content: bytes) -> str:
    """How the hub names what it keeps: large files by sha256, small ones as git."""
    if len(content) > LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _commit(files: dict[str, bytes], parent: str) -> Commit:
    told = parent + "".join(path + _oid(files[path]) for path in sorted(files))
    return Commit(hashlib.sha1(told.encode()).hexdigest(), files)


@contextlib.contextmanager
def accepting() -> Iterator[Hub]:
    """A hub that can be written to, with `TOKEN`, until the end of the block."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with running(handler, hub.faults) as hub.address:
        yield hub
