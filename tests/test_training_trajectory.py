"""Twenty steps of training: ours end where timm's end in torch."""

import numpy as np
import pytest
import some
from micro import micro_config, random_tensors
from training import batches, errors, fit, torch_loop

from vit_tf import models, proof
from vit_tf.training import CosineSchedule, create_optimizer

STEPS = 20
SMALL = {
    "vit_tiny_patch16_224": dict(depth=2),
    "deit_tiny_distilled_patch16_224": dict(depth=1),
    "cait_xxs24_224": dict(depth=1, depth_token_only=1),
    "swin_tiny_patch4_window7_224": dict(depths=(2, 1), num_heads=(1, 2)),
}
LR = 1e-3
RECIPE = dict(weight_decay=0.05, layer_decay=0.75)
SCHEDULE = dict(num_epochs=4, updates_per_epoch=5, warmup_epochs=1, min_lr=1e-5)
OTHERS = {
    "sgd": dict(opt="sgd", clip_grad=0.5),
    "lamb": dict(opt="lamb", grad_accum_steps=2, clip_grad=2.0),
}


def both(config, dtype: str, lr: float, schedule: dict, **recipe) -> tuple[dict, ...]:
    """The parameters before; after, ours; after, timm's."""
    tensors, data = random_tensors(config), batches(config, STEPS)
    model = proof.filled(config, tensors, dtype)
    optimizer = create_optimizer(model, lr=CosineSchedule(lr, **schedule), **recipe)
    found = fit(model, data, optimizer)
    copies = {name: tensor.copy() for name, tensor in tensors.items()}
    module = proof.original(config, copies, dtype).module  # which trains in place
    expected = torch_loop(module, data, lr=lr, schedule=schedule, **recipe)
    return tensors, found, expected


def by_gradient(parameters: dict) -> tuple[dict, dict]:
    """What has a gradient, and what has none.

    What is added to all logits before a softmax does nothing: the bias of a key, and of
    CaiT's heads. Its gradient is what rounding leaves, which Adam divides by its size.
    """
    trained, still = {}, {}
    for name, value in parameters.items():
        if name.endswith("qkv.bias"):
            query, still[name], values = np.split(value, 3)
            trained[name] = np.concatenate([query, values])
        elif name.endswith(("attn.k.bias", "attn.proj_l.bias")):
            still[name] = value
        else:
            trained[name] = value
    return trained, still


@pytest.mark.parametrize("name", SMALL)
def test_adamw_in_float64(name):
    config = models.small_config(name, drop_path_rate=0.0, **SMALL[name])
    before, found, expected = both(config, "float64", LR, SCHEDULE, **RECIPE)
    differences = errors(found, expected)
    assert max(differences.values()) < 1e-8, differences
    trained, still = (
        errors(*parts).values()
        for parts in zip(by_gradient(before), by_gradient(expected), strict=True)
    )
    assert max(still) < 1e-7 < 1e-5 < min(trained)


@pytest.mark.parametrize(
    "name", some.of(SMALL, ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
)
def test_adamw_in_float32(name):
    config = models.small_config(name, drop_path_rate=0.0, **SMALL[name])
    _, found, expected = both(config, "float32", LR, SCHEDULE, **RECIPE)
    differences = errors(by_gradient(found)[0], by_gradient(expected)[0])
    assert max(differences.values()) < 1e-4, differences


@pytest.mark.parametrize("recipe", OTHERS.values(), ids=OTHERS)
def test_other_optimizers_in_float64(recipe):
    schedule = {**SCHEDULE, "updates_per_epoch": 2}
    _, found, expected = both(
        micro_config(depth=1), "float64", 0.02, schedule, weight_decay=0.05, **recipe
    )
    differences = errors(found, expected)
    assert max(differences.values()) < 1e-8, differences
