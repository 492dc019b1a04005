"""Kaggle's models on this machine, as kagglehub and kagglesdk ask for them.

The clients have no setting for another address: they are told that it is a proxy.
"""

import contextlib
import dataclasses
import http.server
import io
import itertools
import json
import re
import tarfile
import urllib.parse
import zipfile
from collections.abc import Iterator
from typing import Any

from faulty_server import Faults, running

TOKEN = "KGAT_of_a_writer"
PAGE = 25  # files: of more, the client takes an archive


@dataclasses.dataclass
class Variation:
    """What Kaggle keeps of one.

    Attributes:
        told: What is said of it, as kagglesdk names it in JSON.
        versions: The files of each: path -> content.
        notes: Those of each.
        processing: How often it is asked for before the latest version is there.
    """

    told: dict[str, Any]
    versions: list[dict[str, bytes]]
    notes: list[str]
    processing: int = 0

    @property
    def version_number(self) -> int:
        return len(self.versions) - bool(self.processing)


@dataclasses.dataclass
class Kaggle:
    """Kaggle.

    Attributes:
        faults: What becomes of requests, and those that it has had.
        address: Its own.
        owner: Whose models can be written to.
        models: "OWNER/MODEL" -> what is said of it, in JSON.
        variations: "OWNER/MODEL/FRAMEWORK/VARIATION" -> what it keeps.
        blobs: Token -> content, of what was uploaded.
        processing: How often a variation is asked for before a new version is there.
    """

    faults: Faults = dataclasses.field(default_factory=Faults)
    address: str = ""
    owner: str = "owner"
    models: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    variations: dict[str, Variation] = dataclasses.field(default_factory=dict)
    blobs: dict[str, tuple[str, bytes]] = dataclasses.field(default_factory=dict)
    processing: int = 0

    def environment(self) -> dict[str, str]:
        """What makes a client come here."""
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "KAGGLE_API_TOKEN": TOKEN,
            "http_proxy": self.address,
            "no_proxy": "",
            "NO_PROXY": "",
        }


class _Refused(Exception):  # noqa: N818 - it is an answer
    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(status)
        self.status, self.message = status, message


class _Elsewhere(Exception):  # noqa: N818
    """The answer is at another address."""


