"""Small images and the sources that hold them."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from i1k_eval.labels import wnids

WNIDS = wnids()


def encoded(seed: int) -> bytes:
    """A small image of one colour per pixel, as the bytes of a PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def images(*paths: str) -> dict[str, bytes]:
    """An image for each path, no two alike."""
    return {path: encoded(seed) for seed, path in enumerate(paths)}


def validation(number: int) -> str:
    """The name of an image of ImageNet's validation set."""
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def write_folder(root: Path, files: Mapping[str, bytes | str]) -> str:
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(root)


def write_tar(file: Path, files: Mapping[str, bytes], mode: str = "w") -> str:
    with tarfile.open(file, mode) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(file)
