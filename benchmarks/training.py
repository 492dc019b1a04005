"""Time and memory of a training step: ours against a timm loop, in the same run.

    python benchmarks/training.py
    python benchmarks/training.py --models=vit_tiny_patch16_224 --batches=4 --rounds=5
    python benchmarks/training.py --contenders="timm eager,vit_tf fit"

A step is the forward pass, the cross-entropy loss, its gradients, and AdamW with timm's
weight-decay groups, on the same images from the same random weights, without dropout.
The contenders are timm's model in a PyTorch loop ("timm eager"), ours as `fit` runs it
("vit_tf fit", `jit_compile=False`), with XLA ("vit_tf XLA"), and both sides with
`set_grad_checkpointing` ("timm checkpointed", "vit_tf checkpointed"). That their losses
agree over the first steps is checked before anything is timed.

Each combination of model, batch and number of threads has a fresh process. There, after
warm-up, every round times one step of each contender, in an order drawn anew; what is
reported is each one's median over the rounds, and that relative to timm's (below 1.00
it is faster). All rest for 50 ms before each step. Memory is another process for each
contender: the peak of its resident memory while it makes the same number of steps,
beside what it had before the first one.

Run it on an idle machine. What other processes took is printed.
"""

import copy
import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import measure
import numpy as np
from absl import app, flags
from peak_memory import PeakMemory
from tqdm import tqdm

from vit_tf import quiet

EAGER = "timm eager"
CHECKED = 3  # steps, whose losses are compared
TOLERANCE = 1e-4  # relative to timm's loss
RECIPE = dict(lr=1e-4, weight_decay=0.05)
MEGABYTE = 1e6
HEADER = (
    "model", "batch", "threads", "contender", "ms", "/ timm", "peak MB", "of it before",
)  # fmt: skip
_MODELS = flags.DEFINE_list(
    "models",
    [
        "vit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "cait_xxs24_224",
        "swin_tiny_patch4_window7_224",
    ],
    "timm's names",
)
_BATCHES = flags.DEFINE_list("batches", ["16"], "numbers of images")
_THREADS = flags.DEFINE_list("threads", ["1", "2"], "numbers of threads")
_ROUNDS = flags.DEFINE_integer("rounds", 10, "timed steps of each")
_ROWS = flags.DEFINE_string("rows", None, "a file to keep the rows in, as they come")

Step = Callable[[], float]  # a training step: its loss


@dataclasses.dataclass(frozen=True)
class Setting:
    """What one process measures.

    Attributes:
        model: timm's name.
        batch: Number of images.
        threads: Of torch and TensorFlow each.
        rounds: Timed steps of each contender.
        contenders: Which of them.
    """

    model: str
    batch: int
    threads: int
    rounds: int
    contenders: tuple[str, ...]


def material(setting: Setting) -> tuple:
    """The configuration, random weights and random images of a setting."""
    return measure.material(setting.model, setting.batch, drop_path_rate=0.0)


def timm_step(setting: Setting, *, checkpointed: bool = False) -> Step:
    """timm's model in a loop of PyTorch."""
    import torch

    from vit_tf.proof import original

    torch.set_num_threads(setting.threads)
    config, tensors, images = material(setting)
    module = copy.deepcopy(original(config, tensors, "float32").module).train()
    module.set_grad_checkpointing(checkpointed)
    from timm.optim import create_optimizer_v2  # once torchvision's operators are there

    optimizer = create_optimizer_v2(module, "adamw", **RECIPE)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(labels_of(images))

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(inputs), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def our_step(
    setting: Setting, *, jit_compile: bool = False, checkpointed: bool = False
) -> Step:
    """Our model, by the function that `fit` calls for each batch."""
    import keras
    import tensorflow as tf

    from vit_tf.proof import filled
    from vit_tf.training import create_optimizer, set_grad_checkpointing

    config, tensors, images = material(setting)
    model = filled(config, tensors, "float32")
    set_grad_checkpointing(model, checkpointed)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = create_optimizer(model, "adamw", **RECIPE)
    model.compile(optimizer, loss, jit_compile=jit_compile)
    data = tf.data.Dataset.from_tensors((images, labels_of(images))).repeat()
    iterator = iter(data)
    model.make_train_function()

    def step() -> float:
        model.reset_metrics()  # the loss of this step alone
        return float(model.train_function(iterator)["loss"])

    return step


