"""What Keras users do with a model."""

import io

import keras
import numpy as np
import pytest
import some
import tensorflow as tf
from micro import MICRO, micro_config, random_tensors

import vit_tf
from vit_tf import mapping, models, proof, source
from vit_tf.layers.attention import Attention
from vit_tf.layers.mlp import Mlp

NAMES = [
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
]
RATES = dict(
    drop_rate=0.1, pos_drop_rate=0.1, patch_drop_rate=0.25, proj_drop_rate=0.1,
    attn_drop_rate=0.1, drop_path_rate=0.1,
)  # fmt: skip


def images(batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, 32, 32, 3), np.float32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arguments", [{}, RATES, {"img_size": (32, 32)}])
def test_the_keras_format_keeps_model_and_weights(tmp_path, name, arguments):
    model = models.build(micro_config(name, **arguments))
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded) is type(model)
    assert loaded.get_config() == model.get_config()
    for name, tensor in mapping.extract(model).items():
        np.testing.assert_array_equal(mapping.extract(loaded)[name], tensor)
    np.testing.assert_array_equal(loaded(images()), model(images()))


def test_get_config_has_every_argument_as_a_plain_value():
    config = micro_config(init_values=1e-5, fc_norm=True, drop_path_rate=0.1)
    found = models.build(config).get_config()
    for name, value in config.model.to_dict().items():
        expected = (value, value) if name in ("img_size", "patch_size") else value
        assert found[name] == expected
    clone = vit_tf.models.model_class("deit", "VisionTransformer").from_config(found)
    assert clone.get_config() == found


def test_the_summary_expands_blocks_down_to_their_projections():
    text = io.StringIO()
    model = models.build(micro_config())
    model.summary(
        expand_nested=True, line_length=120, print_fn=lambda line: text.write(line)
    )
    for name in ("patch_embed", "blocks.1", "attn", "qkv", "fc1", "head"):
        assert name in text.getvalue()
    assert "?" not in text.getvalue()  # every layer knows its output's shape


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_computes_in_half_and_keeps_float32(policy, name):
    config = micro_config(name)
    full = proof.filled(config, random_tensors(config), "float32")
    mixed = proof.filled(config, random_tensors(config), policy)
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    logits = mixed(images())
    assert logits.dtype == tf.float32  # not rounded once more
    outputs = vit_tf.record(mixed, images(), each=lambda name, output: output.dtype)
    halves = [n for n, dtype in outputs.items() if str(dtype) == policy[6:]]
    assert "blocks.1.attn.attn_drop" in halves
    assert "blocks.0.mlp.fc1" in halves
    difference = np.abs(logits - full(images()))
    epsilon = {"mixed_bfloat16": 2**-8, "mixed_float16": 2**-11}[policy]
    assert difference.max() < 16 * epsilon * np.abs(full(images())).max()


def test_the_global_policy_is_followed():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = vit_tf.create_model("deit_tiny_patch16_224", **MICRO)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.blocks[0].attn.qkv.compute_dtype == "bfloat16"


def test_a_model_is_a_layer_of_a_functional_model():
    backbone = models.build(micro_config(num_classes=0))
    inputs = keras.Input((32, 32, 3))
    features = backbone(inputs)
    assert features.shape == (None, 24)
    model = keras.Model(inputs, keras.layers.Dense(3)(features))
    assert model(images()).shape == (2, 3)
    np.testing.assert_array_equal(
        keras.Model(inputs, features)(images()), backbone(images())
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = mapping.extract(backbone)
    model.fit(images(), np.array([0, 1]), verbose=0)
    after = mapping.extract(backbone)
    assert all(np.any(after[name] != before[name]) for name in before)


@pytest.mark.parametrize("name", some.of(NAMES, ["deit_tiny_distilled_patch16_224"]))
def test_fit_lowers_the_loss_with_every_kind_of_dropout(name):
    model = models.build(micro_config(name, **RATES))
    labels = np.arange(8) % 2
    optimizer = keras.optimizers.Adam(3e-3)
    optimizer.build(model.trainable_variables)  # or the step would be traced twice
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    losses = model.fit(images(8), labels, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2


def test_distilled_training_runs_under_a_custom_loop():
    import tensorflow as tf

    model = models.build(micro_config("deit_tiny_distilled_patch16_224"))
    model.set_distilled_training()
    with tf.GradientTape() as tape:
        logits, distilled = model(images(), training=True)
        loss = tf.reduce_mean(logits**2) + tf.reduce_mean(distilled**2)
    gradients = tape.gradient(loss, model.trainable_weights)
    assert all(gradient is not None for gradient in gradients)


def test_a_new_model_is_initialised_as_timm_does():
    from vit_tf.reference import timm

    arguments = dict(depth=2, embed_dim=96, num_heads=3, init_values=1e-5)
    state = timm.create_model("vit_tiny_patch16_224", **arguments).state_dict()
    model = vit_tf.create_model("vit_tiny_patch16_224", **arguments)
    for name, tensor in mapping.extract(model).items():
        expected = state[name].numpy()
        assert tensor.std() == pytest.approx(expected.std(), rel=0.2, abs=1e-7), name
        limit = 5 * expected.std() / np.sqrt(expected.size) + 1e-6
        assert abs(tensor.mean() - expected.mean()) < 2 * limit, name


def test_layers_stand_alone():
    x = np.random.default_rng(0).standard_normal((2, 5, 24)).astype(np.float32)
    for layer in (Attention(num_heads=3), Mlp(hidden_features=48)):
        assert layer(x).shape == x.shape
        assert layer.compute_output_shape(x.shape) == x.shape
        clone = type(layer).from_config(layer.get_config())
        assert clone.get_config() == layer.get_config()


def test_a_conversion_leaves_initialisation_as_it_was():
    source.parameter_shapes(micro_config())
    weights = models.build(micro_config()).get_weights()
    assert all(np.isfinite(weight).all() for weight in weights)
    assert any(0.01 < weight.std() < 0.03 for weight in weights)
