import keras
import numpy as np
import pytest
from micro import micro_config, random_tensors

from vit_tf import mapping, models, proof
from vit_tf.mapping import MappingError, assign, entries, extract
from vit_tf.reference import Reference, timm, timm_arguments, torch

NAMES = [
    "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
    "vit_base_patch16_reg4_gap_256",
]


@pytest.mark.parametrize("name", NAMES)
def test_extract_is_the_inverse_of_assign_bitwise(name):
    config = micro_config(name)
    tensors = random_tensors(config)
    extracted = extract(proof.filled(config, tensors, "float32"))
    assert extracted.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert extracted[key].tobytes() == tensor.tobytes(), key
        assert extracted[key].shape == tensor.shape


@pytest.mark.parametrize("name", NAMES)
def test_timm_loads_what_is_extracted(name):
    config = micro_config(name)
    model = proof.filled(config, random_tensors(config), "float32")
    state = {k: torch.from_numpy(v.copy()) for k, v in extract(model).items()}
    original = timm.create_model(name, **timm_arguments(config.model))
    original.load_state_dict(state, strict=True)
    reference = Reference(name, extract(model), config.model.to_dict())
    images = proof.random_images(config)
    logits = original.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_array_equal(logits.detach().numpy(), reference.logits(images))


def test_every_problem_is_listed_and_nothing_assigned(model, tensors):
    before = extract(model)
    bad = {name: tensor + 1 for name, tensor in tensors.items()}
    del bad["norm.bias"], bad["blocks.0.attn.proj.weight"]
    bad["head.extra"] = np.zeros(3)
    bad["pos_embed"] = np.zeros((1, 9, 24))
    bad["head.weight"] = bad["head.weight"].T
    with pytest.raises(MappingError) as caught:
        assign(model, bad)
    assert str(caught.value) == (
        "the checkpoint does not fit deit_tiny_patch16_224 (5 problems):\n"
        " ! head.weight: shape (24, 7) found, (7, 24) expected\n"
        " ! pos_embed: shape (1, 9, 24) found, (1, 5, 24) expected\n"
        " + head.extra: in the checkpoint only\n"
        " - blocks.0.attn.proj.weight: in the model only\n"
        " - norm.bias: in the model only"
    )
    for name, tensor in extract(model).items():
        np.testing.assert_array_equal(tensor, before[name])


def test_an_exemption_is_explicit_and_must_exempt_something(model, tensors):
    assign(model, {**tensors, "mask_token": np.zeros(1)}, unused=["mask_token"])
    with pytest.raises(MappingError, match=r" \? mask_token: exempted, not there"):
        assign(model, tensors, unused=["mask_token"])


def test_tensors_are_not_changed_or_kept(model, tensors):
    copies = {name: tensor.copy() for name, tensor in tensors.items()}
    for tensor in tensors.values():
        tensor.setflags(write=False)
    assign(model, tensors)
    for weight in model.trainable_weights:
        weight.assign_add(keras.ops.ones_like(weight))
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, copies[name])


def test_names_do_not_depend_on_where_the_model_was_built():
    class Outer(keras.Model):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def build(self, shape):
            self.inner.build(shape)

        def call(self, x):
            return self.inner(x)

    config = micro_config()
    expected = [entry.name for entry in entries(models.build(config))]
    cls = models.model_class(config.family, config.model_class)
    inner = cls(**config.model.to_dict(), name="inner")
    Outer(inner).build((None, 32, 32, 3))
    assert [entry.name for entry in entries(inner)] == expected


def test_weights_of_the_same_name_are_an_error(monkeypatch, model):
    layers = [
        (layer, name.replace("blocks.1", "blocks.0"))
        for layer, name in mapping.named_layers(model)
    ]
    monkeypatch.setattr(mapping, "named_layers", lambda model: layers)
    with pytest.raises(MappingError, match=r"several weights.*blocks\.0\.attn"):
        entries(model)


def test_a_keras_layer_without_a_rule_is_an_error(monkeypatch, model):
    rules = dict(mapping.LAYOUTS)
    del rules[keras.layers.Dense]
    monkeypatch.setattr(mapping, "LAYOUTS", rules)
    with pytest.raises(MappingError, match=r"no rule for Dense\.kernel"):
        entries(model)
