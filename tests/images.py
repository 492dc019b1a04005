"""Over 300 image files: photographs that scikit-image and scikit-learn ship, and drawn.

What can change pixels is varied: the format and its options, the mode, the size. Most
are small, so that each can be seen by every preprocessing of timm.
"""

import base64
import functools
import io
import itertools
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests import encoders
from tests.encoders import GREY, GREY_ALPHA, PALETTE, RGB, RGBA

SIZES = (  # (width, height): odd, prime, small, wide and tall
    (53, 37),
    (64, 48),
    (131, 97),
    (113, 199),
    (31, 31),
    (150, 100),
    (83, 173),
    (17, 101),
    (128, 128),
    (197, 29),
    (45, 60),
    (8, 8),
    (190, 143),
    (79, 80),
)
EXTREMES = (
    (1, 1),
    (2, 1),
    (1, 2),
    (3, 3),
    (1, 7),
    (61, 2),
    (2, 61),
    (7, 211),
    (457, 19),
    (500, 1),
    (1, 500),
    (3000, 2),
    (2, 3000),
)
PHOTOGRAPHS = {
    "skimage.data": (
        "astronaut.png brick.png camera.png cell.png chelsea.png clock_motion.png "
        "coffee.png coins.png color.png grass.png gravel.png horse.png "
        "hubble_deep_field.jpg ihc.png logo.png microaneurysms.png moon.png "
        "motorcycle_left.png page.png retina.jpg rocket.jpg text.png"
    ),
    "sklearn.datasets.images": "china.jpg flower.jpg",
}
# Of `cjpeg -quality 40 -arithmetic`, and with `-progressive`; Pillow writes none.
ARITHMETIC = """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNi
UFVtVkVGZIhlbXd7gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8
fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHz/yQARCAAdAB8DASIAAhEBAxEB/8wACgAQEAUBEBEF
/9oADAMBAAIRAxEAPwD1yrFG/Q+aH0DEg8Ww7eG+jgmgTGdDImpDFzl+HHDxLx6Qf/TuIxMvhdKzH0E8uqs2
TlNn19EFUse9D5qT6SmejFZpwCBGBNYrvhm9R4iVdRCkLhqKzx+hDpbTBAL/APLFzIitOrIfIv8AYCI2XEn3
zbfK6biVMw2lH/60v6NDnDESqPTX970wPv7PsOeX5HsPLUVSj+Tu+GfclrWV2Qhhkmhb/nsl9VvA/9k=
"""
ARITHMETIC_PROGRESSIVE = """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNi
UFVtVkVGZIhlbXd7gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8
fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHz/ygARCAAdAB8DASIAAhEBAxEB/8wABgAQARD/2gAM
AwEAAhADEAAAAfQNI3bAOmAr9h97yatK/8wABBAF/9oACAEBAAEFAv59s/AK8oYlaRT9wv2mh4/zmC6fgP/M
AAQRBf/aAAgBAwEBPwHA/8wABBEF/9oACAECAQE/AcD/zAAEEAX/2gAIAQEABj8C3Fxo0NSF0xOfNYXA/8wA
BBAF/9oACAEBAAE/ITFBqXAWhll4+OYKfqrf1xeudfCLLBfJ7oaHQB+5duO5P0EZs//aAAwDAQACAAMAAAAQ
t62u/8wABBEF/9oACAEDAQE/ECQ4/8wABBEF/9oACAECAQE/EPiT12j/zAAEEAX/2gAIAQEAAT8QUfHjWFuJ
UdYTDdm/+BoeBXxM7UWgA/Vm0cbBuWKPtHnRNvz2FowP4Gdv/wAJgxMZ8qC7Kkrj80oZe1pbnNoHuiCiLz7t
OqK0jUge/9k=
"""


class Sample(NamedTuple):
    """An image file."""

    name: str
    encoded: bytes


@functools.cache
def samples() -> tuple[Sample, ...]:
    """All of them; their names are unique."""
    kinds = (_photographs, _jpegs, _four_inks, _pngs, _bmps, _webps, _drawn, _extremes)
    return tuple(sample for kind in kinds for sample in kind())


def is_of_four_inks(sample: Sample) -> bool:
    """Whether it is CMYK, where a decoder may be a level off."""
    return sample.name.startswith("four-inks")


@functools.cache
def photographs() -> tuple[tuple[str, Image.Image], ...]:
    """Name and photograph in RGB."""
    return tuple(
        (name.partition(".")[0], _opened(resources.files(package) / name))
        for package, names in PHOTOGRAPHS.items()
        for name in names.split()
    )


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    """An image as Pillow writes it."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Each byte random."""
    draws = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(draws)


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards, blue falls along both."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - (x + y) / 2], -1).astype(np.uint8))


def _opened(path: resources.abc.Traversable) -> Image.Image:
    with path.open("rb") as file:
        return Image.open(file).convert("RGB")


