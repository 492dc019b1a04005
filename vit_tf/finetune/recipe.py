"""What a recipe has to be, and the parts of a training that it describes."""

import keras
from ml_collections import ConfigDict

from vit_tf import training
from vit_tf.configs import finetune
from vit_tf.finetune.start import TRAIN_ONLY
from vit_tf.preprocessing import DataConfig

DTYPES = ("", "float32", "float64", "bfloat16", "mixed_bfloat16", "mixed_float16")


def check(recipe: ConfigDict) -> None:
    """That the numbers of a recipe can be; its parts check the others when made.

    Raises:
        ValueError: listing every field that is none of those expected.
    """
    _check_fields(recipe)
    modes = ("", *TRAIN_ONLY)
    least = {"epochs": 1, "batch_size": 1, "grad_accum_steps": 1}
    least |= dict.fromkeys(("seed", "lora", "freeze_layers", "mixup", "cutmix"), 0)
    expected = {
        **{n: (recipe[n] >= low, f"{low} or more") for n, low in least.items()},
        "val_share": (0 < recipe.val_share < 1, "between 0 and 1"),
        "smoothing": (0 <= recipe.smoothing < 1, "from 0 to below 1"),
        "drop": (0 <= recipe.drop < 1, "from 0 to below 1"),
        "drop_path": (0 <= recipe.drop_path < 1, "from 0 to below 1"),
        "dtype": (recipe.dtype in DTYPES, f"one of {DTYPES}"),
        "train_only": (recipe.train_only in modes, f"one of {modes}"),
        "opt_betas": (len(recipe.opt_betas) == 2, "two numbers"),
    }
    if recipe.lora and recipe.train_only:
        expected["train_only"] = (False, "'' with config.lora")
    if wrong := [
        f"config.{name}={recipe[name]!r} found, {text} expected"
        for name, (right, text) in expected.items()
        if not right
    ]:
        raise ValueError("; ".join(wrong))


def _check_fields(recipe: ConfigDict) -> None:
    """
    Raises:
        ValueError: listing the fields that are missing, or are none of a recipe's.
    """
    known = set(finetune.get_config())
    if differing := sorted(known ^ set(recipe)):
        raise ValueError(
            f"a recipe with other fields found: {', '.join(differing)}; expected: "
            "those of configs/finetune.py"
        )


def steps_of(recipe: ConfigDict, images: int) -> int:
    """How many batches an epoch has: whole ones, and whole updates, alone.

    Raises:
        ValueError: if there are too few images for one update.
    """
    update = recipe.batch_size * recipe.grad_accum_steps
    if images < update:
        raise ValueError(
            f"{images} images to train on found, {update} or more expected: "
            f"config.batch_size={recipe.batch_size} times "
            f"config.grad_accum_steps={recipe.grad_accum_steps}"
        )
    return images // update * recipe.grad_accum_steps


def transform_of(recipe: ConfigDict, data: DataConfig) -> training.TrainTransform:
    return training.TrainTransform(
        data,
        scale=tuple(recipe.scale),
        ratio=tuple(recipe.ratio),
        hflip=recipe.hflip,
        vflip=recipe.vflip,
        color_jitter=recipe.color_jitter or None,
        auto_augment=recipe.aa,
        interpolation=recipe.train_interpolation,
        re_prob=recipe.reprob,
        re_mode=recipe.remode,
        re_count=recipe.recount,
    )


def mixup_of(recipe: ConfigDict, num_classes: int) -> training.Mixup | None:
    if not (recipe.mixup or recipe.cutmix):
        return None
    return training.Mixup(
        recipe.mixup,
        recipe.cutmix,
        prob=recipe.mixup_prob,
        switch_prob=recipe.mixup_switch_prob,
        mode=recipe.mixup_mode,
        label_smoothing=recipe.smoothing,
        num_classes=num_classes,
    )


def loss_of(recipe: ConfigDict) -> keras.losses.Loss:
    """Of targets that are smoothed already."""
    if recipe.bce_loss:
        return training.BinaryCrossEntropy(target_threshold=recipe.bce_target_thresh)
    return keras.losses.CategoricalCrossentropy(from_logits=True)


def optimizer_of(
    recipe: ConfigDict, model: keras.Model, steps: int
) -> keras.optimizers.Optimizer:
    """For a model that is frozen as it is to be, and epochs of `steps` batches."""
    schedule = training.CosineSchedule(
        recipe.lr,
        recipe.epochs,
        steps // recipe.grad_accum_steps,
        warmup_epochs=recipe.warmup_epochs,
        warmup_lr=recipe.warmup_lr,
        min_lr=recipe.min_lr,
        step_on_epochs=not recipe.sched_on_updates,
    )
    return training.create_optimizer(
        model,
        recipe.opt,
        lr=schedule,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        betas=tuple(recipe.opt_betas),
        eps=recipe.opt_eps,
        layer_decay=recipe.layer_decay,
        clip_grad=recipe.clip_grad,
        grad_accum_steps=recipe.grad_accum_steps,
        model_ema_decay=recipe.model_ema_decay,
        model_ema_warmup=recipe.model_ema_warmup,
    )
