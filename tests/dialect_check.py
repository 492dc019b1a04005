"""A dialect compared with an original's own forward pass."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import vit_tf
from vit_tf import proof
from vit_tf.checkpoints import dialects
from vit_tf.checkpoints.dialects.dialect import Translation
from vit_tf.checkpoints.random import RandomTensors
from vit_tf.reference import torch

SIZE = 32  # pixels, height and width


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """The module in double precision, every parameter drawn anew; buffers stay."""
    parameters = dict(module.named_parameters())
    shapes = {name: tuple(p.shape) for name, p in parameters.items()}
    with torch.no_grad():
        for name, values in RandomTensors(shapes, 0).items():
            parameters[name].copy_(torch.from_numpy(values))
    return module.double().eval()


def tensors_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """What the module's checkpoint holds."""
    return {name: value.numpy() for name, value in module.state_dict().items()}


def translated(
    tensors: Mapping[str, np.ndarray], config: Mapping[str, Any] | None = None
) -> Translation:
    """By the one dialect that fits, every tensor accounted for."""
    fitting = [d for d in dialects.DIALECTS if d.fits(tensors)]
    assert len(fitting) == 1
    translation = fitting[0].translate(tensors, config or {})
    used = translation.tensors.sources
    assert used | set(translation.left_out) == set(tensors)
    assert all(translation.left_out.values())
    return translation


def images(channels_first: bool = False) -> Any:
    values = np.random.default_rng(1).standard_normal((2, SIZE, SIZE, 3))
    if channels_first:
        return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))
    return values


def assert_same(
    original: Any, translation: Translation, name: str, **arguments: Any
) -> None:
    """Our model gives what the original does, in float64.

    Args:
        original: What gives logits, or features, of images.
        translation: Of its checkpoint.
        name: An architecture of the same family.
        **arguments: What shapes tell of the constructor's arguments.
    """
    arguments = {"img_size": SIZE, **arguments, **translation.arguments}
    config = vit_tf.get_config(name, **arguments)
    if translation.family:
        assert config.family in (translation.family, "deit")
    model = proof.filled(config, translation.tensors, "float64")
    with torch.no_grad():
        expected = original(images(channels_first=True)).numpy()
    found = model(images()).numpy()
    assert found.shape == expected.shape
    error = np.abs(found - expected).max()
    assert error == pytest.approx(0, abs=1e-10 * np.abs(expected).max())


def assert_equal(
    found: Mapping[str, np.ndarray], expected: Mapping[str, torch.Tensor]
) -> None:
    """The same tensors by the same names, bit for bit."""
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        array = tensor.detach().numpy()
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)
