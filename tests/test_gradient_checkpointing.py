"""Blocks that are computed again train as those that are kept."""

import keras
import numpy as np
import pytest
from micro import random_tensors

from vit_tf import mapping, models, proof
from vit_tf.training import create_optimizer, set_grad_checkpointing

SMALL = {
    "cait_xxs24_224": dict(depth=1, depth_token_only=1),
    "swin_tiny_patch4_window7_224": dict(depths=(1,), num_heads=(2,)),
}


@pytest.mark.parametrize("name", SMALL)
def test_checkpointed_blocks_have_the_same_gradients(name):
    """What drops out drops again when it is computed again, and only once after."""
    drops = dict(proj_drop_rate=0.3, attn_drop_rate=0.2, drop_path_rate=0.4)
    config = models.small_config(name, **SMALL[name], **drops)
    tensors, ends = random_tensors(config), []
    images = proof.random_images(config)
    for enable in (False, True):
        model = proof.filled(config, tensors, "float64")
        set_grad_checkpointing(model, not enable)
        set_grad_checkpointing(model, enable)
        optimizer = create_optimizer(model, "momentum", lr=0.1)
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, dtype="float64"
        )
        model.compile(optimizer, loss, jit_compile=False)
        for _ in range(2):
            model.train_on_batch(images.astype("float64"), np.arange(len(images)))
        ends.append(mapping.extract(model))
    assert any((ends[0][n] != tensors[n]).any() for n in tensors)
    for name, value in ends[0].items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(ends[1][name], value, rtol=0, atol=1e-12 * scale)
