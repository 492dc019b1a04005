"""The training transform against timm, torchvision and Pillow: bytes and draws."""

import functools
import io
import random

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image
from scipy.stats import ks_2samp

from vit_tf.preprocessing import DataConfig
from vit_tf.preprocessing.crop import resized_crop
from vit_tf.reference import timm
from vit_tf.training import RandAugment, TrainTransform, rand_augment
from vit_tf.training.augment_operations import OPERATIONS, Draw
from vit_tf.training.color_jitter import changed, color_jitter
from vit_tf.training.random_resized_crop import RATIO, SCALE, draw_box

auto_augment = timm.data.auto_augment
FILL = (124, 116, 104)
MANY = 2000
PHOTOGRAPH = skimage.data.astronaut()[20:141:2, 150:297:2]  # (61, 74, 3)
IMAGES = {
    "photograph": PHOTOGRAPH,
    "noise": np.random.default_rng(0).integers(0, 256, (14, 17, 3)).astype(np.uint8),
    "dim": PHOTOGRAPH // 3 + 40,
    "one colour": np.full((9, 8, 3), (3, 200, 77), np.uint8),
    "two pixels": PHOTOGRAPH[:2, :1],
    "grey": PHOTOGRAPH[..., :1],
}
DRAWS = [  # magnitude, sign, whether it is bicubic
    (0.0, 1.0, False),
    (3.3, -1.0, True),
    (9.0, 1.0, False),
    (10.0, -1.0, False),
    (10.0, 1.0, True),
]


def pillow(image):
    return Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])


def pixels(image):
    array = np.asarray(image)
    return array if array.ndim == 3 else array[..., None]


@functools.cache
def operations(channels):
    """Any operation by its number, all traced once."""

    def operated(image, number, magnitude, sign, bicubic):
        draw, fill = Draw(magnitude, sign, bicubic), FILL[:channels]
        branches = [
            lambda operation=operation: operation(image, draw, fill)
            for operation in OPERATIONS.values()
        ]
        return tf.switch_case(number, branches)

    number, real = tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.float64)
    image = tf.TensorSpec((None, None, channels), tf.uint8)
    signature = (image, number, real, real, tf.TensorSpec((), tf.bool))
    return tf.function(operated, input_signature=signature, autograph=False)


@pytest.mark.parametrize("name", IMAGES)
def test_every_operation_gives_the_bytes_that_timm_gives(name, monkeypatch):
    image = IMAGES[name]
    operate = operations(image.shape[-1])
    differing = []
    for number, operation in enumerate(OPERATIONS):
        level = auto_augment.LEVEL_TO_ARG[operation] or (lambda magnitude, _: ())
        for magnitude, sign, bicubic in DRAWS:
            monkeypatch.setattr(
                auto_augment, "_randomly_negate", lambda value, sign=sign: sign * value
            )
            resample = (
                Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
            )
            fill = FILL if image.shape[-1] == 3 else FILL[0]
            arguments = level(magnitude, {})
            if operation.startswith("Posterize") and arguments == (0,):
                expected = np.zeros_like(image)  # Pillow gave that once; it refuses now
            else:
                expected = auto_augment.NAME_TO_OP[operation](
                    pillow(image), *arguments, resample=resample, fillcolor=fill
                )
            candidate = operate(image, number, magnitude, sign, bicubic)
            if not np.array_equal(candidate, pixels(expected)):
                differing.append((operation, magnitude, sign, bicubic))
    assert differing == []


@pytest.mark.parametrize("name", ["Rotate", "ShearX", "TranslateYRel"])
def test_images_of_a_known_size_are_moved_to_the_same_bytes(name, monkeypatch):
    """TensorFlow may change the order of sums where it knows the shapes."""
    augment = RandAugment(
        (name,), None, 1, 1.0, 7.0, interpolation="bicubic", fill=FILL
    )
    expected = []
    for sign in (1.0, -1.0):
        monkeypatch.setattr(
            auto_augment, "_randomly_negate", lambda value, sign=sign: sign * value
        )
        arguments = auto_augment.LEVEL_TO_ARG[name](7.0, {})
        moved = auto_augment.NAME_TO_OP[name](
            pillow(IMAGES["noise"]), *arguments, resample=Image.Resampling.BICUBIC,
            fillcolor=FILL,
        )  # fmt: skip
        expected.append(pixels(moved))
    apply = tf.function(lambda seed: augment(tf.constant(IMAGES["noise"]), seed))
    seen = set()
    for number in range(6):
        candidate = apply(tf.constant((0, number)))
        same = [np.array_equal(candidate, moved) for moved in expected]
        assert sum(same) == 1
        seen.update(np.flatnonzero(same))
    assert seen == {0, 1}


