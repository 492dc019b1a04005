"""One mistake at a time, of those that ports make: each is caught, and named."""

import keras
import numpy as np
import pytest
from micro import micro_config, random_tensors

from vit_tf import pipeline, proof
from vit_tf.activations import replaced_calls
from vit_tf.parity import ParityError


def swap_norm_biases(block):
    beta1, beta2 = block.norm1.beta.numpy(), block.norm2.beta.numpy()
    block.norm1.beta.assign(beta2)
    block.norm2.beta.assign(beta1)


def tanh_gelu(block):
    block.mlp.act.activation = lambda x: keras.ops.gelu(x, approximate=True)


def keras_epsilon(block):
    block.norm2.eps = 1e-3


def untransposed_projection(block):
    block.attn.proj.kernel.assign(block.attn.proj.kernel.numpy().T)


def swap_q_and_k_of_one_head(block):
    kernel = block.attn.qkv.kernel.numpy()  # (C, 3C): q, k, v; each H x D
    C, D = block.attn.dim, block.attn.dim // block.attn.num_heads
    q, k = np.s_[:, D : 2 * D], np.s_[:, C + D : C + 2 * D]
    kernel[q], kernel[k] = kernel[k].copy(), kernel[q].copy()
    block.attn.qkv.kernel.assign(kernel)


MISTAKES = {
    swap_norm_biases: "norm1",
    tanh_gelu: "mlp.act",
    keras_epsilon: "norm2",
    untransposed_projection: "attn.proj",
    swap_q_and_k_of_one_head: "attn.qkv",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_caught_and_its_layer_named(mistake):
    config = micro_config()
    tensors = random_tensors(config)
    images = proof.random_images(config)
    reference = proof.timm_outputs(config, tensors, images, "float32")
    model = proof.filled(config, tensors, "float32")
    proof.compare_with_timm(config, reference, model, images, "float32")

    mistake(model.blocks[1])
    with pytest.raises(ParityError) as caught:
        proof.compare_with_timm(config, reference, model, images, "float32")
    assert f"the first is blocks.1.{MISTAKES[mistake]} (" in str(caught.value)


def test_a_mistake_in_the_backward_pass_alone_is_caught():
    """The forward pass is right, so only gradients can tell."""
    config = micro_config()
    tensors = random_tensors(config)
    model = proof.filled(config, tensors, "float64")
    images = proof.random_images(config)
    assert proof.compare_gradients(config, tensors, model, images).passed

    fc2 = model.blocks[0].mlp.fc2
    call = fc2.call

    def without_gradient(x, training=False):
        return call(keras.ops.stop_gradient(x), training=training)

    with replaced_calls({fc2: without_gradient}):
        report = proof.compare_gradients(config, tensors, model, images)
    assert report.first_divergence.name in ("cls_token", "pos_embed")
    assert any(d.name == "blocks.0.mlp.fc1.weight" for d in report.failures)
    assert not any(d.name.startswith("blocks.1.") for d in report.failures)


def test_no_bundle_is_written_of_a_model_that_differs(tmp_path, monkeypatch):
    from vit_tf.layers import activations

    monkeypatch.setitem(activations.ACTIVATIONS, "gelu", keras.activations.relu)
    with pytest.raises(ParityError, match=r"blocks\.0\.mlp\.act"):
        pipeline.convert(micro_config(), tmp_path / "out", checkpoint="random:0")
    assert list(tmp_path.iterdir()) == []
