"""Files of every kind become Pillow's pixels, or an error."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import encoders
from tests.images import encoded, is_of_four_inks, noise, photographs, samples
from tests.originals_pixels import decoded, pixels
from vit_tf.preprocessing.decode import decode, is_jpeg, repaired

STRING = tf.TensorSpec((), tf.string)


@pytest.fixture(scope="module")
def in_graph():
    return tf.function(decode, input_signature=[STRING])


def differences(decoder, chosen):
    """By name: the largest of pixels in levels, where there are any."""
    found = {}
    for sample in chosen:
        candidate, reference = decoder(sample.encoded).numpy(), pixels(sample)
        assert candidate.shape == reference.shape, sample.name
        if largest := np.abs(candidate.astype(int) - reference).max():
            found[sample.name] = largest
    return found


def test_there_are_enough_images_with_names_of_their_own():
    assert len({sample.name for sample in samples()}) == len(samples()) >= 300


def test_they_are_the_same_each_time():
    again = samples.__wrapped__()
    assert again == samples()


def test_every_image_is_decoded_exactly(in_graph):
    exact = [sample for sample in samples() if not is_of_four_inks(sample)]
    assert differences(in_graph, exact) == {}
    assert differences(decode, exact) == {}


def test_four_inks_are_at_most_one_level_off(in_graph):
    inks = list(filter(is_of_four_inks, samples()))
    assert {decoded(sample).mode for sample in inks} == {"RGB"}
    assert set(differences(in_graph, inks).values()) == {1}


def test_only_four_inks_are_given_a_marker():
    for sample in samples():
        if is_jpeg(sample.encoded):
            same = repaired(sample.encoded).numpy() == sample.encoded
            assert same != is_of_four_inks(sample), sample.name


def test_a_jpeg_is_told_by_its_start():
    for sample in samples():
        kind = Image.open(io.BytesIO(sample.encoded)).format
        assert is_jpeg(sample.encoded).numpy() == (kind == "JPEG"), sample.name


def test_grey_of_what_is_decoded_is_grey_of_the_file():
    """What Pillow's `convert("L")` gives from each mode, it gives from RGB too."""
    for sample in samples():
        grey = decoded(sample).convert("L")
        assert grey == decoded(sample, "L"), sample.name


def test_an_index_without_a_colour_is_black():
    beyond = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    bmp = encoders.bmp(beyond, 4, np.full((5, 3), 77))
    reference = np.asarray(Image.open(io.BytesIO(bmp)).convert("RGB"))
    assert (decode(bmp).numpy() == reference).all()
    assert not reference[2].any()


def other_files():
    image, indices = noise(20, 10), np.zeros((5, 7, 1), np.uint8)
    second = noise(20, 10, seed=1)
    palette = np.zeros((4, 3))
    kinds = "A JPEG, PNG, BMP or WebP of one still image expected"
    bmps = "A whole BMP of 1, 4, 8, 24 or 32 bits per pixel, not compressed, expected"
    colours = np.array(image)
    masked = encoders.bmp(colours, 24, compression=3, header_size=56)
    other_masks = masked[:54] + masked[58:62] + masked[54:58] + masked[62:]
    return {
        "empty": (b"", kinds),
        "text": (b"P3 of text", kinds),
        "GIF": (encoded(image, "GIF"), "GIF87a"),
        "TIFF": (encoded(image, "TIFF"), kinds),
        "JPEG 2000": (encoded(image, "JPEG2000"), kinds),
        "RIFF of sound": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(20), kinds),
        "start of a WebP": (b"RIFF", kinds),
        "animation": (
            encoded(image, "WEBP", save_all=True, append_images=[second], duration=9),
            kinds,
        ),
        "start of a BMP": (b"BM", bmps),
        "compressed BMP": (encoders.bmp(indices, 8, palette, compression=1), bmps),
        "BMP of 16 bits": (encoders.bmp(indices.repeat(2, 1), 16), "bits=16"),
        "BMP of other masks": (other_masks, "compression=3"),
        "old BMP": (encoders.bmp(indices, 8, palette, header_size=12), "size=12"),
        "flat BMP": (encoders.bmp(indices[:0], 8, palette), "height=0"),
        "start of a JPEG": (b"\xff\xd8\xff", "Invalid JPEG"),
        "start of a PNG": (b"\x89PNG\r\n\x1a\n", "Invalid PNG"),
    }


@pytest.mark.parametrize("kind", other_files())
def test_other_files_are_an_error(kind, in_graph):
    file, message = other_files()[kind]
    for decoder in (decode, in_graph):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            decoder(file)


def whole_files():
    image = photographs()[4][1].resize((61, 43))
    return {
        "jpeg": encoded(image, "JPEG"),
        "progressive": encoded(image, "JPEG", progressive=True),
        "png": encoded(image, "PNG"),
        "adam7": encoders.png(np.array(image), encoders.RGB, 8, interlaced=True),
        "bmp": encoded(image, "BMP"),
        "palette": encoded(image.quantize(9), "BMP"),
        "webp": encoded(image, "WEBP"),
        "lossless": encoded(image, "WEBP", lossless=True),
    }


@pytest.mark.parametrize("kind", whole_files())
def test_what_lacks_its_end_is_an_error(kind, in_graph):
    """As in Pillow, which needs a PNG's pixels only: not the 20 bytes behind them.

    And not the three that fill a BMP's last row.
    """
    file = whole_files()[kind]
    behind = {b"\x89P": 24, b"BM": 3}.get(file[:2], 0)
    for cut in (*range(behind + 1, behind + 9), *range(50, len(file), 97)):
        with pytest.raises((OSError, SyntaxError)):
            Image.open(io.BytesIO(file[:-cut])).convert("RGB")
        with pytest.raises(tf.errors.InvalidArgumentError):
            in_graph(file[:-cut])


def test_a_bmp_may_lack_what_fills_its_last_row(in_graph):
    for file in (whole_files()["bmp"], whole_files()["palette"]):
        cut = len(file) - 1
        assert Image.open(io.BytesIO(file[:cut])).convert("RGB").size == (61, 43)
        assert (in_graph(file[:cut]).numpy() == decode(file).numpy()).all()


@pytest.mark.parametrize("kind", whole_files())
def test_what_follows_an_image_is_not_read(kind, in_graph):
    file = whole_files()[kind]
    assert (in_graph(file + b"more").numpy() == decode(file).numpy()).all()


@pytest.mark.parametrize("kind", ["jpeg", "progressive"])
def test_damaged_jpegs_are_as_damaged_as_in_pillow(kind, in_graph):
    file, generator = whole_files()[kind], np.random.default_rng(0)
    read = 0
    for at in generator.integers(2, len(file), 100):
        damaged = file[:at] + bytes([file[at] ^ 16]) + file[at + 1 :]
        try:
            reference = np.asarray(Image.open(io.BytesIO(damaged)).convert("RGB"))
        except (OSError, SyntaxError):
            with pytest.raises(tf.errors.InvalidArgumentError):
                in_graph(damaged)
        else:
            assert (in_graph(damaged).numpy() == reference).all(), at
            read += 1
    assert read > 50