@pytest.mark.parametrize(
    "config",
    [
        "rand",
        "rand-m9-mstd0.5-inc1",
        "rand-m9-n3-p0.7-mstd101-mmax15",
        "rand-m7-tweights",
    ],
)
def test_a_configuration_means_what_it_means_in_timm(config):
    candidate, reference = (
        rand_augment(config),
        auto_augment.rand_augment_transform(config),
    )
    operations = reference.ops
    assert candidate.transforms == tuple(operation.name for operation in operations)
    assert candidate.num_layers == reference.num_layers
    assert candidate.prob == operations[0].prob
    assert candidate.magnitude == operations[0].magnitude
    assert candidate.magnitude_std == operations[0].magnitude_std
    assert candidate.magnitude_max == (operations[0].magnitude_max or 10)
    if reference.choice_weights is None:
        assert candidate.weights is None
    else:
        shares = np.array(candidate.weights) / np.sum(candidate.weights)
        np.testing.assert_allclose(shares, reference.choice_weights)


def test_operations_are_chosen_and_magnitudes_drawn_as_by_timm():
    augment = rand_augment("rand-m9-mstd2-tweights")
    seeds = np.stack([np.zeros(MANY, int), np.arange(MANY)], axis=1)

    @tf.function
    def drawn():
        def one(seed):
            return augment._chosen(seed), *augment._draw(seed)

        kinds = (tf.int32, tf.float64, tf.float64, tf.bool)
        return tf.map_fn(one, seeds, fn_output_signature=kinds)

    chosen, magnitudes, signs, bicubic = (values.numpy() for values in drawn())
    shares = np.array(augment.weights) / np.sum(augment.weights)
    found = np.bincount(chosen[:, 0], minlength=len(shares)) / MANY
    assert np.all(np.abs(found - shares) < 4 * np.sqrt(shares / MANY))
    assert (chosen[:, 0] != chosen[:, 1]).all()
    rng = random.Random(0)
    expected = [max(0.0, min(rng.gauss(9, 2), 10)) for _ in range(MANY)]
    assert ks_2samp(magnitudes, expected, method="asymp").pvalue > 0.01
    assert abs(np.mean(signs)) < 0.1
    assert abs(np.mean(bicubic) - 0.5) < 0.05


def test_an_image_is_left_as_it_is_as_often_as_told():
    augment = RandAugment(("Invert",), num_layers=1, prob=0.3)
    image = tf.constant(IMAGES["noise"])
    apply = tf.function(lambda seed: augment(image, seed))
    inverted = [
        not np.array_equal(apply(tf.constant((0, number))), image)
        for number in range(400)
    ]
    assert abs(np.mean(inverted) - 0.3) < 0.08


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_colours_are_jittered_to_the_bytes_that_torchvision_gives(order):
    import torchvision.transforms.functional as functional

    factors = (1.3, 0.7, 1.37)
    expected = pillow(PHOTOGRAPH)
    changes = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
    )
    for number in order:
        expected = changes[number](expected, factors[number])
    candidate = changed(tf.constant(PHOTOGRAPH), factors, tf.constant(order))
    assert np.array_equal(candidate, pixels(expected))


def test_the_factors_of_colours_are_within_their_bounds():
    """Of a grey image of one level, brightness alone changes anything."""
    image = tf.fill((2, 2, 3), tf.constant(100, tf.uint8))
    jitter = tf.function(lambda seed: color_jitter(image, (0.4, 0.2, 2.0), seed))
    levels = [
        jitter(tf.constant((0, number))).numpy()[0, 0, 0] for number in range(300)
    ]
    assert 59 <= min(levels) < 65
    assert 135 < max(levels) <= 140
    assert abs(np.mean(levels) - 100) < 5


