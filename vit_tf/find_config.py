"""Which configuration describes a model, by its name or by its checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ml_collections import ConfigDict

from vit_tf import architectures, models
from vit_tf.checkpoint import Checkpoint
from vit_tf.checkpoints.arguments import read_arguments, read_model_class
from vit_tf.checkpoints.errors import CheckpointError, listing
from vit_tf.checkpoints.random import RANDOM
from vit_tf.keras_file import WEIGHTS_H5
from vit_tf.reference import pretrained_cfg

# What a user changes beside a model's name, and files tell. Of the rest, what is not
# there is missing: a lost norm is no model without norms.
READ = (
    "num_classes", "in_chans", "img_size", "patch_size", "embed_dim", "depth", "depths",
    "mlp_ratio", "reg_tokens", "global_pool", "fc_norm", "window_size",
    "backbone_layers", "backbone_channels",
)  # fmt: skip
# What changes what a model computes, and no tensor of a plain ViT.
ASSUMED = ("img_size", "num_heads", "global_pool", "norm_layer", "act_layer")
UNSAID = 0  # a number of heads that no tensor tells


def find_config(
    model: str,
    checkpoint: str | Path = "",
    *,
    checkpoint_key: str = "",
    dialect: str = "",
) -> tuple[str, str]:
    """Which configuration says how to build `model` for `checkpoint`.

    What a checkpoint tells of its model is taken from it; `model` says the rest, and
    may be "" where the checkpoint tells all. Where nothing else is asked for than
    timm's pretrained weights, "name" stands for timm's default tag of it, as in timm.

    Returns:
        A module of `configs/`, and what to call its `get_config` with.

    Raises:
        UnknownModelError: if there is no such model or tag.
        ValueError: if nothing says which model it is.
    """
    uri = str(checkpoint)
    if uri and not uri.startswith(RANDOM) and not uri.endswith(WEIGHTS_H5):
        given = dict(
            uri=uri, model=model, checkpoint_key=checkpoint_key, dialect=dialect
        )
        return "checkpoint", urlencode({k: v for k, v in given.items() if v}, safe="/:")
    if not model:
        what = f"{uri} does not say which model it is" if uri else "no model is named"
        raise ValueError(
            f"{what}; expected: --model=NAME, --config=configs/FAMILY.py:NAME, or a "
            "--checkpoint that tells it"
        )
    config = models.get_config(model)
    if not uri and not config.tag:
        tag = pretrained_cfg(model).get("tag", "")
        return config.family, f"{model}.{tag}".rstrip(".")
    return config.family, model


def config_of(checkpoint: Checkpoint, model: str = "") -> ConfigDict:
    """The configuration of a checkpoint's model.

    Args:
        checkpoint: It tells numbers of classes and channels, sizes, width, depth and
            kind of head by its tensors, and more where it states it.
        model: timm's name, for what it does not tell; may be "" where it tells all.

    Raises:
        UnknownModelError: if there is no such model.
        CheckpointError: if the checkpoint contradicts itself or the name, or does not
            tell which model it is.
    """
    stated = checkpoint.architecture
    name = model.partition(".")[0]
    if stated and name and name != stated:
        raise CheckpointError(
            f"{checkpoint.stated_in}: the architecture {stated!r} found, {name!r} "
            "expected"
        )
    inferred = not (model or stated)
    config = models.get_config(_decided(checkpoint) if inferred else model or stated)
    _check_class(checkpoint, config)
    try:
        models.get_config(config.architecture, **checkpoint.arguments)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.stated_in}: {error}") from error
    found = arguments_of(checkpoint, config)
    config = models.get_config(model or config.architecture, **found)
    config.inferred = inferred
    return config


def same_models(checkpoint: Checkpoint) -> list[str]:
    """The names of timm's that a checkpoint's model has, if there is only one model.

    They differ in what their weights were trained for: preprocessing, licence.
    """
    found = architectures.candidates(checkpoint.tensors, checkpoint.arguments)
    if len(found) != 1:
        return []
    family = checkpoint.family  # whose names the project means, where there are several
    return sorted(found[0], key=lambda name: models.get_config(name).family != family)


def arguments_of(checkpoint: Checkpoint, config: ConfigDict) -> dict[str, Any]:
    """The constructor arguments that a checkpoint tells: it states them or shows them.

    A number of heads that goes with another width is not taken from a model's name: it
    remains to be said where the checkpoint does not.

    Raises:
        CheckpointError: if it shows other values than it states, listing all.
    """
    known = {**config.model.to_dict(), **checkpoint.arguments}
    try:
        shown = read_arguments(checkpoint.tensors, config.model_class, known)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.uri}: {error}") from error
    if shown.get("no_embed_class") != known.get("no_embed_class"):
        shown.pop("img_size", None)  # both were read of the same number of rows
    by_tensors = architectures.effective({**known, **shown})
    problems = [
        f"{name}={stated!r} stated, {shown[name]!r} by its tensors"
        for name, stated in checkpoint.arguments.items()
        if name in READ
        and name in shown
        and by_tensors[name] != architectures.effective(known)[name]
    ]
    if problems:
        raise CheckpointError(
            f"{checkpoint.stated_in}: {'; '.join(problems)}; expected: the same"
        )
    own = architectures.effective(config.model.to_dict())
    found = {k: v for k, v in shown.items() if k in (*READ, "num_heads")}
    if found.get("fc_norm") and not own["fc_norm"]:  # timm's rule, the other way round
        found.setdefault("global_pool", "avg")
    now = architectures.effective({**config.model.to_dict(), **found})
    of_model = {k: v for k, v in found.items() if now[k] != own[k]}
    if "fc_norm" in found:  # whatever pooling is asked for
        of_model["fc_norm"] = found["fc_norm"]
    if checkpoint.architecture or checkpoint.arguments:
        of_model = {**of_model, **checkpoint.arguments}
    other_width = shown.get("embed_dim", known["embed_dim"]) != known["embed_dim"]
    if other_width and not _tells_heads(checkpoint, shown):
        of_model["num_heads"] = UNSAID
    return of_model


def _tells_heads(checkpoint: Checkpoint, shown: Mapping[str, Any]) -> bool:
    """Whether a checkpoint states its number of heads, or its tensors show it."""
    return "num_heads" in shown or "num_heads" in checkpoint.arguments


def _decided(checkpoint: Checkpoint) -> str:
    """
    Raises:
        CheckpointError: if a checkpoint does not tell which model it is.
    """
    if same := same_models(checkpoint):
        return same[0]
    found = architectures.candidates(checkpoint.tensors, checkpoint.arguments)
    _, model_class = read_model_class(checkpoint.tensors)
    shown = read_arguments(checkpoint.tensors, model_class) if model_class else {}
    known = model_class and checkpoint.arguments and _tells_heads(checkpoint, shown)
    if known and not found:  # a model of no name of timm's
        return architectures.closest(checkpoint.tensors, checkpoint.arguments)
    could = listing((names[0] for names in found), 6) or "none that is known"
    raise CheckpointError(
        f"{checkpoint.uri} does not tell which model it is: {could} by its tensors; "
        "expected: --model=NAME"
    )


def note_of(config: ConfigDict) -> str:
    """What a configuration has that its model's name does not say; or ""."""
    own = models.get_config(config.architecture).model.to_dict()
    now = architectures.effective(own)
    differing = [
        f"{name}={value!r} ({own[name]!r})"
        for name, value in sorted(config.model.to_dict().items())
        if architectures.effective({**own, name: value}) != now
        and (name, value) != ("num_heads", UNSAID)
    ]
    if not differing:
        return ""
    return (
        f"told by the file: {', '.join(differing)}; in brackets what "
        f"{config.architecture} has"
    )


