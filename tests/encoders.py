"""Files that Pillow reads and cannot write: PNG, BMP and JPEG, byte for byte."""

import struct
import zlib

import numpy as np

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG's colour types
ADAM7 = (  # first row and column, and the steps, of each pass
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)


def png(
    samples: np.ndarray,
    colour: int,
    depth: int,
    *,
    interlaced: bool = False,
    palette: np.ndarray | None = None,
    transparent: bytes = b"",
) -> bytes:
    """A PNG.

    Args:
        samples: (H, W, C), below 2**depth.
        colour: PNG's colour type.
        depth: Bits of a sample.
        interlaced: Whether in Adam7's seven passes.
        palette: (colours, 3) uint8.
        transparent: What the tRNS chunk holds.
    """
    height, width = samples.shape[:2]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = (samples[y::dy, x::dx] for y, x, dy, dx in passes)
    rows = b"".join(
        b"\0" + _bits(row.ravel(), depth) for part in parts if part.size for row in part
    )
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header)]
    if palette is not None:
        chunks.append((b"PLTE", palette.astype(np.uint8).tobytes()))
    if transparent:
        chunks.append((b"tRNS", transparent))
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    check = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)


def _bits(values: np.ndarray, depth: int) -> bytes:
    """The lowest `depth` bits of each value, one behind the other."""
    if depth == 16:
        return values.astype(">u2").tobytes()
    bits = np.unpackbits(values.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits).tobytes()


def bmp(
    samples: np.ndarray,
    bits: int,
    palette: np.ndarray | None = None,
    *,
    top_down: bool = False,
    compression: int = 0,
    header_size: int = 40,
) -> bytes:
    """A BMP.

    Args:
        samples: (H, W, 1) indices, or (H, W, 3 or 4) RGB or RGBA.
        bits: Of a pixel.
        palette: (colours, 3) uint8.
        top_down: Whether the first row comes first.
        compression: What the header says of it; with 3, a header of 56 bytes or more
            says where each colour is.
        header_size: Of the part that follows the first 14 bytes.
    """
    height, width, channels = samples.shape
    if channels > 1:
        samples = samples[..., [2, 1, 0, 3][:channels]]
    rows = samples if top_down else samples[::-1]
    packed = [_bits(row.ravel(), min(bits, 8)) for row in rows]
    data = b"".join(row + bytes(-len(row) % 4) for row in packed)
    colours = b""
    if palette is not None:
        padded = np.pad(palette.astype(np.uint8)[:, ::-1], ((0, 0), (0, 1)))
        colours = padded.tobytes()
    offset = 14 + header_size + len(colours)
    info = struct.pack(
        "<IiiHHIIiiII",
        header_size,
        width,
        -height if top_down else height,
        1,
        bits,
        compression,
        len(data),
        2835,
        2835,
        len(colours) // 4,
        0,
    )
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = (info + masks + bytes(header_size))[:header_size]
    start = b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset)
    return start + info + colours + data


def relabelled(jpeg: bytes, size: tuple[int, int], sampling: tuple[int, int]) -> bytes:
    """A baseline JPEG whose blocks are laid out in another way.

    A file of 4:2:2 becomes one of 4:4:0, one of 4:2:0 one of 4:1:1: the blocks of each
    unit are as many. The image is another, and as good a one to decode.

    Args:
        jpeg: In colour, with whole units only.
        size: (height, width) that as many units fill.
        sampling: (horizontal, vertical) of the luma.
    """
    start = jpeg.index(b"\xff\xc0")
    frame = bytearray(jpeg[start : start + 19])
    frame[5:9] = struct.pack(">HH", *size)
    frame[11] = sampling[0] << 4 | sampling[1]
    return jpeg[:start] + bytes(frame) + jpeg[start + 19 :]


def without_adobe(jpeg: bytes) -> bytes:
    """A JPEG less its Adobe marker."""
    start = jpeg.index(b"\xff\xee")
    return jpeg[:start] + jpeg[start + 16 :]


def as_ycck(jpeg: bytes) -> bytes:
    """A JPEG of CMYK whose Adobe marker says that it is YCCK."""
    transform = jpeg.index(b"\xff\xee") + 15
    return jpeg[:transform] + b"\x02" + jpeg[transform + 1 :]