def _small(number: int) -> tuple[str, Image.Image]:
    """Another photograph and another size for each number."""
    name, photograph = photographs()[number % len(photographs())]
    size = SIZES[(number * 5 + number // len(SIZES)) % len(SIZES)]
    return name, photograph.resize(size)


def _photographs() -> Iterator[Sample]:
    """JPEGs of many qualities and subsamplings, every second one progressive."""
    qualities, subsamplings = (10, 35, 60, 75, 90, 95, 100), (0, 1, 2)
    for number in range(3 * len(photographs()) - 20):
        name, image = _small(number)
        quality, subsampling = qualities[number % 7], subsamplings[number % 3]
        jpeg = encoded(
            image,
            "JPEG",
            quality=quality,
            subsampling=subsampling,
            progressive=bool(number % 2),
        )
        label = f"jpeg-{number}-{name}-{image.width}x{image.height}"
        yield Sample(f"{label}-quality{quality}-subsampling{subsampling}", jpeg)


def _jpegs() -> Iterator[Sample]:
    """JPEGs of other kinds."""
    for number in range(8):
        name, image = _small(number + 3)
        jpeg = encoded(image.convert("L"), "JPEG", quality=20 + 10 * number)
        yield Sample(f"jpeg-grey-{name}-{number}", jpeg)
        exif = Image.Exif()
        exif[0x0112] = number + 1  # Orientation
        yield Sample(
            f"jpeg-exif-orientation-{number + 1}", encoded(image, "JPEG", exif=exif)
        )
        jpeg = encoded(image, "JPEG", restart_marker_blocks=number + 1, subsampling=2)
        yield Sample(f"jpeg-restart-{number + 1}-{name}", jpeg)
        jpeg = encoded(image, "JPEG", keep_rgb=True, quality=30 + 10 * number)
        yield Sample(f"jpeg-rgb-{name}-{number}", jpeg)
    yield from _relabelled()
    for kind, text in (("", ARITHMETIC), ("-progressive", ARITHMETIC_PROGRESSIVE)):
        yield Sample(f"jpeg-arithmetic{kind}", base64.b64decode(text))


def _relabelled() -> Iterator[Sample]:
    """Subsamplings that Pillow does not write; 4:4:0 and 4:1:1 among them."""
    for quality in (50, 90):
        image = photographs()[quality % 24][1].resize((128, 64))
        half = encoded(image, "JPEG", quality=quality, subsampling=1)  # 8 x 8 units
        quarter = encoded(image, "JPEG", quality=quality, subsampling=2)  # 8 x 4 units
        jpegs = {
            "440": encoders.relabelled(half, (128, 64), (1, 2)),
            "440-odd": encoders.relabelled(half, (119, 61), (1, 2)),
            "411": encoders.relabelled(quarter, (32, 256), (4, 1)),
            "411-odd": encoders.relabelled(quarter, (31, 227), (4, 1)),
            "441": encoders.relabelled(quarter, (128, 64), (1, 4)),
        }
        for kind, jpeg in jpegs.items():
            yield Sample(f"jpeg-{kind}-quality{quality}", jpeg)


def _four_inks() -> Iterator[Sample]:
    """CMYK and YCCK, with and without Adobe's marker."""
    for number in range(4):
        name, image = _small(number + 1)
        inks = np.array(image.convert("CMYK"))
        inks[..., 3] = inks[..., :3].min(-1) // (number + 1)  # Pillow's K is 0
        jpeg = encoded(
            Image.fromarray(inks, "CMYK"), "JPEG", quality=95, progressive=number > 2
        )
        yield Sample(f"four-inks-{name}-cmyk", jpeg)
        yield Sample(f"four-inks-{name}-no-adobe", encoders.without_adobe(jpeg))
        yield Sample(f"four-inks-{name}-ycck", encoders.as_ycck(jpeg))


def _pngs() -> Iterator[Sample]:
    for number, mode in itertools.product(range(6), ("RGB", "L", "LA", "RGBA", "P")):
        name, image = _small(number * 5 + len(mode))
        if "A" in mode:
            image.putalpha(image.convert("L").rotate(180))
        converted = image.quantize(7 << number) if mode == "P" else image.convert(mode)
        yield Sample(f"png-{mode}-{name}-{number}", encoded(converted, "PNG"))
    for bits in (1, 2, 4):
        image = _small(bits)[1].quantize(2**bits)
        yield Sample(f"png-palette-of-{bits}-bit", encoded(image, "PNG", bits=bits))
        image = encoded(image, "PNG", bits=bits, transparency=b"\x00\x80"[:bits])
        yield Sample(f"png-palette-of-{bits}-bit-transparent", image)
    yield Sample("png-1", encoded(_small(2)[1].convert("1"), "PNG"))
    for number, interlaced in itertools.product(range(2), (False, True)):
        label = "-adam7" if interlaced else ""
        for kind, image in _written_pngs(number, interlaced):
            yield Sample(f"png-{kind}{label}-{number}", image)


def _written_pngs(number: int, interlaced: bool) -> Iterator[tuple[str, bytes]]:
    colours = np.array(_small(number + 4 * interlaced)[1])
    grey, alpha = colours[..., :1], colours[..., 1:2]
    fine = colours * np.uint16(256) + colours[..., ::-1]  # 16 bits
    faint = fine[..., :1] >> 6  # some below 255, where Pillow clips
    with_alpha = np.concatenate([colours, alpha], -1)
    fine_alpha = np.concatenate([fine, fine[..., :1]], -1)
    of = {"interlaced": bool(interlaced)}
    yield "16-bit-grey", encoders.png(fine[..., :1], GREY, 16, **of)
    yield "16-bit-grey-faint", encoders.png(faint, GREY, 16, **of)
    yield "16-bit-grey-alpha", encoders.png(fine[..., :2], GREY_ALPHA, 16, **of)
    yield "16-bit-rgb", encoders.png(fine, RGB, 16, **of)
    yield "16-bit-rgba", encoders.png(fine_alpha, RGBA, 16, **of)
    yield "rgba", encoders.png(with_alpha, RGBA, 8, **of)
    yield "grey-2-bit", encoders.png(grey >> 6, GREY, 2, **of)
    yield "grey-4-bit", encoders.png(grey >> 4, GREY, 4, **of)
    yield "grey-1-bit", encoders.png(grey >> 7, GREY, 1, **of)
    seen_through = encoders.png(grey, GREY, 8, transparent=b"\0\x80", **of)
    yield "grey-transparent", seen_through
    first = colours[0, 0].astype(">u2").tobytes()
    yield "rgb-transparent", encoders.png(colours, RGB, 8, transparent=first, **of)
    palette = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2], -1)
    yield "palette", encoders.png(grey, PALETTE, 8, palette=palette, **of)


