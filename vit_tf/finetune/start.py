"""The model that a fine-tuning starts from."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from ml_collections import ConfigDict

from vit_tf import mapping, models, training
from vit_tf.adaptation import adapt
from vit_tf.checkpoints.tensor_names import classifiers
from vit_tf.export import bundle, timm_directory
from vit_tf.layers.initializers import skip_init
from vit_tf.preprocessing import DataConfig

TRAIN_ONLY = {
    "head": (training.head,),
    "attention": (training.attention, training.head),
    "norms": (training.norms, training.head),
}


@dataclasses.dataclass(frozen=True)
class Start:
    """A model to train, and what its bundle says.

    Attributes:
        model: It has the bundle's weights, and a head for the data's classes.
        described: What the new bundle's `config.json` is to say: the old one's, with
            these classes.
        data: How images are prepared.
        note: What became of the head.
    """

    model: keras.Model
    described: Mapping[str, Any]
    data: DataConfig
    note: str


def class_order(path: Path, class_names: Sequence[str]) -> tuple[str, ...]:
    """The data's classes in the order of the bundle's, if they are the same.

    Raises:
        BundleError: if the folder is not a bundle.
    """
    own = bundle.described(path).get("label_names") or ()
    same = len(own) == len(class_names) and set(own) == set(class_names)
    return tuple(own if same else class_names)


def start(path: Path, recipe: ConfigDict, class_names: Sequence[str]) -> Start:
    """Builds the model, fills it, and freezes what the recipe says.

    The head stays where the bundle's labels are the data's, in the same order; else it
    is drawn anew, by the recipe's seed. Under a strategy's scope its variables are that
    strategy's.

    Args:
        path: The bundle.
        recipe: As `configs/finetune.py` gives it.
        class_names: The data's.

    Raises:
        BundleError: if the folder is not a bundle, or does not say how images are
            prepared.
        ValueError: if the recipe names what the model does not have, or timm's
            config.json cannot state the model, as which it is to be written.
    """
    data = bundle.read_data_config(path)
    told = bundle.described(path)
    rates = {"drop_rate": recipe.drop, "drop_path_rate": recipe.drop_path}
    wanted = {**told["model"], "num_classes": len(class_names), **rates}
    keeps_head = list(class_names) == (told.get("label_names") or [])
    model = _filled(path, wanted, recipe, keeps_head=keeps_head)
    described = {
        **told,
        "model": wanted,
        "label_names": list(class_names),
        "tag": "",  # whose weights these are no more
        "origin": {},
    }
    tensors = mapping.extract(model)
    timm_directory.timm_config(model, described, tensors)  # that it can be written
    _choose(model, recipe)
    note = (
        "head: the bundle's, of the same classes"
        if keeps_head
        else f"head: {len(class_names)} classes of the data, drawn anew (seed "
        f"{recipe.seed}) and fine-tuned"
    )
    return Start(model, described, data, note)


def _filled(
    path: Path, wanted: Mapping[str, Any], recipe: ConfigDict, *, keeps_head: bool
) -> keras.Model:
    """The bundle's model with other arguments, and its weights."""
    told = bundle.described(path)
    stored, tensors = dict(told["model"]), mapping.extract(bundle.load(path))
    if not keeps_head:
        heads = tuple(f"{head}." for head in classifiers(told["model_class"]))
        tensors = {n: t for n, t in tensors.items() if not n.startswith(heads)}
        stored["num_classes"] = 0
    tensors, _ = adapt(tensors, stored, wanted, told["model_class"], seed=recipe.seed)
    with skip_init():
        model = models.build(
            ConfigDict({**told, "model": wanted}), dtype=recipe.dtype or told["dtype"]
        )
    mapping.assign(model, tensors)
    return model


def _choose(model: keras.Model, recipe: ConfigDict) -> None:
    """Freezes, adds LoRA, and checkpoints blocks, as the recipe says."""
    if recipe.train_only:
        chosen = [names(model) for names in TRAIN_ONLY[recipe.train_only]]
        training.train_only(model, [name for names in chosen for name in names])
    if recipe.lora:
        alpha = recipe.lora_alpha
        training.enable_lora(
            model, recipe.lora, alpha=alpha, train=training.head(model)
        )
    training.freeze(model, list(recipe.freeze))
    if recipe.freeze_layers:
        training.freeze(model, training.layers_below(model, recipe.freeze_layers))
    if recipe.grad_checkpointing:
        training.set_grad_checkpointing(model)
