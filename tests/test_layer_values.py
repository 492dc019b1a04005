"""How much the layers of a model give, said before it is built."""

import pytest

import vit_tf
from vit_tf import models, proof
from vit_tf.checkpoints.random import RandomTensors
from vit_tf.layer_values import layer_values
from vit_tf.source import parameter_shapes


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "cait_xxs24_224",
        "swin_tiny_patch4_window7_224",
        "swinv2_tiny_window8_256",
        "vit_small_r26_s32_224",
        "vit_small_resnet26d_224",
        "vit_tiny_r_s16_p8_224",
    ],
)
def test_it_is_about_what_timms_layers_give(name):
    config = vit_tf.get_config(name)
    config.parity.images = 1
    tensors = dict(RandomTensors(parameter_shapes(config), 0))
    images = proof.random_images(config)
    given = proof.timm_outputs(config, tensors, images, "float32")
    values = layer_values(config)
    total = sum(output.size for output in given.values())
    assert 0.5 * total < values.total < 2 * total
    attention = sum(given[n].size for n in given if n.endswith(".attn_drop"))
    assert 0.5 * attention < values.attention < 2 * attention


def test_every_architecture_has_an_estimate():
    for name in models.list_models():
        config = models.get_config(name)
        values = layer_values(config)
        assert values.of_block > values.attention / values.depth > 0
        assert (values.backbone > 0) == (config.family == "vision_transformer_hybrid")
