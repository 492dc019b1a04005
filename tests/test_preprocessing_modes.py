"""However the transform is run, the numbers are timm's."""

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import forked
import numpy as np
import pytest
import tensorflow as tf

from tests.images import Sample, is_of_four_inks, samples
from tests.originals_pixels import (
    expected,
    geometries,
    label,
    of_each_size,
    pixels,
    refused,
)
from vit_tf.preprocessing import (
    DataConfig,
    create_transform,
    transform,
    transform_batch,
)

STRING, STRINGS = (tf.TensorSpec(shape, tf.string) for shape in ((), (None,)))
IMAGE = tf.TensorSpec((None, None, 3), tf.uint8)
IMAGES = tf.RaggedTensorSpec((None, None, None, 3), tf.uint8, ragged_rank=2)
BATCH = 32

Way = Callable[[DataConfig, Sequence[Sample]], Iterator[tf.Tensor]]


def few_preprocessings() -> list[DataConfig]:
    """The smallest of each crop mode, and what is not square, and cropped above 1."""
    kinds = {
        (data.crop_mode, data.size[0] == data.size[1], data.crop_pct > 1): data
        for data in sorted(geometries(), key=lambda data: data.size, reverse=True)
    }
    return sorted(kinds.values(), key=lambda data: data.size)


def eager(data: DataConfig, chosen: Sequence[Sample]) -> Iterator[tf.Tensor]:
    for sample in chosen:
        yield transform(tf.constant(sample.encoded), data)


def in_graph(data: DataConfig, chosen: Sequence[Sample]) -> Iterator[tf.Tensor]:
    for sample in chosen:
        yield traced(data)(tf.constant(sample.encoded))


def of_pixels_in_graph(
    data: DataConfig, chosen: Sequence[Sample]
) -> Iterator[tf.Tensor]:
    ours = tf.function(create_transform(data), input_signature=[IMAGE])
    for sample in chosen:
        yield ours(pixels(sample))


def in_tf_data(data: DataConfig, chosen: Sequence[Sample]) -> Iterator[tf.Tensor]:
    files = tf.data.Dataset.from_tensor_slices([sample.encoded for sample in chosen])
    return iter(files.map(traced(data), num_parallel_calls=2))


def strings_in_a_batch(
    data: DataConfig, chosen: Sequence[Sample]
) -> Iterator[tf.Tensor]:
    ours = tf.function(lambda files: transform_batch(files, data), [STRINGS])
    for part in parts(chosen):
        yield from ours(tf.constant([sample.encoded for sample in part]))


def pixels_in_a_ragged_batch(
    data: DataConfig, chosen: Sequence[Sample]
) -> Iterator[tf.Tensor]:
    ours = traced_batch(data)
    for part in parts(chosen):
        yield from ours(ragged([pixels(sample) for sample in part]))


def eager_batches(data: DataConfig, chosen: Sequence[Sample]) -> Iterator[tf.Tensor]:
    for part in parts(chosen):
        yield from transform_batch(ragged([pixels(sample) for sample in part]), data)


EAGER = (eager, eager_batches)
BATCHES = (strings_in_a_batch, pixels_in_a_ragged_batch)
TRACED = (in_graph, of_pixels_in_graph, in_tf_data, *BATCHES)


@functools.cache
def traced(data: DataConfig) -> Callable[[tf.Tensor], tf.Tensor]:
    return tf.function(lambda file: transform(file, data), input_signature=[STRING])


def traced_batch(data: DataConfig) -> Callable[[tf.RaggedTensor], tf.Tensor]:
    return tf.function(lambda images: transform_batch(images, data), [IMAGES])