CONTENDERS: dict[str, Callable[[Setting], Step]] = {
    EAGER: timm_step,
    "timm checkpointed": functools.partial(timm_step, checkpointed=True),
    "vit_tf fit": our_step,
    "vit_tf XLA": functools.partial(our_step, jit_compile=True),
    "vit_tf checkpointed": functools.partial(our_step, checkpointed=True),
}
_CONTENDERS = flags.DEFINE_list("contenders", list(CONTENDERS), f"with {EAGER}")


def labels_of(images: np.ndarray) -> np.ndarray:
    """A class for each image, below 1000."""
    return np.random.default_rng(0).integers(0, 1000, len(images))


def prepare(setting: Setting) -> None:
    """Fixes TensorFlow's threads, before anything runs."""
    quiet.import_tensorflow()
    quiet.drop_notes()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
    tf.config.threading.set_inter_op_parallelism_threads(setting.threads)


def compare(setting: Setting) -> dict[str, float]:
    """Milliseconds of each contender's step, in this process."""
    prepare(setting)
    steps = {name: CONTENDERS[name](setting) for name in setting.contenders}
    check_same({name: [step() for _ in range(CHECKED)] for name, step in steps.items()})
    return measure.timed(steps, setting.rounds)


def memory(setting: Setting, contender: str) -> tuple[float, float]:
    """The peak megabytes of this process while it trains, and what it had before."""
    prepare(setting)
    step = CONTENDERS[contender](setting)
    peak = PeakMemory()
    before = peak.take()
    for _ in range(CHECKED):
        step()
    return peak.take() / MEGABYTE, before / MEGABYTE


def check_same(losses: Mapping[str, list[float]]) -> None:
    """
    Raises:
        ValueError: if some losses are further from timm's than the tolerance, naming
            all such contenders.
    """
    expected = np.array(losses[EAGER])
    errors = {
        name: float(np.abs(np.array(found) / expected - 1).max())
        for name, found in losses.items()
    }
    if wrong := {name: e for name, e in errors.items() if not e <= TOLERANCE}:
        raise ValueError(f"losses differ from timm's by {wrong}; at most {TOLERANCE}")


def settings() -> Iterator[Setting]:
    """Every combination that the flags ask for.

    Raises:
        ValueError: for a contender that there is not, or without timm's.
    """
    names = tuple(_CONTENDERS.value)
    if EAGER not in names or set(names) - set(CONTENDERS):
        raise ValueError(
            f"--contenders={','.join(names)}: expected {EAGER!r}, and of "
            f"{list(CONTENDERS)} what is compared with it"
        )
    combinations = itertools.product(_MODELS.value, _BATCHES.value, _THREADS.value)
    for model, batch, threads in combinations:
        yield Setting(model, int(batch), int(threads), _ROUNDS.value, names)


def rows_of(setting: Setting) -> list[tuple]:
    """A row of the table for each contender."""
    times = measure.in_fresh_process(compare, setting)
    return [
        (
            setting.model, setting.batch, setting.threads, name, ms, ms / times[EAGER],
            *measure.in_fresh_process(memory, setting, name),
        )
        for name, ms in times.items()
    ]  # fmt: skip


def main(argv: list[str]) -> None:
    rows = []
    with measure.conditions():
        for setting in tqdm(list(settings()), leave=False):
            rows += rows_of(setting)
            if _ROWS.value:  # what is measured is kept, whatever happens to the rest
                Path(_ROWS.value).write_text(json.dumps(rows, indent=1))
    print("\n" + measure.table(HEADER, rows))


if __name__ == "__main__":
    app.run(main)
