"""A bundle that may be published: whole, proven, under a licence."""

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from vit_tf.export import accuracy, bundle
from vit_tf.export import card as cards
from vit_tf.publish.errors import PublishError

README = "README.md"
# What describes a bundle; parity.json has the hashes of all else.
DESCRIBED = (*map(str, (bundle.CONFIG, bundle.PARITY, accuracy.ACCURACY)), README)


@dataclasses.dataclass(frozen=True)
class Content:
    """What one file holds.

    Attributes:
        source: Where it lies, or its bytes.
        size: In bytes.
        sha256: Of its bytes.
    """

    source: Path | bytes
    size: int
    sha256: str

    def open(self) -> BinaryIO:
        if isinstance(self.source, bytes):
            return io.BytesIO(self.source)
        return self.source.open("rb")

    def read(self) -> bytes:
        with self.open() as file:
            return file.read()


@dataclasses.dataclass(frozen=True)
class Release:
    """What is published.

    Attributes:
        folder: The bundle.
        card: What is known of it.
        files: Relative path -> content.
    """

    folder: Path
    card: cards.Card
    files: Mapping[str, Content]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def digest(self) -> str:
        """One sha256 for all its files."""
        return bundle.digest({p: file.sha256 for p, file in self.files.items()})

    def with_readme(self, text: str) -> "Release":
        """The same with another card."""
        files = {**self.files, README: content(text.encode())}
        return dataclasses.replace(self, files=dict(sorted(files.items())))

    def differing(self, hashes: Mapping[str, str]) -> list[str]:
        """Which of its files others do not have, or have with other bytes.

        Args:
            hashes: Relative path -> sha256, of theirs.
        """
        return [p for p, file in self.files.items() if hashes.get(p) != file.sha256]


def content(data: bytes) -> Content:
    return Content(data, len(data), hashlib.sha256(data).hexdigest())


def of_bundle(
    folder: str | Path, *, license_name: str = "", allow_unproven: bool = False
) -> Release:
    """What is published of a bundle.

    Args:
        folder: The bundle.
        license_name: That of the weights, where the bundle does not say it.
        allow_unproven: Whether it may be one that was not compared with timm.

    Raises:
        PublishError: listing all that keeps it from being published.
    """
    folder = Path(folder).resolve()
    if not bundle.is_bundle(folder) or not (folder / bundle.PARITY).is_file():
        raise PublishError(
            f"{folder} is not a bundle of vit_tf: saved_model.pb, {bundle.CONFIG} and "
            f"{bundle.PARITY} expected"
        )
    proven = json.loads((folder / bundle.PARITY).read_text())
    described = json.loads((folder / bundle.CONFIG).read_text())
    sizes, hashes = bundle.files(folder), bundle.hashes(folder)
    problems = _not_whole(hashes, proven["result"])
    if not proven["compared_with_timm"] and not allow_unproven:
        problems.append(
            "it was not compared with timm; --allow_unproven publishes it all the same"
        )
    stated = described["license"]
    if not stated and not license_name:
        problems.append(
            "the licence of its weights is not known; --license=NAME states it"
        )
    if stated and license_name and license_name != stated:
        problems.append(f"--license={license_name} found; its weights have {stated}")
    if problems:
        raise PublishError(f"{folder} is not published: " + "; ".join(problems))
    files = {
        path: Content(folder / path, size, hashes[path]) for path, size in sizes.items()
    }
    card = cards.of_bundle(folder)
    if stated:
        return Release(folder, card, files)
    licensed = {**card.described, "license": license_name}
    card = dataclasses.replace(card, described=licensed)
    return Release(folder, card, files).with_readme(cards.tf_hub(card))


def _not_whole(hashes: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """How a folder's files differ from those that parity.json lists."""
    problems = [f"{p} is missing" for p in (*expected, README) if p not in hashes]
    problems += [
        f"{path} has other bytes than {bundle.PARITY} states"
        for path, digest in expected.items()
        if path in hashes and hashes[path] != digest
    ]
    others = sorted(hashes.keys() - expected.keys() - {*DESCRIBED})
    return problems + [f"{path} is not in {bundle.PARITY}" for path in others]
