import keras
import numpy as np
import pytest
import tensorflow as tf

import vit_tf
from vit_tf import proof
from vit_tf.activations import outputs, record, watch
from vit_tf.mapping import MappingError


def test_record_has_every_layer_that_computes_by_timm_name(config, model):
    found = record(model, proof.random_images(config))
    assert found["blocks.1.attn.attn_drop"].shape == (2, 3, 5, 5)
    assert found["blocks.0.mlp.fc1"].shape == (2, 5, 96)
    assert found["patch_embed.proj"].shape == (2, 2, 2, 24)
    assert found["logits"].shape == (2, 7)
    assert "blocks.0.ls1" not in found  # an identity: nothing to compare
    np.testing.assert_allclose(found["blocks.0.attn.attn_drop"].sum(-1), 1, rtol=1e-6)


def test_what_is_recorded_may_be_changed(config, model):
    found = record(model, proof.random_images(config))
    before = found["logits"].copy()
    for name in found.keys() - {"logits"}:
        found[name][:] = 0
    np.testing.assert_array_equal(found["logits"], before)


def test_record_keeps_what_it_is_asked_to(config, model):
    shapes = record(model, proof.random_images(config), each=lambda n, o: o.shape)
    assert shapes["norm"] == (2, 5, 24)


def test_a_model_is_as_before_once_it_was_watched(config, model):
    images = proof.random_images(config)
    before = model(images).numpy()
    record(model, images)
    assert not any("call" in vars(layer) for layer in model._flatten_layers())
    np.testing.assert_array_equal(model(images).numpy(), before)


def test_a_model_is_as_before_if_watching_fails(config, model):
    def fail(name, output):
        raise RuntimeError(name)

    with pytest.raises(RuntimeError, match=r"patch_embed\.proj"):
        record(model, proof.random_images(config), each=fail)
    assert not any("call" in vars(layer) for layer in model._flatten_layers())


def test_outputs_runs_in_a_graph_of_any_batch_size_as_eagerly(config, model):
    names = ["blocks.1.attn.attn_drop", "blocks.0.mlp.fc1", "logits"]
    function = tf.function(
        outputs(model, names),
        input_signature=[tf.TensorSpec((None, 32, 32, 3))],
    )
    images = proof.random_images(config)
    recorded = record(model, images)
    for batch in (1, 2):
        found = function(tf.constant(images[:batch]))
        assert list(found) == sorted(names) or list(found) == names
        for name in names:
            np.testing.assert_allclose(
                found[name], recorded[name][:batch], rtol=1e-4, atol=1e-5
            )


def test_a_layer_that_is_watched_alone_has_timms_axes(config, model):
    name, images = "blocks.0.mlp.fc1", proof.random_images(config)
    found = {}
    with watch(model, found.__setitem__, lambda layer: layer == name):
        model(images, training=False)
    assert list(found) == [name]
    np.testing.assert_array_equal(found[name], record(model, images)[name])


def test_outputs_can_be_differentiated(config, model):
    images = tf.constant(proof.random_images(config))
    with tf.GradientTape() as tape:
        tape.watch(images)
        attention = outputs(model, ["blocks.1.attn.attn_drop"])(images)
        score = tf.reduce_sum(tf.square(attention["blocks.1.attn.attn_drop"]))
    assert np.any(tape.gradient(score, images).numpy())


def test_an_unknown_layer_is_an_error_that_names_the_closest(model):
    with pytest.raises(KeyError, match=r"blocks\.1\.atn.*blocks\.1\.attn"):
        outputs(model, ["blocks.1.atn"])


def test_a_layer_that_computes_nothing_is_no_layer_to_ask_for(model):
    with pytest.raises(KeyError, match=r"blocks\.0\.ls1"):
        outputs(model, ["blocks.0.ls1"])


def test_one_name_is_a_name(config, model):
    assert list(outputs(model, "norm")(proof.random_images(config))) == ["norm"]


def test_a_model_around_ours_is_an_error(config, model):
    inputs = keras.Input((32, 32, 3))
    outer = keras.Model(inputs, keras.layers.Dense(2)(model(inputs)))
    with pytest.raises(MappingError, match="was not built by"):
        record(outer, proof.random_images(config))
    assert len(record(model, proof.random_images(config))) > 30


def test_the_library_has_both_at_its_top():
    assert vit_tf.record is record
    assert vit_tf.outputs is outputs