def parts(chosen: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    for start in range(0, len(chosen), BATCH):
        yield chosen[start : start + BATCH]


def ragged(images: list[np.ndarray]) -> tf.RaggedTensor:
    """(B, H, W, 3), of which each has its own height and width."""
    flat = np.concatenate([image.reshape(-1, 3) for image in images])
    heights = [len(image) for image in images]
    widths = [image.shape[1] for image in images for _ in image]
    return tf.RaggedTensor.from_nested_row_lengths(flat, [heights, widths])


@functools.cache
def digest_of_timm(sample: Sample, data: DataConfig) -> str:
    return digest(expected(sample, data))


def digest(array: np.ndarray) -> str:
    """Of every bit."""
    assert array.dtype == np.float32
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def comparable(sample: Sample, data: DataConfig) -> bool:
    """Whether it is decoded exactly, and not refused."""
    return not (is_of_four_inks(sample) or refused(sample, data))


def differing(way: Way, data: DataConfig, chosen: Sequence[Sample]) -> list[str]:
    chosen = [sample for sample in chosen if comparable(sample, data)]
    candidates = way(data, chosen)
    return [
        sample.name
        for sample, candidate in zip(chosen, candidates, strict=True)
        if digest(candidate.numpy()) != digest_of_timm(sample, data)
    ]


def named(value: object) -> str:
    return value.__name__ if callable(value) else label(value)


def test_every_image_is_the_same():
    assert differing(in_graph, few_preprocessings()[1], samples()) == []


@pytest.mark.parametrize(
    ("data", "way"),
    [
        *itertools.product(few_preprocessings()[1:2], TRACED[1:]),
        *itertools.product(few_preprocessings()[2:3], BATCHES),
        *itertools.product(few_preprocessings()[:1], EAGER),
    ],
    ids=named,
)
def test_an_image_of_each_size_is_the_same(data, way):
    assert differing(way, data, of_each_size(data.size[0], samples())) == []


def test_equal_sizes_need_not_be_ragged():
    data, images = DataConfig(), np.stack([pixels(samples()[0])] * 2)
    batch = transform_batch(tf.constant(images), data).numpy()
    assert digest(batch[1]) == digest_of_timm(samples()[0], data)


def test_nothing_is_a_batch_too():
    batch = transform_batch(tf.zeros((0,), tf.string), DataConfig())
    assert batch.shape == (0, 224, 224, 3)


LOADER = """
import hashlib, sys
import tensorflow as tf

def digest(function, file):
    try:
        return hashlib.sha256(function(file).numpy()).hexdigest()
    except tf.errors.InvalidArgumentError:
        return "refused"

directory, *files = sys.argv[1:]
saved = tf.saved_model.load(directory)
files = [tf.io.read_file(file) for file in files]
for name, function in saved.functions.items():
    if name.startswith("files"):
        found = [digest(function, file) for file in files]
    else:
        images = [tf.io.decode_png(file, channels=3) for file in files]
        flat = tf.concat([tf.reshape(x, (-1, 3)) for x in images], axis=0)
        widths = [x.shape[1] for x in images for _ in x]
        lengths = [[len(x) for x in images], widths]
        images = function(tf.RaggedTensor.from_nested_row_lengths(flat, lengths))
        found = [digest(tf.identity, image) for image in images]
    print(name, *found)
"""


def in_a_fresh_process(functions, chosen, folder):
    """What functions that were saved give there: name -> digests, one an image."""
    module = tf.Module()
    module.functions = functions
    tf.saved_model.save(module, str(folder / "saved"))
    files = [folder / f"{number}" for number in range(len(chosen))]
    for file, sample in zip(files, chosen, strict=True):
        file.write_bytes(sample.encoded)
    arguments = [LOADER, folder / "saved", *files]
    done = forked.run("-c", *arguments, imported=forked.TENSORFLOW, check=True)
    rows = map(str.split, done.stdout.splitlines())
    return {name: digests for name, *digests in rows}


def test_every_kind_of_preprocessing_is_the_same(tmp_path):
    """Mapped over a ragged batch, here and in a SavedModel in a fresh process.

    `test_preprocessing_pixels.py` has each one, image by image.
    """
    chosen = [sample for sample in samples() if sample.name.startswith("png-RGB-")][:3]
    some = {
        (data.interpolation, data.crop_mode, data.size[0] == data.size[1]): data
        for data in geometries()
    }.values()
    assert len(some) >= 5
    functions = {label(data): traced_batch(data) for data in some}
    expected_digests = {
        label(data): [digest_of_timm(sample, data) for sample in chosen]
        for data in some
    }
    images = ragged([pixels(sample) for sample in chosen])
    for name, ours in functions.items():
        assert [digest(x.numpy()) for x in ours(images)] == expected_digests[name]
    assert in_a_fresh_process(functions, chosen, tmp_path) == expected_digests


def test_every_image_is_the_same_from_a_saved_model(tmp_path):
    assert_a_saved_model_is_the_same(few_preprocessings()[:1], tmp_path)


def assert_a_saved_model_is_the_same(preprocessings, folder):
    """Of every image, whether it is refused or what becomes of it."""
    chosen = [sample for sample in samples() if not is_of_four_inks(sample)]
    functions = {f"files-{label(data)}": traced(data) for data in preprocessings}
    expected_digests = {
        f"files-{label(data)}": [
            "refused" if refused(sample, data) else digest_of_timm(sample, data)
            for sample in chosen
        ]
        for data in preprocessings
    }
    assert in_a_fresh_process(functions, chosen, folder) == expected_digests
