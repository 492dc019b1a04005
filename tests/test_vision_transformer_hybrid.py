"""What is particular to hybrids: their networks, and statistics that training moves."""

import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from micro import random_tensors

import vit_tf
from vit_tf import mapping, models, proof, source
from vit_tf.export import saved_model
from vit_tf.layers.conv import Conv2d
from vit_tf.layers.max_pool import MaxPool2d
from vit_tf.layers.norm_act import BatchNormAct2d, GroupNormAct
from vit_tf.layers.std_conv import StdConv2dSame
from vit_tf.reference import timm, timm_arguments, torch

pytestmark = pytest.mark.usefixtures("graphs_as_traced")
HYBRIDS = timm.list_models(module="vision_transformer_hybrid")
R26, RESNET, STEM, MCI = (
    "vit_small_r26_s32_224",
    "vit_small_resnet26d_224",
    "vit_tiny_r_s16_p8_224",
    "vit_base_mci_224",
)
KINDS = [R26, RESNET, STEM, MCI]


def small(name: str, **arguments):
    """One block instead of two in each stage: where depth does not matter."""
    config = models.small_config(name)
    layers = (1,) * min(len(config.model.backbone_layers), 2)
    channels = config.model.backbone_channels
    if layers:
        channels = channels[:2]
    shallow = dict(backbone_layers=layers, backbone_channels=channels, depth=1)
    return models.small_config(name, **{**shallow, **arguments})


def check_layers(config) -> None:
    tensors, images = random_tensors(config), proof.random_images(config)
    reference = proof.timm_outputs(config, tensors, images, "float64")
    model = proof.filled(config, tensors, "float64")
    [report] = proof.compare_with_timm(config, reference, model, images, "float64")
    assert report.passed


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def check_layer(layer, module, x: np.ndarray) -> None:
    """A layer of ours against timm's, both with the same random weights."""
    rng = np.random.default_rng(1)
    layer.build((None, *x.shape[1:]))
    for weight in layer.weights:
        if weight.name != "num_batches_tracked":
            weight.assign(rng.integers(32, 96, weight.shape) / 64)
    for name, tensor in module.double().state_dict().items():
        weight = next(
            w
            for w in layer.weights
            if name in (w.name, {"kernel": "weight"}.get(w.name))
        )
        value = np.array(weight)
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
        tensor.copy_(torch.from_numpy(value))
    with torch.inference_mode():
        expected = module.eval()(channels_first(x)).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-13)
    assert layer.compute_output_shape(x.shape) == expected.shape


@pytest.mark.parametrize("name", HYBRIDS)
def test_the_network_is_the_one_that_timm_builds(name, monkeypatch):
    """Every module with its sizes, strides and paddings, as torch writes them."""
    module = sys.modules[timm.model_entrypoint(name).__module__]
    built = []

    def keep(variant, backbone, embed_args=None, **kwargs):
        built.append((backbone, embed_args or {}))

    monkeypatch.setattr(module, "_create_vision_transformer_hybrid", keep)
    with torch.device("meta"):
        module.__dict__[name]()
        [(expected, embed_args)] = built
        arguments = timm_arguments(vit_tf.get_config(name).model.to_dict())
    given = dict(arguments["embed_layer"].keywords)
    found = given.pop("backbone")
    assert str(found) == str(expected)
    assert given == embed_args
    epsilons = [
        [m.eps for m in network.modules() if hasattr(m, "eps")]
        for network in (found, expected)
    ]
    assert epsilons[0] == epsilons[1]


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (7, 10)])
@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (1, 2)])
def test_standardised_convolutions_are_timms(size, kernel, stride):
    x = np.random.default_rng(0).standard_normal((2, *size, 3))
    layer = StdConv2dSame(5, kernel, stride, eps=1e-8, dtype="float64")
    module = timm.layers.StdConv2dSame(3, 5, kernel, stride=stride, eps=1e-8)
    check_layer(layer, module, x)


@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_and_poolings_pad_as_torchs_do(size, stride):
    """Of few digits, so that sums are the same in any order; below zero."""
    x = np.random.default_rng(0).integers(-512, -128, (2, *size, 3)) / 64
    layer = Conv2d(5, 3, stride=stride, padding=1, dtype="float64")
    check_layer(layer, torch.nn.Conv2d(3, 5, 3, stride, padding=1), x)
    layer = MaxPool2d(3, stride=stride, padding=1, dtype="float64")
    check_layer(layer, torch.nn.MaxPool2d(3, stride, padding=1), x)


