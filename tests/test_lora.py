"""Low-rank adaptation, and the way back to a plain model."""

import keras
import numpy as np
import pytest

from vit_tf import mapping, proof
from vit_tf.training import create_optimizer, enable_lora, head, merge_lora


def trainable(model) -> set[str]:
    return {e.name for e in mapping.entries(model) if e.weight.trainable}


def test_lora_trains_its_products_and_merges_into_a_plain_model(config, tensors, model):
    images = proof.random_images(config)
    expected = model(images).numpy()
    enable_lora(model, rank=2, alpha=4.0, train=head(model))
    np.testing.assert_array_equal(model(images).numpy(), expected)
    projections = [f"blocks.{i}.attn.{p}" for i in range(2) for p in ("qkv", "proj")]
    products = {f"{p}.lora_{x}.weight" for p in projections for x in "AB"}
    assert trainable(model) == products | {"head.weight", "head.bias"}
    paths = {variable.path for variable in model.trainable_variables}
    assert len(paths) == len(products) + 2  # which an optimizer tells apart

    optimizer = create_optimizer(model, lr=1e-2, weight_decay=0.05, layer_decay=0.9)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    labels = np.arange(len(images))
    losses = [model.train_on_batch(images, labels) for _ in range(5)]
    assert losses[-1] < losses[0]

    merged = merge_lora(model)
    np.testing.assert_allclose(
        merged(images).numpy(), model(images).numpy(), rtol=1e-4, atol=1e-5
    )
    after = mapping.extract(merged)
    proof.original(config, after, "float32")  # timm's, strictly
    changed = {name for name in tensors if (after[name] != tensors[name]).any()}
    assert changed == {f"{p}.weight" for p in projections} | {
        "head.weight", "head.bias",
    }  # fmt: skip


def test_impossible_lora_is_an_error(model):
    with pytest.raises(ValueError, match="rank=0: expected at least 1"):
        enable_lora(model, 0)
    with pytest.raises(ValueError, match=r"'\*.attn.kv' fits no projection"):
        enable_lora(model, 2, layers=["*.attn.kv", "*.attn.qkv"])
    assert not any(".lora_" in name for name in trainable(model))
    enable_lora(model, 2)
    with pytest.raises(ValueError, match=r"blocks.0.attn.qkv has LoRA already"):
        enable_lora(model, 2)
