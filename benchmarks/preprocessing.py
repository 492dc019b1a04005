"""Images per second from files to a batch: ours against timm's over PIL.

    python benchmarks/preprocessing.py
    python benchmarks/preprocessing.py --sizes=500x375 --threads=1 --rounds=20

Both sides read the same JPEG files, mosaics of real photographs, and give the same
batches; that they do, bit for bit, is checked before anything is timed.

* timm: `timm.data.create_loader` over PIL, without prefetcher; on one thread in the
  process itself (`num_workers=0`), on more in as many worker processes, which stay.
* vit_tf: `tf.data` with `create_transform`, on a pool of as many threads.
* TensorFlow alone: the same, with `tf.io.decode_jpeg`, `tf.image.resize` with
  antialiasing and a crop in place of it. That is what a port usually does: its pixels
  are others.

Each size and number of threads has a fresh process. There every round times one epoch
of each, in an order drawn anew, from the first batch's arrival to the last one's: what
an epoch costs to begin (TensorFlow builds its graph then) is left out on both sides.
What is reported is each one's median time for an image, and that relative to timm's
(below 1.00 it is faster). Run it on an idle machine; what others took is printed.
"""

import functools
import itertools
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import measure
import numpy as np
from absl import app, flags
from tqdm import tqdm

from vit_tf import quiet

TIMM, OURS, PLAIN = "timm", "vit_tf", "TensorFlow alone"
HEADER = ("size", "interpolation", "threads", "contender", "ms an image", "/ timm")
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "motorcycle_left", "rocket")
_SIZES = flags.DEFINE_list(
    "sizes", ["500x375", "1600x1200", "4000x3000"], "width x height of the files"
)
_THREADS = flags.DEFINE_list("threads", ["1", "2"], "numbers of threads")
_INTERPOLATIONS = flags.DEFINE_list("interpolations", ["bicubic"], "Pillow's filters")
_MEGAPIXELS = flags.DEFINE_integer("megapixels", 40, "in the files of one epoch")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "epochs of each")

BATCH = 8
Epoch = Callable[[], Iterable[np.ndarray]]  # batches of images, channels last


def compare(
    size: str, interpolation: str, threads: int, megapixels: int, rounds: int
) -> dict[str, float]:
    """Milliseconds an image of each contender, in this process."""
    width, height = (int(edge) for edge in size.split("x"))
    count = max(6 * BATCH, round(megapixels * 1e6 / (width * height)))
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), width, height, count)
        # timm's first: its workers fork, as they do by default on Linux, before
        # TensorFlow has threads.
        multiprocessing.set_start_method("fork", force=True)
        contenders = {TIMM: timm_epoch(folder, interpolation, threads)}
        expected = np.concatenate(list(contenders[TIMM]()))
        contenders |= tensorflow_epochs(folder, interpolation, threads)
        check_same(expected, np.concatenate(list(contenders[OURS]())))
        return timed(contenders, rounds)


def write_images(folder: Path, width: int, height: int, count: int) -> None:
    """JPEGs of photographs side by side, each photograph at its own size."""
    import skimage.data
    from PIL import Image

    data = Path(skimage.data.__file__).parent
    files = [next(data.glob(f"{name}.*")) for name in PHOTOGRAPHS]
    photographs = [Image.open(file).convert("RGB") for file in files]
    (folder / "class").mkdir()
    order = random.Random(0)
    for i in range(count):
        mosaic, y = Image.new("RGB", (width, height)), 0
        while y < height:
            x, row = 0, order.sample(photographs, len(photographs))
            for photograph in itertools.cycle(row):
                if x >= width:
                    break
                mosaic.paste(photograph, (x, y))
                x += photograph.width
            y += min(photograph.height for photograph in row)
        mosaic.save(folder / "class" / f"{i:05}.jpg", quality=90)


def timm_epoch(folder: str, interpolation: str, threads: int) -> Epoch:
    """timm's loader, as its `validate.py` makes it, on a CPU."""
    from vit_tf.reference import timm, torch

    torch.set_num_threads(1)
    loader = timm.data.create_loader(
        timm.data.ImageDataset(folder),
        input_size=(3, 224, 224),
        batch_size=BATCH,
        is_training=False,
        use_prefetcher=False,
        interpolation=interpolation,
        crop_pct=0.875,
        num_workers=0 if threads == 1 else threads,
        persistent_workers=threads > 1,
    )
    return lambda: (images.permute(0, 2, 3, 1).numpy() for images, _ in loader)


def tensorflow_epochs(
    folder: str, interpolation: str, threads: int
) -> dict[str, Epoch]:
    """`tf.data` with our transform, and with TensorFlow's own resize."""
    quiet.import_tensorflow()
    quiet.drop_notes()
    import tensorflow as tf

    from vit_tf.preprocessing import DataConfig, create_transform

    exact = create_transform(DataConfig(interpolation=interpolation))

    def plain(encoded: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(encoded, channels=3)
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        size = tf.cast(tf.round(size * (256 / tf.reduce_min(size))), tf.int32)
        image = tf.image.resize(image, size, interpolation, antialias=True)
        image = tf.image.resize_with_crop_or_pad(image, 224, 224)
        data = DataConfig()
        return (image / 255 - data.mean) / data.std

    def dataset(transform: Callable[[tf.Tensor], tf.Tensor]) -> tf.data.Dataset:
        files = tf.data.Dataset.from_tensor_slices(
            sorted(str(path) for path in Path(folder).rglob("*.jpg"))
        )
        images = files.map(
            lambda file: transform(tf.io.read_file(file)), num_parallel_calls=threads
        )
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        options.threading.max_intra_op_parallelism = 1
        batches = images.batch(BATCH).prefetch(1 if threads > 1 else 0)
        return batches.with_options(options)

    return {
        OURS: dataset(exact).as_numpy_iterator,
        PLAIN: dataset(plain).as_numpy_iterator,
    }


def check_same(expected: np.ndarray, found: np.ndarray) -> None:
    """
    Raises:
        ValueError: if any value is another than timm's.
    """
    if different := int(np.sum(expected.view(np.int32) != found.view(np.int32))):
        raise ValueError(f"{different:,} of {expected.size:,} values are not timm's")


def timed(contenders: dict[str, Epoch], rounds: int) -> dict[str, float]:
    """The median milliseconds an image of each one's epochs, run in turn."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(contenders), len(contenders)):
            batches = iter(contenders[name]())
            next(batches)  # workers have started, graphs are built
            begin = time.perf_counter()
            count = sum(len(batch) for batch in batches)
            times[name].append(1e3 * (time.perf_counter() - begin) / count)
    return {name: statistics.median(values) for name, values in times.items()}


def main(argv: list[str]) -> None:
    rows = []
    threads = [int(count) for count in _THREADS.value]
    settings = list(itertools.product(_SIZES.value, _INTERPOLATIONS.value, threads))
    with measure.conditions():
        for setting in tqdm(settings, unit="setting"):
            function = functools.partial(
                compare, megapixels=_MEGAPIXELS.value, rounds=_ROUNDS.value
            )
            times = measure.in_fresh_process(function, *setting)
            rows += [
                (setting[0], setting[1], str(setting[2]), name, ms, ms / times[TIMM])
                for name, ms in times.items()
            ]
        print(measure.table(HEADER, rows))


if __name__ == "__main__":
    app.run(main)
