"""A copy of a bundle, for a file server or TensorFlow Serving."""

import dataclasses
import shutil
from pathlib import Path

from vit_tf.export import bundle
from vit_tf.export.staging import staged
from vit_tf.publish.earlier import TELLING, check_replaceable
from vit_tf.publish.errors import DifferentError
from vit_tf.publish.release import README, Release
from vit_tf.publish.target import Plan


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder that is the bundle, whole at any moment.

    TensorFlow Serving takes the highest number below a model's folder:
    dir:models/deit/2 is a version that it loads once it is there.

    Attributes:
        path: Where.
        overwrite: Whether whatever bundle is there may be replaced.
    """

    path: Path
    overwrite: bool = False

    @property
    def place(self) -> str:
        return f"dir:{self.path}"

    @property
    def address(self) -> str:
        return str(self.path)

    def rendered(self, release: Release) -> Release:
        return release

    def card(self, release: Release) -> str:
        return release.files[README].read().decode()

    def plan(self, release: Release) -> Plan:
        if not self.differing(release):
            return Plan({})
        if bundle.is_bundle(self.path) and not self.overwrite:
            there = bundle.files(self.path)
            told = {n: (self.path / n).read_bytes() for n in TELLING if n in there}
            check_replaceable(release, str(self.path), there, told)
        return Plan({path: file.size for path, file in release.files.items()})

    def send(self, release: Release, plan: Plan) -> None:
        with staged(self.path, replaceable=bundle.is_bundle) as folder:
            for path, file in release.files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                with file.open() as source, (folder / path).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
            if differing := release.differing(bundle.hashes(folder)):
                raise DifferentError(f"{', '.join(differing)} changed in the copying")

    def differing(self, release: Release) -> list[str]:
        found = [path for path in release.files if (self.path / path).is_file()]
        return release.differing({p: bundle.sha256(self.path / p) for p in found})
