"""What is Pillow's and TensorFlow's own: the order of passes, division, edges."""

import itertools

import numpy as np
import PIL
import pytest
import some
import tensorflow as tf
from PIL import Image

from tests.images import encoded, gradient, noise, photographs
from tests.originals_pixels import label, resized_size, timm_transform
from tests.pillow_resize import resized, rows_first
from tests.test_preprocessing_modes import IMAGE, digest
from vit_tf.preprocessing import DataConfig, create_transform, transform
from vit_tf.preprocessing.data_config import INTERPOLATIONS, PILLOWS, pillow_of
from vit_tf.preprocessing.geometry import window
from vit_tf.preprocessing.transform import crop, normalize

TALL = [(40, 90), (31, 250), (50, 56), (3, 400), (2, 61), (97, 89), (120, 40)]


def squashed(size: tuple[int, int], interpolation: str, pillow: str) -> DataConfig:
    """The whole image, resized."""
    return DataConfig(
        (3, *size), interpolation, crop_pct=1.0, crop_mode="squash", pillow=pillow
    )


@pytest.fixture(scope="module")
def tall():
    """Photographs and noise of other sizes, (H, W, 3)."""
    photograph = photographs()[4][1]
    images = [photograph.resize(size) for size in TALL]
    return [np.array(i) for i in (*images, *(noise(*size) for size in TALL))]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_plain_model_is_the_installed_pillow(tall, interpolation):
    version = pillow_of(PIL.__version__)
    filters = Image.Resampling[interpolation.upper()]
    for image, target in itertools.product(tall, [(32, 32), (89, 25), (20, 64)]):
        reference = Image.fromarray(image).resize(target[::-1], filters)
        order = rows_first(version, image.shape[:2], target)
        candidate = resized(image, target, interpolation, rows_first=order)
        assert np.array_equal(candidate, np.asarray(reference)), image.shape


def test_a_window_of_the_plain_model_is_a_part_of_the_whole(tall):
    for image, order in itertools.product(tall, [False, True]):
        of = {"size": (70, 80), "interpolation": "bicubic", "rows_first": order}
        part = resized(image, **of, window=(range(3, 40), range(50, 80)))
        assert np.array_equal(part, resized(image, **of)[3:40, 50:80])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("pillow", PILLOWS)
def test_each_order_of_passes_is_that_pillows(tall, pillow, interpolation):
    for image, target in itertools.product(tall, [(32, 32), (89, 25), (20, 64)]):
        data = squashed(target, interpolation, pillow)
        order = rows_first(pillow, image.shape[:2], target)
        reference = resized(image, target, interpolation, rows_first=order)
        candidate = crop(tf.constant(image), data).numpy()
        assert np.array_equal(candidate, reference), (image.shape, target)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(PILLOWS, 2)))
def test_the_orders_differ(tall, one, other):
    """Else the tests above would not tell them apart."""
    differing = [
        image.shape
        for image in tall
        if not np.array_equal(
            crop(tf.constant(image), squashed((32, 32), "bicubic", one)),
            crop(tf.constant(image), squashed((32, 32), "bicubic", other)),
        )
    ]
    assert differing


def test_a_plain_division_would_be_rewritten():
    """In a graph `/` by a constant is a product with its inverse: other bits."""
    data = DataConfig()
    every = tf.reshape(tf.repeat(tf.range(256), 3), (256, 1, 3))
    every = tf.cast(every, tf.uint8)

    def plain(pixels):
        mean, std = (tf.constant(values) for values in (data.mean, data.std))
        return (tf.cast(pixels, tf.float32) / 255.0 - mean) / std

    exact = digest(plain(every).numpy())
    assert digest(tf.function(plain)(every).numpy()) != exact
    assert digest(tf.function(lambda x: normalize(x, data))(every).numpy()) == exact


GEOMETRIES = [
    DataConfig((3, *size), crop_pct=crop_pct, crop_mode=crop_mode)
    for size in ((224, 224), (299, 299), (160, 96))
    for crop_pct in (0.875, 0.9, 0.95, 1.0, 1.15)
    for crop_mode in ("center", "squash", "border")
]


@pytest.mark.parametrize("data", GEOMETRIES, ids=label)
def test_no_size_is_a_pixel_off(data):
    """In a graph, where divisions are rewritten, for sizes of all kinds."""
    generator = np.random.default_rng(0)
    drawn = np.exp(generator.uniform(np.log(2), np.log(5000), (2000, 2)))
    drawn = [
        size for size in drawn.astype(int).tolist() if min(resized_size(size, data))
    ]
    sizes = np.array(drawn)
    ours = tf.function(
        lambda size: tf.map_fn(lambda one: window(one, data).resized, size)
    )
    reference = [resized_size(size, data) for size in drawn]
    wrong = (ours(tf.constant(sizes)).numpy() != reference).any(1)
    assert sizes[wrong].tolist() == []


UNUSUAL = [
    DataConfig((3, *size), interpolation, crop_pct=crop_pct, crop_mode=crop_mode)
    for size, interpolation in (
        ((32, 96), "bicubic"),
        ((97, 33), "bilinear"),
        ((64, 64), "lanczos"),
        ((2, 3), "bicubic"),
    )
    for crop_pct in (0.6, 0.875, 1.0, 1.15, 1.5)
    for crop_mode in ("center", "squash", "border")
]
UNUSUAL += [
    DataConfig((1, 32, 48), "bicubic", (0.4,), (0.3,), crop_mode=crop_mode)
    for crop_mode in ("center", "squash", "border")
]


@pytest.mark.parametrize("data", some.of(UNUSUAL, UNUSUAL[::4]), ids=label)
def test_what_no_pretrained_model_asks_for_is_timms_too(data):
    channels = "L" if data.input_size[0] == 1 else "RGB"
    ours = tf.function(create_transform(data), input_signature=[IMAGE])
    for size in ((70, 51), (33, 90), (20, 20), (5, 7), (4, 30)):
        for image in (noise(*size), gradient(*size)):
            try:
                reference = timm_transform(data)(image.convert(channels))
            except ValueError:
                with pytest.raises(tf.errors.InvalidArgumentError):
                    ours(np.array(image))
                continue
            reference = reference.permute(1, 2, 0).numpy()
            assert digest(ours(np.array(image)).numpy()) == digest(reference), size


def test_a_tiny_image_gets_a_border():
    data = DataConfig((3, 64, 64), crop_pct=1.0, crop_mode="border")
    for size in ((1, 1), (2, 1), (1, 60)):
        reference = timm_transform(data)(noise(*size)).permute(1, 2, 0).numpy()
        candidate = transform(tf.constant(encoded(noise(*size), "PNG")), data)
        assert digest(candidate.numpy()) == digest(reference), size


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "graph"])
def test_what_leaves_nothing_of_an_edge_is_an_error(traced):
    """1 pixel of 500 at 64: less than half of one is left, and Pillow refuses."""
    data = DataConfig((3, 64, 64), crop_pct=1.0, crop_mode="border")
    ours = create_transform(data)
    ours = tf.function(ours, input_signature=[IMAGE]) if traced else ours
    with pytest.raises(ValueError, match="height and width must be > 0"):
        timm_transform(data)(noise(1, 500))
    for size in ((1, 500), (500, 1)):
        with pytest.raises(tf.errors.InvalidArgumentError):
            ours(tf.constant(np.array(noise(*size))))


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3)])
def test_no_pixels_are_an_error(shape):
    with pytest.raises(tf.errors.InvalidArgumentError):
        transform(tf.zeros(shape, tf.uint8), DataConfig())
