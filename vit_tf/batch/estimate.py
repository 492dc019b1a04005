"""What a job will need, from what its checkpoint's size tells before it is read."""

import functools
import json
import math
from pathlib import Path
from typing import NamedTuple

from vit_tf.batch.jobs import Job
from vit_tf.checkpoints.fetch import HUB, is_remote
from vit_tf.checkpoints.random import RANDOM

# The most memory in use by a conversion is about this, by the column "peak_bytes" of
# `python convert_all_models.py --checkpoint=random:0 --models=MODEL`, each apart,
# images of 224 or 256 pixels: 1.3 GB for deit_tiny_patch16_224 (0.02 GB of weights),
# 1.7 for cait_xxs24_224 (0.05) and swin_tiny_patch4_window7_224 (0.11), 1.8 for
# swinv2_tiny_window8_256 (0.11) and vit_small_r26_s32_224 (0.15); and, after others in
# one process, 1.5 for deit_small_patch16_224 (0.09), 2.1 for vit_base_patch16_224
# (0.35) and 3.0 for it with a .keras file. `python benchmarks/conversion.py`: 3.2 for
# vit_large_patch16_224 (1.2). More tokens need more, as what their layers give waits to
# be compared, and as attention of every block is read back: 4.2 for the second of
# vit_base_patch8_224 (0.35) from an .npz (`python benchmarks/scale.py`), where all
# attention of an image is 0.36.
BASE_MEMORY = 1_500_000_000
ATTENTIONS = 5
MEMORY_PER_WEIGHT_BYTE = 3.5
WHILE_COMPARED = 2  # instead of that: as yet the model is not written
# What a bundle has beside its weights: graphs, and the files that describe it.
BASE_DISK = 4_000_000
# A ViT-L's, where nothing is known without asking another machine.
UNKNOWN_WEIGHTS = 1_220_000_000
FLOAT32 = 4


def parameters(job: Job) -> int | None:
    """How many a job's model has; None where that is not known before it is read.

    Of a model that cannot be built neither: the job itself will say why.
    """
    known = _known(_model(job), json.dumps(job.overrides))
    return known.parameters if known else None


def weights(job: Job) -> int:
    """Bytes of a job's weights: of its file or folder, or of its model in float32.

    The larger of both: half precision becomes float32, and some files hold more.
    """
    checkpoint, number = job.checkpoint, parameters(job)
    known = [] if number is None else [FLOAT32 * number]
    if checkpoint and not checkpoint.startswith(RANDOM) and not is_remote(checkpoint):
        known.append(_size(Path(checkpoint)))
    return max(known, default=UNKNOWN_WEIGHTS)


def memory(job: Job) -> int:
    """Bytes of memory that its conversion needs."""
    of_weights, known = weights(job), _known(_model(job), json.dumps(job.overrides))
    compared = WHILE_COMPARED * of_weights + (known.outputs if known else 0)
    written = MEMORY_PER_WEIGHT_BYTE * of_weights
    if known:
        written += ATTENTIONS * known.attention
    return BASE_MEMORY + round(max(compared, written))


def disk(job: Job) -> int:
    """Bytes that its bundle needs: every format holds the weights, at most once.

    So does what LiteRT's converter reads, while it does.
    """
    copies = len({"saved_model", *job.formats})
    copies += any(name.startswith("litert") for name in job.formats)
    return copies * (weights(job) + BASE_DISK)


def _size(path: Path) -> int:
    """Bytes of a file, or of a folder's files; 0 where there is none."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _of_timm(name: str) -> str:
    """The name of a model of timm's on the hub, if it is one of ours; or ""."""
    from vit_tf import models

    return name if name.partition(".")[0] in models.list_models() else ""


def _model(job: Job) -> str:
    """Its model's name, where that is known before it is read; or ""."""
    if not job.model and job.checkpoint.startswith(f"{HUB}timm/"):
        return _of_timm(job.checkpoint.partition("/")[2].partition("@")[0])
    return job.model


class _Known(NamedTuple):
    """
    Attributes:
        parameters: Their number.
        outputs: Bytes of what timm's layers give, as far as it waits in memory.
        attention: Bytes of the attention of all blocks, for one image.
    """

    parameters: int
    outputs: float
    attention: float


@functools.cache  # many checkpoints are of one model
def _known(model: str, overrides: str) -> _Known | None:
    """What is known of a model; None where there is no name, or it cannot be built."""
    if not model:
        return None
    from vit_tf import proof, source
    from vit_tf.batch import work
    from vit_tf.layer_values import layer_values

    changes = tuple((field, value) for field, value in json.loads(overrides))
    try:
        config = work.configured(Job("", f"{RANDOM}0", model, overrides=changes))
        number = sum(map(math.prod, source.parameter_shapes(config).values()))
        values = layer_values(config)
    except Exception:  # noqa: BLE001 - whatever a layer says of such arguments
        return None
    of_timm = FLOAT32 * config.parity.images * values.total
    outputs = min(of_timm, proof.IN_MEMORY)
    return _Known(number, outputs, FLOAT32 * values.attention)
