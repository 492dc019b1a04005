"""timm's side of what `vit_tf.explain` shows: attention, and its gradients."""

from unittest import mock

import numpy as np

from vit_tf import mapping, models, proof
from vit_tf.checkpoints.random import RandomTensors
from vit_tf.layers.initializers import skip_init
from vit_tf.reference import Reference, torch

ATTN_DROP = ".attn_drop"


def pair(config):
    """Our model and timm's, in float64, with the same random weights."""
    with skip_init():
        model = models.build(config, dtype="float64")
    shapes = {entry.name: entry.shape for entry in mapping.entries(model)}
    tensors = dict(RandomTensors(shapes, seed=0))
    mapping.assign(model, tensors)
    return model, proof.original(config, tensors, "float64")


def images_of(height: int, width: int, channels: int = 3, batch: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, height, width, channels))


def timm_attention(reference: Reference, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every attention's probabilities, by timm's name of its `attn_drop`."""
    outputs = reference.record(images)
    return {n: x for n, x in outputs.items() if n.endswith(ATTN_DROP)}


def timm_gradients(
    reference: Reference, images: np.ndarray, classes: list[int]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Those probabilities, and the gradient of the classes' scores for each."""
    found, hooks = {}, []
    for name, module in reference.module.named_modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
        if name.endswith(ATTN_DROP):
            hooks.append(module.register_forward_hook(_keep(found, name)))
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    in_double = mock.patch.object(torch.Tensor, "float", torch.Tensor.double)
    with in_double:  # as `Reference` has it: timm guards against half precision so
        logits = reference.module(torch.from_numpy(channels_first))
    score = sum(logits[i, k] for i, k in enumerate(classes))
    found = {name: x for name, x in found.items() if x.requires_grad}
    gradients = torch.autograd.grad(score, list(found.values()), allow_unused=True)
    for hook in hooks:
        hook.remove()
    attention = {name: x.detach().numpy() for name, x in found.items()}
    return attention, {
        name: np.zeros_like(attention[name]) if g is None else g.numpy()
        for name, g in zip(attention, gradients, strict=True)
    }


def _keep(found, name):
    def keep(module, inputs, output):
        found[name] = output

    return keep
