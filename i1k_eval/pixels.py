"""Encoded images as batches of what a model takes, several at a time."""

import collections
import dataclasses
import itertools
import queue
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from i1k_eval.datasets.dataset import Example


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some images of a data set, in its order.

    Attributes:
        examples: The images as they were read.
        pixels: (B, height, width, channels) float32; zeros for what cannot be read.
        errors: For each image, why it cannot be read, or "".
    """

    examples: tuple[Example, ...]
    pixels: np.ndarray
    errors: tuple[str, ...]


def pixel_batches(
    examples: Iterable[Example],
    transform: Callable[[tf.Tensor], tf.Tensor],
    shape: tuple[int, int, int],
    *,
    batch_size: int,
    threads: int,
    ahead: int = 1,
) -> Iterator[Batch]:
    """Decodes and transforms images in tf.data. The last batch may be smaller.

    An image that cannot be decoded is an error of its own: tf.data hands it out in the
    image's place, and goes on with the next.

    Args:
        examples: The images.
        transform: From a file's bytes to pixels.
        shape: (height, width, channels) of those.
        batch_size: How many images a batch has.
        threads: How many images are transformed at once.
        ahead: How many batches are begun before the one that is waited for is done.
    """
    encoded: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    images = tf.data.Dataset.from_generator(
        lambda: iter(encoded.get, None), output_signature=tf.TensorSpec((), tf.string)
    ).map(transform, num_parallel_calls=threads, deterministic=True)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    pixels = iter(images.prefetch(batch_size).with_options(options))
    begun: collections.deque[tuple[Example, ...]] = collections.deque()
    try:
        nothing = itertools.repeat((), ahead)  # while the last ones are finished
        for batch in itertools.chain(_batched(examples, batch_size), nothing):
            for example in batch:
                encoded.put(example.encoded)
            begun.append(batch)
            if len(begun) > ahead:
                yield _finished(begun.popleft(), pixels, shape)
    finally:
        encoded.put(None)


def _batched(
    examples: Iterable[Example], batch_size: int
) -> Iterator[tuple[Example, ...]]:
    examples = iter(examples)
    while batch := tuple(itertools.islice(examples, batch_size)):
        yield batch


def _finished(
    examples: tuple[Example, ...],
    pixels: Iterator[tf.Tensor],
    shape: tuple[int, int, int],
) -> Batch:
    batch = np.zeros((len(examples), *shape), np.float32)
    errors = []
    for i, example in enumerate(examples):
        error = ""
        try:
            batch[i] = next(pixels).numpy()
        except tf.errors.OpError as failure:
            error = _reason(failure.message)
        except UnicodeDecodeError as failure:  # a message that quotes the file's bytes
            error = _reason(failure.object.decode(errors="backslashreplace"))
        errors.append(example.error or error)
    return Batch(examples, batch, tuple(errors))


def _reason(message: str) -> str:
    """What an operation says, without where in the graph it is."""
    said, _, _ = message.partition("\n\t [[")
    _, _, behind = said.partition("transformation with iterator: ")
    return " ".join((behind.partition(": ")[2] or said).split())
