"""Time of a forward pass: ours against timm's, eager and compiled, in the same run.

    python benchmarks/inference.py
    python benchmarks/inference.py --models=deit_tiny_patch16_224 --batches=1 --rounds=5
    python benchmarks/inference.py --device=gpu

Five contenders compute the same logits from the same random weights: timm's model as
it is ("timm eager") and under `torch.compile`, ours under `tf.function`, with XLA
(`jit_compile=True`), and as a SavedModel that was written and loaded again. That they
agree is checked before anything is timed.

Each combination of model, batch and number of threads has a fresh process. There, after
warm-up, every round times one call of each contender, in an order drawn anew; what is
reported is each one's median over the rounds, and that relative to timm's (below 1.00
it is faster). Before every timed call, whoever is called, all rest for 50 ms: the
threads of the one before have then gone to sleep (torch's spin for a while). A call
takes images that are already where the model is, and ends when the logits are in NumPy.

Run it on an idle machine: where other processes take a core, torch's threads wait for
each other, and its figures with several threads grow tenfold. What the others took is
printed.

`--threads` sets torch's threads, and TensorFlow's within and between operations; where
it is the number of cores, TensorFlow's default between operations stays. On a GPU it
does not apply; there the models run in float32 (without TF32 on either side) and in
bfloat16 (timm under autocast, ours with the policy "mixed_bfloat16"), and each is
compared with timm in the same type.
"""

import copy
import dataclasses
import functools
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import measure
import numpy as np
from absl import app, flags
from tqdm import tqdm

from vit_tf import quiet

EAGER, COMPILED = "timm eager", "torch.compile"
DTYPES = {"cpu": ["float32"], "gpu": ["float32", "bfloat16"]}
HEADER = (
    "model", "batch", "threads", "dtype", "contender", "ms", "/ eager", "/ compile",
)  # fmt: skip
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}  # Keras's names
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.05}  # relative to the largest logit
_MODELS = flags.DEFINE_list(
    "models",
    [
        "deit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "vit_base_patch16_224",
        "cait_xxs24_224",
        "swin_tiny_patch4_window7_224",
        "swinv2_tiny_window8_256",
        "vit_small_r26_s32_224",
    ],
    "timm's names",
)
_BATCHES = flags.DEFINE_list("batches", ["1", "8"], "numbers of images")
_THREADS = flags.DEFINE_list("threads", ["1", "2"], "numbers of threads, on a CPU")
_ROUNDS = flags.DEFINE_integer(
    "rounds", None, "timed calls of each; by default 30 for one image, 10 for more"
)
_DEVICE = flags.DEFINE_enum("device", "cpu", list(DTYPES), "where the models run")
_ROWS = flags.DEFINE_string("rows", None, "a file to keep the rows in, as they come")

Call = Callable[[], np.ndarray]  # one forward pass: the logits


@dataclasses.dataclass(frozen=True)
class Setting:
    """What one process measures.

    Attributes:
        model: timm's name.
        batch: Number of images.
        threads: Of torch and TensorFlow each.
        device: "cpu" or "gpu".
        dtype: "float32" or "bfloat16".
        rounds: Timed calls of each contender.
    """

    model: str
    batch: int
    threads: int
    device: str
    dtype: str
    rounds: int


def compare(setting: Setting) -> dict[str, float]:
    """Milliseconds that each contender takes, in this process."""
    quiet.import_tensorflow()
    quiet.drop_notes()
    configure(setting)
    contenders = timm_calls(setting) | our_calls(setting)
    logits = {name: call() for name, call in contenders.items()}
    check_same(logits, TOLERANCES[setting.dtype])
    return measure.timed(contenders, setting.rounds)