@pytest.mark.parametrize("apply_act", [True, False])
def test_norms_are_timms_far_from_zero(apply_act):
    x = np.random.default_rng(0).standard_normal((2, 5, 4, 12)) * 3 + 7
    layer = GroupNormAct(4, apply_act=apply_act, dtype="float64")
    check_layer(layer, timm.layers.GroupNormAct(12, 4, apply_act=apply_act), x)
    layer = BatchNormAct2d(apply_act=apply_act, dtype="float64")
    check_layer(layer, timm.layers.BatchNormAct2d(12, apply_act=apply_act), x)


@pytest.mark.parametrize("name", [R26, RESNET, STEM])
def test_odd_sizes_are_padded_as_timms(name):
    """Every convolution and pooling sees odd and even sizes."""
    patch = models.small_config(name).model.patch_size
    check_layers(small(name, img_size=(4 * patch * 3 - 1, 4 * patch * 5 - 3)))


@pytest.mark.parametrize("in_chans", [1, 4])
def test_channels_are_timms(in_chans):
    check_layers(small(RESNET, in_chans=in_chans))


@pytest.mark.parametrize("name", [RESNET, MCI])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_moves_the_statistics_as_torch_does(name, dtype):
    config = small(name)
    tensors, images = random_tensors(config), proof.random_images(config)
    given = {key: tensor.copy() for key, tensor in tensors.items()}
    reference = proof.original(config, tensors, dtype)
    reference.module.train()
    model = proof.filled(config, tensors, dtype)
    step = tf.function(lambda x: model(x, training=True))
    tolerance = {"float32": 1e-5, "float64": 1e-13}[dtype]
    for _ in range(2):
        expected = reference.logits(images.astype(dtype))
        found = step(tf.constant(images, dtype))
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    state = reference.module.state_dict()
    found = mapping.extract(model)
    moved = {key for key in found if not np.array_equal(found[key], given[key])}
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    if dtype == "float32":
        assert moved == {key for key in found if key.endswith(kinds)}
    for key, tensor in state.items():
        np.testing.assert_allclose(
            found[key], tensor.numpy(), rtol=tolerance, atol=tolerance, err_msg=key
        )
    for key, tensor in tensors.items():  # what was given is as it was
        np.testing.assert_array_equal(tensor, given[key])


@pytest.mark.parametrize("name", [RESNET, MCI])
def test_gradients_are_those_of_parameters_alone(name):
    config = small(name)
    tensors, images = random_tensors(config), proof.random_images(config)
    model = proof.filled(config, tensors, "float64")
    report = proof.compare_gradients(config, tensors, model, images)
    report.check()
    compared = {diff.name for diff in report.layers}
    assert tensors.keys() - compared == {
        entry.name for entry in mapping.entries(model) if not entry.weight.trainable
    }


def test_tensors_come_back_bitwise_integers_too():
    config = small(RESNET)
    tensors = random_tensors(config)
    found = mapping.extract(proof.filled(config, tensors, "float32"))
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)
    count = tensors["patch_embed.backbone.bn1.num_batches_tracked"]
    assert (count.dtype, count.shape) == (np.dtype("int64"), ())
    variances = [t for name, t in tensors.items() if name.endswith("running_var")]
    assert len(variances) == 11
    assert all(variance.min() > 0 for variance in variances)


@pytest.mark.parametrize("name", KINDS)
def test_what_starts_from_zero_starts_from_zero_in_timm(name):
    config = small(name)
    original = timm.create_model(name, **timm_arguments(config.model.to_dict()))
    state = original.state_dict()
    found = mapping.extract(models.build(config))
    assert {key for key, tensor in found.items() if not tensor.any()} == {
        key for key, tensor in state.items() if not tensor.any()
    }


@pytest.mark.parametrize("name", KINDS)
def test_a_keras_file_gives_the_same_model(name, tmp_path):
    config = small(name)
    model = proof.filled(config, random_tensors(config), "float32")
    images = proof.random_images(config)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), model(images))
    found = json.loads(json.dumps(loaded.get_config()))  # plain values
    again = vit_tf.get_config(name, **{key: found[key] for key in config.model})
    shapes = source.parameter_shapes
    assert shapes(again) == shapes(config)
    assert found["backbone"] == config.model.backbone
    assert found["backbone_layers"] == list(config.model.backbone_layers)