class _Handler(http.server.BaseHTTPRequestHandler):
    kaggle: Kaggle
    numbers: Iterator[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        with self.kaggle.faults.applied(self, f"{self.command} {path}") as heard:
            if heard:
                self._send(*self._answered(path, body))

    do_GET = do_PUT = do_POST  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass

    def _send(self, status: int, content: bytes, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(content)

    def _answered(self, path: str, body: bytes) -> tuple[int, bytes, str]:
        try:
            if self.headers.get("Content-Range", "").startswith("bytes */"):
                return 308, b"", ""  # how much has arrived is asked: nothing
            if found := re.fullmatch(r"/blobs/(\w+)", path):
                name, _ = self.kaggle.blobs[found[1]]
                self.kaggle.blobs[found[1]] = (name, body)
                return 200, b"", ""
            if found := re.fullmatch(r"/files/(.+)/(\d+)/-/(.*)", path):
                return 200, self._file(*found.groups()), ""
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise _Refused(401, "Unauthenticated")
            answer = getattr(self, path.rpartition("/")[2])
            return 200, json.dumps(answer(json.loads(body))).encode(), ""
        except _Refused as refused:
            told = {"code": refused.status, "message": refused.message}
            return refused.status, json.dumps(told).encode(), ""
        except _Elsewhere as elsewhere:
            return 302, b"", str(elsewhere)

    def StartBlobUpload(self, asked: dict) -> dict:  # noqa: N802 - Kaggle's name
        token = f"blob{next(self.numbers)}"
        self.kaggle.blobs[token] = (asked["name"], b"")
        address = f"http://localhost/blobs/{token}"
        return {"token": token, "createUrl": address}

    def GetModel(self, asked: dict) -> dict:  # noqa: N802
        name = f"{asked['ownerSlug']}/{asked['modelSlug']}"
        if name not in self.kaggle.models:
            raise _Refused(403, "Permission 'models.get' was denied")
        instances = [
            variation.told
            for handle, variation in self.kaggle.variations.items()
            if handle.startswith(f"{name}/")
        ]
        return {**self.kaggle.models[name], "instances": instances}

    def CreateModel(self, asked: dict) -> dict:  # noqa: N802
        if asked["ownerSlug"] != self.kaggle.owner:
            raise _Refused(403, "Permission 'models.create' was denied")
        name = f"{asked['ownerSlug']}/{asked['slug']}"
        self.kaggle.models[name] = {
            name: asked[name] for name in ("slug", "title", "isPrivate")
        }
        return {"id": next(self.numbers)}

    def UpdateModel(self, asked: dict) -> dict:  # noqa: N802
        told = self.kaggle.models[f"{asked['ownerSlug']}/{asked['modelSlug']}"]
        told.update({name: asked[name] for name in asked["updateMask"].split(",")})
        return {"id": 1}

    def GetModelInstance(self, asked: dict) -> dict:  # noqa: N802
        variation = self._variation(asked)
        if variation.processing:
            variation.processing -= 1
        if not variation.version_number:
            raise _Refused(404, "Not found")
        return {**variation.told, "versionNumber": variation.version_number}

    def CreateModelInstance(self, asked: dict) -> dict:  # noqa: N802
        model, body = f"{asked['ownerSlug']}/{asked['modelSlug']}", asked["body"]
        name = f"{model}/{_framework(body)}/{body['instanceSlug']}"
        if name in self.kaggle.variations:
            return {"error": "it exists", "errorCode": 409}
        told = {"id": next(self.numbers), "slug": body["instanceSlug"]}
        told |= {n: body[n] for n in ("framework", "licenseName") if n in body}
        files = self._files(body)
        processing = self.kaggle.processing
        self.kaggle.variations[name] = Variation(told, [files], [""], processing)
        return {"id": told["id"]}

    def CreateModelInstanceVersion(self, asked: dict) -> dict:  # noqa: N802
        variation = self._variation(asked)
        variation.versions.append(self._files(asked["body"]))
        variation.notes.append(asked["body"].get("versionNotes", ""))
        variation.processing = self.kaggle.processing
        return {"id": next(self.numbers)}

    def UpdateModelInstance(self, asked: dict) -> dict:  # noqa: N802
        told = self._variation(asked).told
        told.update({name: asked[name] for name in asked["updateMask"].split(",")})
        return {"id": told["id"]}

    def ListModelInstanceVersionFiles(self, asked: dict) -> dict:  # noqa: N802
        files = self._variation(asked).versions[asked["versionNumber"] - 1]
        listed = [{"name": path, "size": len(c)} for path, c in files.items()][:PAGE]
        return {"files": listed, "nextPageToken": "2" if len(files) > PAGE else ""}

    def DownloadModelInstanceVersion(self, asked: dict) -> dict:  # noqa: N802
        files = self._variation(asked).versions[asked["versionNumber"] - 1]
        if asked.get("path", next(iter(files))) not in files:
            raise _Refused(404, "Not found")
        place = f"{_name(asked)}/{asked['versionNumber']}/-/{asked.get('path', '')}"
        raise _Elsewhere(f"http://localhost/files/{place}")

    def _variation(self, asked: dict) -> Variation:
        if _name(asked) not in self.kaggle.variations:
            raise _Refused(404, "Not found")
        return self.kaggle.variations[_name(asked)]

    def _file(self, name: str, version: str, path: str) -> bytes:
        files = self.kaggle.variations[name].versions[int(version) - 1]
        return files[path] if path else _archive(files)

    def _files(self, body: dict, folder: str = "") -> dict[str, bytes]:
        """What tokens stand for. Kaggle unpacks an archive."""
        found = {}
        for file in body.get("files", []):
            name, content = self.kaggle.blobs[file["token"]]
            if name == "archive.zip":
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    found |= {
                        entry: archive.read(entry) for entry in archive.namelist()
                    }
            else:
                found[folder + name] = content
        for inner in body.get("directories", []):
            found |= self._files(inner, f"{folder}{inner['name']}/")
        return found


def _framework(asked: dict) -> str:
    assert asked["framework"] == "MODEL_FRAMEWORK_TENSOR_FLOW_2"
    return "tensorFlow2"


def _name(asked: dict) -> str:
    model = f"{asked['ownerSlug']}/{asked['modelSlug']}"
    return f"{model}/{_framework(asked)}/{asked['instanceSlug']}"


def _archive(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


@contextlib.contextmanager
def accepting() -> Iterator[Kaggle]:
    """Kaggle, until the end of the block."""
    kaggle = Kaggle()
    members = {"kaggle": kaggle, "numbers": itertools.count(1)}
    handler = type("Handler", (_Handler,), members)
    with running(handler, kaggle.faults) as kaggle.address:
        yield kaggle