@pytest.mark.parametrize("size", [(60, 40), (12, 150), (33, 33), (90, 7)])
def test_boxes_are_drawn_as_by_timm(size):
    seeds = np.stack([np.zeros(MANY, int), np.arange(MANY)], axis=1)

    @tf.function
    def drawn():
        def one(seed):
            return draw_box(tf.constant(size, tf.int64), SCALE, RATIO, seed)

        return tf.map_fn(one, seeds, fn_output_signature=tf.int64)

    crop = timm.data.transforms.RandomResizedCropAndInterpolation
    image = Image.new("RGB", size[::-1])
    random.seed(0)
    expected = [crop.get_params(image, SCALE, RATIO) for _ in range(MANY)]
    for candidate, reference in zip(
        drawn().numpy().reshape(MANY, 4).T, np.array(expected).T, strict=True
    ):
        assert ks_2samp(candidate, reference, method="asymp").pvalue > 0.01


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("kind", ["jpeg", "png", "pixels"])
def test_a_box_of_an_image_is_resized_to_the_bytes_that_pillow_gives(
    kind, interpolation
):
    image, file = PHOTOGRAPH, io.BytesIO()
    if kind != "pixels":
        Image.fromarray(image).save(file, kind)
        image = np.asarray(Image.open(file).convert("RGB"))
    given = tf.constant(image if kind == "pixels" else file.getvalue())
    data = DataConfig((3, 24, 32))

    @tf.function
    def cropped(box):
        return resized_crop(given, lambda size: box, data, interpolation)

    resample = Image.Resampling[interpolation.upper()]
    for box in ((0, 0, 61, 74), (7, 11, 23, 9), (40, 50, 21, 24), (3, 70, 50, 2)):
        top, left, height, width = box
        part = Image.fromarray(image).crop((left, top, left + width, top + height))
        expected = np.asarray(part.resize((32, 24), resample))
        candidate = cropped(tf.constant(box, tf.int64, (2, 2)))
        assert np.array_equal(candidate, expected), box


@pytest.mark.parametrize("channels", [3, 1])
def test_the_whole_transform_is_timms_where_nothing_is_random(channels):
    data = DataConfig((channels, 24, 24), mean=(0.4,) * channels, std=(0.3,) * channels)
    options = dict(scale=(1.0, 1.0), ratio=(1.0, 1.0), hflip=1.0, vflip=1.0,
                   color_jitter=None, grayscale_prob=1.0)  # fmt: skip
    image = PHOTOGRAPH[:, :61]
    transform = timm.data.create_transform(
        data.input_size, is_training=True, interpolation=data.interpolation,
        mean=data.mean, std=data.std, **options,
    )  # fmt: skip
    mode = "RGB" if channels == 3 else "L"
    expected = transform(Image.fromarray(image).convert(mode)).permute(1, 2, 0).numpy()
    candidate = tf.function(TrainTransform(data, **options))(tf.constant(image), (0, 0))
    assert np.array_equal(candidate, expected)


def test_a_run_that_is_resumed_sees_what_it_would_have_seen():
    transform = TrainTransform(
        DataConfig((3, 16, 16)), auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.5,
        re_mode="pixel", interpolation="random",
    )  # fmt: skip
    traced = tf.function(transform)
    images = tf.data.Dataset.from_tensors(PHOTOGRAPH).repeat(12).enumerate()

    def seen(part):
        mapped = part.map(
            lambda number, image: traced(image, (3, number)), num_parallel_calls=2
        )
        return list(mapped.as_numpy_iterator())

    whole, rest = seen(images), seen(images.skip(5))
    assert np.array_equal(whole[5:], rest)
    assert len({image.tobytes() for image in whole}) == 12
    assert all(np.isfinite(image).all() for image in whole)


def test_errors_list_what_was_found_and_what_was_expected():
    for options, told in (
        (
            dict(scale=(0.5, 0.1), hflip=2),
            r"scale=\(0\.5, 0\.1\) found(.|\n)*hflip=2 f",
        ),
        (dict(color_jitter=(1, 1, 1, 1)), r"hue, is not here\), expected"),
        (dict(interpolation="nearest"), "interpolation='nearest' found, one of"),
        (dict(auto_augment="rand-m9", interpolation="lanczos"), "'lanczos' found"),
        (dict(auto_augment="v0"), "auto_augment='v0' found, rand-SECTION"),
        (dict(auto_augment="rand-t3a"), "or tweights"),
        (dict(auto_augment="rand-n2.5"), "'rand-n2.5' found"),
        (dict(re_mode="white"), "mode='white' found"),
    ):
        with pytest.raises(ValueError, match=told):
            TrainTransform(DataConfig(), **options)
    with pytest.raises(ValueError, match="float32 found, string"):
        TrainTransform(DataConfig())(tf.zeros((4, 4, 3)), (0, 0))
    with pytest.raises(ValueError, match=r"transforms=\('Blur',\) found(.|\n)*prob=3"):
        RandAugment(("Blur",), prob=3)
