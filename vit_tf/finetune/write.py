"""A fine-tuned model as a bundle, proven as every other one is."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlencode

from vit_tf import training
from vit_tf.configs import checkpoint
from vit_tf.export import timm_directory
from vit_tf.finetune.start import Start
from vit_tf.pipeline import Conversion, convert


def write_bundle(
    start: Start,
    out: Path,
    *,
    weights: Path,
    notes: Sequence[str],
    overwrite: bool,
    progress: Callable[[str], None] = lambda step: None,
) -> Conversion:
    """Writes the model's weights as timm has them, and converts what was written.

    So every layer is compared with timm's model of the fine-tuned weights, and what
    was written is read back, before there is a bundle.

    Args:
        start: The model, trained by now; its labels, and how images are prepared.
        out: Where to write.
        weights: The folder for timm's form of them, which stays.
        notes: What was done, for the bundle to say.
        overwrite: Whether a bundle that is there may be replaced.
        progress: As of `convert`.

    Raises:
        ParityError: if the result is not the same model in timm.
        FileExistsError: if something is at `out` that may not be replaced.
    """
    if weights.exists():  # of a run that was stopped while it wrote them
        shutil.rmtree(weights)
    plain = training.merge_lora(start.model)
    timm_directory.write_model(plain, start.described, [], weights)
    config = checkpoint.get_config(urlencode({"uri": str(weights)}))
    config.dtype = start.described["dtype"]
    for name, value in start.data.to_json().items():
        if name != "input_size":
            config.preprocessing[name] = value
    return convert(
        config,
        out,
        checkpoint=weights,
        notes=notes,
        overwrite=overwrite,
        progress=progress,
    )