def configure(setting: Setting) -> None:
    """Fixes threads, devices and precision, before anything runs.

    Raises:
        RuntimeError: if there is no GPU for both sides where one is asked for.
    """
    import tensorflow as tf
    import torch

    torch.set_num_threads(setting.threads)
    tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
    if setting.threads != measure.CORES:
        tf.config.threading.set_inter_op_parallelism_threads(setting.threads)
    if setting.device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return
    gpus = tf.config.list_physical_devices("GPU")
    if not (gpus and torch.cuda.is_available()):
        raise RuntimeError(
            f"--device=gpu: TensorFlow sees {gpus}, torch.cuda.is_available() is "
            f"{torch.cuda.is_available()}; expected: a GPU that both see"
        )
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)  # leaves torch its part
    tf.config.experimental.enable_tensor_float_32_execution(False)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def timm_calls(setting: Setting) -> dict[str, Call]:
    """timm's model, eager and compiled."""
    import torch

    from vit_tf.proof import original

    device = {"cpu": "cpu", "gpu": "cuda"}[setting.device]
    config, tensors, images = measure.material(setting.model, setting.batch)
    module = original(config, tensors, "float32").module
    module = copy.deepcopy(module).to(device)  # in torch's own memory, not NumPy's
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)
    half = setting.dtype == "bfloat16"

    def call(module: Callable) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, half):
            return module(inputs).float().cpu().numpy()

    return {
        EAGER: functools.partial(call, module),
        COMPILED: functools.partial(call, torch.compile(module)),
    }


def our_calls(setting: Setting) -> dict[str, Call]:
    """Our model as a graph, with XLA, and written and loaded again."""
    import tensorflow as tf

    from vit_tf.export import saved_model
    from vit_tf.proof import filled

    config, tensors, images = measure.material(setting.model, setting.batch)
    model = filled(config, tensors, POLICIES[setting.dtype])
    inputs = tf.constant(images)
    with tempfile.TemporaryDirectory() as folder:
        saved_model.save(model, Path(folder))
        loaded = tf.saved_model.load(folder)

    def call(function: Callable) -> np.ndarray:
        return function(inputs).numpy()

    functions = {
        "vit_tf tf.function": tf.function(model),
        "vit_tf XLA": tf.function(model, jit_compile=True),
        "vit_tf SavedModel": loaded,
    }
    return {name: functools.partial(call, f) for name, f in functions.items()}


def check_same(logits: Mapping[str, np.ndarray], tolerance: float) -> None:
    """
    Raises:
        ValueError: if some logits are further from timm's than `tolerance` times
            timm's largest, naming all such contenders.
    """
    expected = logits[EAGER]
    scale = np.abs(expected).max()
    errors = {
        name: float(np.abs(found.astype(np.float32) - expected).max() / scale)
        for name, found in logits.items()
    }
    if wrong := {name: e for name, e in errors.items() if not e <= tolerance}:
        raise ValueError(f"logits differ from timm's by {wrong}; at most {tolerance}")


def settings(
    models: list[str],
    batches: list[int],
    threads: list[int],
    device: str,
    rounds: int | None,
) -> Iterator[Setting]:
    """Every combination that is measured."""
    threads = threads if device == "cpu" else [measure.CORES]
    combinations = itertools.product(models, batches, threads, DTYPES[device])
    for model, batch, count, dtype in combinations:
        calls = rounds or (30 if batch == 1 else 10)
        yield Setting(model, batch, count, device, dtype, calls)


def rows_of(setting: Setting, times: Mapping[str, float]) -> list[tuple]:
    """A row of the table for each contender."""
    columns = (setting.model, setting.batch, setting.threads, setting.dtype)
    return [
        (*columns, name, ms, ms / times[EAGER], ms / times[COMPILED])
        for name, ms in times.items()
    ]


def main(argv: list[str]) -> None:
    combinations = settings(
        _MODELS.value,
        [int(batch) for batch in _BATCHES.value],
        [int(count) for count in _THREADS.value],
        _DEVICE.value,
        _ROUNDS.value,
    )
    rows = []
    with measure.conditions():
        for setting in tqdm(list(combinations), leave=False):
            times = measure.in_fresh_process(compare, setting)
            rows += rows_of(setting, times)
            if _ROWS.value:  # what is measured is kept, whatever happens to the rest
                Path(_ROWS.value).write_text(json.dumps(rows, indent=1))
    print("\n" + measure.table(HEADER, rows))


if __name__ == "__main__":
    app.run(main)