def _bmps() -> Iterator[Sample]:
    for number in range(3):
        image = _small(number)[1]
        for mode in ("1", "L", "RGB", "RGBA"):
            bmp = encoded(image.convert(mode), "BMP")
            yield Sample(f"bmp-{mode}-{number}", bmp)
        yield Sample(f"bmp-palette-{number}", encoded(image.quantize(99), "BMP"))
        colours, opaque = np.array(image), np.array(image.convert("RGBA"))
        top = {"top_down": True}
        yield Sample(f"bmp-24-down-{number}", encoders.bmp(colours, 24, **top))
        bmp = encoders.bmp(opaque, 32, compression=3, header_size=124, **top)
        yield Sample(f"bmp-32-masks-{number}", bmp)
        for bits in (1, 4, 8):
            paletted = image.quantize(2**bits - (bits > 1))
            palette = np.array(paletted.getpalette()).reshape(-1, 3)
            indices = np.array(paletted)[..., None]
            for kind, down in (("up", False), ("down", True)):
                bmp = encoders.bmp(indices, bits, palette, top_down=down)
                yield Sample(f"bmp-{bits}-{kind}-{number}", bmp)


def _webps() -> Iterator[Sample]:
    for number in range(8):
        name, image = _small(number + 11)
        if number % 2:
            image.putalpha(image.convert("L").rotate(180))
        kind = f"{name}-{image.mode}"
        lossy = encoded(image, "WEBP", quality=10 + 12 * number)
        yield Sample(f"webp-{kind}-lossy-{number}", lossy)
        lossless = encoded(image, "WEBP", lossless=True)
        yield Sample(f"webp-{kind}-lossless-{number}", lossless)


def _drawn() -> Iterator[Sample]:
    for number, size in enumerate(SIZES):
        label, quality = f"{size[0]}x{size[1]}", 7 * number + 5
        random, smooth = noise(*size, seed=number), gradient(*size)
        yield Sample(f"png-noise-{label}", encoded(random, "PNG"))
        yield Sample(f"jpeg-noise-{label}", encoded(random, "JPEG", quality=quality))
        yield Sample(f"jpeg-gradient-{label}", encoded(smooth, "JPEG", quality=quality))


def _extremes() -> Iterator[Sample]:
    for (width, height), kind in zip(EXTREMES, itertools.cycle(("JPEG", "PNG"))):
        image = encoded(noise(width, height, seed=width), kind)
        yield Sample(f"extreme-{kind}-{width}x{height}", image)
    for file_format in ("BMP", "WEBP"):
        yield Sample(f"extreme-{file_format}-1x1", encoded(noise(1, 1), file_format))
    large = dict(photographs())["retina"].resize((4000, 3000))
    yield Sample("extreme-JPEG-4000x3000", encoded(large, "JPEG", quality=80))
