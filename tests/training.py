"""The same training in timm and here: weights, batches, loss, optimizer, schedule."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

from vit_tf import mapping, models
from vit_tf.reference import _precision, torch

Data = tuple[np.ndarray, np.ndarray]  # (steps, B, H, W, C) float64, (steps, B)


def batches(config, steps: int, size: int = 4) -> Data:
    rng = np.random.default_rng(0)
    shape = (steps, size, *models.input_shape(config))
    labels = rng.integers(0, config.model.num_classes, (steps, size))
    return rng.standard_normal(shape), labels


def fit(
    model: keras.Model,
    data: Data,
    optimizer: keras.optimizers.Optimizer,
    **arguments: Any,
) -> dict[str, np.ndarray]:
    """Our parameters after `fit`, by timm's names."""
    images, labels = data
    dtype = model.variable_dtype
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)
    model.compile(optimizer, loss, **{"jit_compile": False, **arguments})
    stream = tf.data.Dataset.from_tensor_slices((images.astype(dtype), labels))
    model.fit(stream, verbose=0)
    return mapping.extract(model)


def torch_loop(
    module: torch.nn.Module,
    data: Data,
    *,
    opt: str = "adamw",
    schedule: Mapping[str, Any] | None = None,
    clip_grad: float | None = None,
    grad_accum_steps: int = 1,
    after_update: Callable[[int], None] = lambda number: None,
    **recipe: Any,
) -> dict[str, np.ndarray]:
    """timm's parameters after the loop of its train.py."""
    dtype = next(module.parameters()).dtype
    optimizer = create_optimizer_v2(module, opt, **recipe)
    scheduler = None
    if schedule is not None:
        scheduler, _ = create_scheduler_v2(optimizer, **schedule)
    module.train()
    for step, (images, labels) in enumerate(zip(*data, strict=True), 1):
        inputs = torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype)
        with _precision(dtype):
            logits = module(inputs)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        (loss / grad_accum_steps).backward()
        number, rest = divmod(step, grad_accum_steps)
        if rest:
            continue
        if clip_grad is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), clip_grad)
        optimizer.step()
        optimizer.zero_grad()
        after_update(number)
        if scheduler is not None:
            scheduler.step_update(number)
            epoch, rest = divmod(number, schedule["updates_per_epoch"])
            if not rest:
                scheduler.step(epoch)
    return {name: v.numpy().copy() for name, v in module.state_dict().items()}


def errors(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Of each parameter the largest error, relative to its largest value."""
    assert found.keys() == expected.keys()
    return {
        name: float(np.abs(found[name] - value).max() / np.abs(value).max())
        for name, value in expected.items()
    }