def untold(checkpoint: Checkpoint, config: ConfigDict) -> str:
    """What a plain file leaves to a configuration, for the report; or ""."""
    if checkpoint.architecture:
        return ""
    shown = read_arguments(checkpoint.tensors, config.model_class)
    left = [
        f"{name}={config.model[name]!r}"
        for name in ASSUMED
        if name in config.model
        and name not in shown
        and name not in checkpoint.arguments
        and config.model[name] != UNSAID
    ]
    if not left:
        return ""
    return f"not told by the file, taken to be: {', '.join(left)}"


def check_said(config: ConfigDict) -> None:
    """
    Raises:
        ValueError: if nothing says how many heads a model has.
    """
    if config.model.num_heads == UNSAID:
        own = models.get_config(config.architecture).model
        raise ValueError(
            f"a width of {config.model.embed_dim} found, {config.architecture} has "
            f"{own.embed_dim} with {own.num_heads} heads; expected: "
            "--config.model.num_heads=N, which no tensor tells"
        )


def _check_class(checkpoint: Checkpoint, config: ConfigDict) -> None:
    """
    Raises:
        CheckpointError: if the names are those of another class.
    """
    family, model_class = read_model_class(checkpoint.tensors)
    if model_class and model_class != config.model_class:
        raise CheckpointError(
            f"{checkpoint.uri}: tensors of a {model_class} ({family}) found, those of "
            f"a {config.model_class} expected, which {config.architecture} is"
        )