def test_a_saved_model_keeps_and_moves_the_statistics(tmp_path):
    config = small(RESNET)
    model = proof.filled(config, random_tensors(config), "float32")
    images = tf.constant(proof.random_images(config))
    saved_model.save(model, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    assert len(loaded.variables) == len(model.variables)
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    for training in (False, True, False):  # the last with other statistics
        found = loaded(images, training=training)
        expected = model(images, training=training)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    name = "patch_embed.backbone.bn1.num_batches_tracked"
    assert int(loaded.weights[name]) == int(mapping.extract(model)[name])


@pytest.mark.parametrize("name", [R26, RESNET])
def test_repeated_blocks_of_the_network_are_shared(name, tmp_path):
    config = small(name, backbone_layers=(1, 4))
    model = proof.filled(config, random_tensors(config), "float32")
    groups = [[block.path for block in group] for group in model.repeated_blocks]
    assert [len(group) for group in groups] == [3, 1]
    assert all("backbone/" in path for path in groups[0])
    images = tf.constant(proof.random_images(config))
    saved_model.save(model, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    np.testing.assert_allclose(loaded(images), model(images), rtol=0, atol=1e-5)
    found = loaded.signatures["attention"](images)
    assert list(found) == ["blocks.0.attn.attn_drop"]


@pytest.mark.parametrize(
    ("name", "options"),
    [(R26, {}), (STEM, {"dynamic_img_pad": True}), (MCI, {"class_token": False})],
)
def test_images_of_any_size_are_taken_as_timm_takes_them(name, options):
    if not options.get("class_token", True):
        options = {**options, "global_pool": "avg"}
    config = small(name, dynamic_img_size=True, **options)
    tensors = random_tensors(config)
    reference = proof.original(config, tensors, "float64")
    model = proof.filled(config, tensors, "float64")
    unknown = tf.TensorSpec((None, None, None, 3), "float64")
    graph = tf.function(model, input_signature=[unknown])
    for size in ((64, 64), (96, 160)):
        images = np.random.default_rng(0).standard_normal((2, *size, 3))
        expected = reference.logits(images)
        np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-10)
        np.testing.assert_allclose(graph(images), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", KINDS)
def test_xla_and_half_precision_give_the_same(name):
    config = small(name)
    tensors, images = random_tensors(config), proof.random_images(config)
    model = proof.filled(config, tensors, "float32")
    expected = model(images)
    compiled = tf.function(lambda x: model(x), jit_compile=True)
    np.testing.assert_allclose(compiled(images), expected, rtol=0, atol=1e-5)
    for policy, tolerance in (("mixed_bfloat16", 0.1), ("mixed_float16", 0.01)):
        found = proof.filled(config, tensors, policy)(images)
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (R26, {"backbone": "vgg"}, "backbone='vgg': expected one of"),
        (R26, {"backbone_layers": (1, 1, 1)}, "expected backbone_channels for each"),
        (R26, {"backbone_layers": (1, 0)}, "each number 1 or more"),
        (STEM, {"backbone_channels": (96,)}, "stem alone"),
        (RESNET, {"backbone_layers": ()}, "one to four stages"),
        (MCI, {"backbone_channels": (6, 24)}, "three backbone_channels"),
        (MCI, {"backbone_layers": (1,)}, "conv_stem.* backbone_layers=.., and three"),
        (R26, {"backbone_channels": (120, 120)}, "120 channels .* into 32 groups"),
        (R26, {"patch_size": 5}, "expected whole patches of .5, 5."),
        (R26, {"proj": False}, "width 256, and tokens of 24"),
        (R26, {"embed_norm_layer": "LayerNorm"}, "a hybrid takes none"),
        (R26, {"backbone_layers": ("a",)}, "backbone_layers=.* found"),
    ],
)
def test_impossible_arguments_are_errors(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build(small(name, **arguments))


def test_feature_maps_have_the_size_that_the_network_gives():
    """timm reckons with whole steps, and raises an error at these sizes."""
    model = models.build(small(R26, dynamic_img_size=True))
    rows, columns = 100, 70
    maps = model.forward_intermediates(
        np.zeros((3, rows, columns, 3), np.float32), intermediates_only=True
    )
    step = 2**3
    assert {m.shape for m in maps} == {(3, -(-rows // step), -(-columns // step), 24)}


@pytest.mark.parametrize("pixels", [30, 40])
def test_padded_features_have_the_positions_of_whole_patches_as_in_timm(pixels):
    config = small(
        STEM, img_size=(pixels, 64), dynamic_img_size=True, dynamic_img_pad=True
    )
    original = proof.original(config, random_tensors(config), "float64")
    model = models.build(config)
    assert model.patch_embed.grid_size == original.module.patch_embed.grid_size


def test_a_batch_norm_does_not_train_on_a_single_value():
    model = models.build(small(RESNET, img_size=(8, 8)))
    images = np.zeros((1, 8, 8, 3), np.float32)
    with pytest.raises(ValueError, match="more than one value per channel"):
        model(images, training=True)
    assert np.isfinite(model(images)).all()


def test_a_wrong_image_size_is_an_error_that_shows_both():
    model = models.build(small(R26))
    with pytest.raises(ValueError, match="48 x 32 pixels given to a model of 64 x 96"):
        model(np.zeros((1, 48, 32, 3), np.float32))
