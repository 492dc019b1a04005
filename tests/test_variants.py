"""Every architecture against timm: arguments, names, shapes, layers, gradients."""

import functools
import inspect
import pickle

import keras
import numpy as np
import pytest
from conftest import micro_config, random_tensors

import vit_tf
from vit_tf import mapping, models, proof
from vit_tf.layers.initializers import skip_init
from vit_tf.reference import timm, torch

ALL = vit_tf.list_models()
DEIT = [name for name in ALL if vit_tf.get_config(name).family == "deit"]


class _RecordedError(Exception):
    """Carries the arguments that timm passes to a model's constructor."""


def timm_arguments(name: str, monkeypatch) -> tuple[str, dict]:
    """The class and the full constructor arguments that timm uses, without building."""
    module = inspect.getmodule(timm.model_entrypoint(name))
    for class_name in ("VisionTransformer", "VisionTransformerDistilled"):
        if hasattr(module, class_name):
            original = getattr(module, class_name)

            def record(*, original=original, **arguments):
                raise _RecordedError(original, arguments)

            monkeypatch.setattr(module, class_name, record)
    try:
        timm.create_model(name)
    except _RecordedError as recorded:
        cls, given = recorded.args
        defaults = inspect.signature(timm_class().__init__).parameters
        arguments = {k: p.default for k, p in defaults.items() if k != "self"}
        return cls.__name__, arguments | given
    raise AssertionError(f"timm built {name} without the recorded class")


@functools.cache
def timm_class():
    return timm.models.vision_transformer.VisionTransformer


def test_there_are_all_of_deit_and_the_plain_vits():
    assert set(DEIT) == set(timm.list_models(module="deit"))
    assert len(DEIT) == 16
    sizes = ("tiny", "small", "base", "large", "huge", "giant", "gigantic")
    for size in sizes:
        assert vit_tf.list_models(f"vit_{size}_patch*_224")


def plain_vits(monkeypatch) -> set[str]:
    """timm's ViTs that differ from `VisionTransformer()` in plain ViT's arguments."""
    plain = {
        "img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio",
        "num_classes", "global_pool", "in_chans",
    }  # fmt: skip
    found = set()
    defaults = inspect.signature(timm_class().__init__).parameters
    for name in timm.list_models(module="vision_transformer"):
        with monkeypatch.context() as patch:
            _, arguments = timm_arguments(name, patch)
        changed = {k for k, v in arguments.items() if v != defaults[k].default}
        if changed <= plain and arguments["global_pool"] in ("token", "avg"):
            found.add(name)
    return found


def test_no_plain_vit_is_missing(monkeypatch):
    missing = plain_vits(monkeypatch) - set(ALL)
    assert not missing


@pytest.mark.parametrize("name", ALL)
def test_arguments_are_those_that_timm_passes(name, monkeypatch):
    class_name, expected = timm_arguments(name, monkeypatch)
    config = vit_tf.get_config(name)
    assert config.model_class == class_name
    ours = config.model.to_dict()
    size = ours["img_size"]
    ours["img_size"] = (size, size) if isinstance(size, int) else size
    size = expected["img_size"]
    expected["img_size"] = (size, size) if isinstance(size, int) else tuple(size)
    for argument in ours.keys() & expected.keys():
        assert ours[argument] == expected[argument], argument
    assert ours.keys() <= expected.keys()
    defaults = inspect.signature(timm_class().__init__).parameters
    for argument in expected.keys() - ours.keys():
        assert expected[argument] == defaults[argument].default, argument


@pytest.mark.parametrize("name", ALL)
def test_names_and_shapes_are_those_of_timm(name):
    """At full size: timm's on the meta device, ours with untouched memory."""
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    with skip_init():
        model = vit_tf.create_model(name)
    found = {entry.name: entry.shape for entry in mapping.entries(model)}
    assert found == {key: tuple(tensor.shape) for key, tensor in state.items()}


def shrunken(name: str):
    """The variant with all its options, small enough to compare in a second."""
    full = vit_tf.get_config(name).model
    patch = full.patch_size
    return micro_config(
        name,
        img_size=(2 * patch, 3 * patch),
        depth=2,
        embed_dim=24,
        num_heads=3,
        num_classes=min(full.num_classes, 7),
    )


def distinct_options() -> list[str]:
    """One variant for each set of options: the others are the same once shrunken."""
    by_options = {}
    for name in ALL:
        config = shrunken(name)
        options = (config.model_class, tuple(sorted(config.model.items(), key=str)))
        by_options.setdefault(repr(options), name)
    return list(by_options.values())


@pytest.fixture(scope="module", params=distinct_options())
def variant(request):
    config = shrunken(request.param)
    return config, random_tensors(config), proof.random_images(config)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_layer_is_timms(variant, dtype):
    config, tensors, images = variant
    reference = proof.timm_outputs(config, tensors, images, dtype)
    model = proof.filled(config, tensors, dtype)
    [report] = proof.compare_with_timm(config, reference, model, images, dtype)
    assert report.passed
    assert report.tolerance == {"float32": 1e-5, "float64": 1e-10}[dtype]
    names = {diff.name for diff in report.layers}
    assert {"patch_embed.proj", "blocks.1.attn.attn_drop", "logits"} <= names


def test_every_gradient_is_timms(variant):
    config, tensors, images = variant
    model = proof.filled(config, tensors, "float64")
    report = proof.compare_gradients(config, tensors, model, images)
    report.check()
    assert report.tolerance == 1e-8
    assert len(report.layers) == len(tensors)


def test_training_without_drops_is_timms(variant):
    config, tensors, images = variant
    reference = proof.original(config, tensors, "float64")
    reference.module.train()
    model = proof.filled(config, tensors, "float64")
    expected = reference.logits(images)
    found = model(images.astype("float64"), training=True).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("pool", ["", "avg", "avgmax", "max"])
@pytest.mark.parametrize("fc_norm", [None, True, False])
def test_pools_are_timms(pool, fc_norm):
    config = micro_config("vit_tiny_patch16_224", global_pool=pool, fc_norm=fc_norm)
    check_layers(config)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", DEIT[-1], DEIT[8]])
def test_without_classes_features_are_timms(name):
    config = micro_config(name, num_classes=0)
    logits = check_layers(config)
    assert logits.shape == (2, config.model.embed_dim)


def test_gradients_of_unpooled_logits_are_timms():
    config = micro_config("vit_tiny_patch16_224", global_pool="")
    tensors, images = random_tensors(config), proof.random_images(config)
    model = proof.filled(config, tensors, "float64")
    proof.compare_gradients(config, tensors, model, images).check()


@pytest.mark.parametrize("channels", [1, 4])
def test_channels_are_timms(channels):
    check_layers(micro_config(in_chans=channels))


def test_patches_need_not_be_square_nor_divide_the_image():
    check_layers(micro_config(img_size=(33, 50), patch_size=(8, 16)))


def check_layers(config) -> np.ndarray:
    tensors, images = random_tensors(config), proof.random_images(config)
    reference = proof.timm_outputs(config, tensors, images, "float64")
    model = proof.filled(config, tensors, "float64")
    [report] = proof.compare_with_timm(config, reference, model, images, "float64")
    assert report.passed
    return reference["logits"]


def test_distilled_training_gives_the_pair_that_timm_gives():
    config = micro_config("deit_tiny_distilled_patch16_224")
    tensors, images = random_tensors(config), proof.random_images(config)
    reference = proof.original(config, tensors, "float64").module.train()
    reference.set_distilled_training(True)
    model = proof.filled(config, tensors, "float64")
    model.set_distilled_training(True)
    channels_first = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).double()
    pair = [logits.detach().numpy() for logits in reference(channels_first)]
    found = model(images.astype("float64"), training=True)
    assert isinstance(found, tuple)
    for ours, expected in zip(found, pair, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)
    mean = model(images.astype("float64"), training=False)
    np.testing.assert_allclose(mean, np.mean(pair, axis=0), rtol=0, atol=1e-10)


def test_drop_path_rates_are_timms():
    config = micro_config(depth=5, drop_path_rate=0.3)
    with torch.device("meta"):
        original = timm.create_model(config.architecture, **config.model.to_dict())
    model = models.build(config)
    for ours, theirs in zip(model.blocks, original.blocks, strict=True):
        for name in ("drop_path1", "drop_path2"):
            expected = getattr(getattr(theirs, name), "drop_prob", 0.0)
            found = getattr(getattr(ours, name), "rate", 0.0)
            assert found == pytest.approx(expected, abs=1e-7)


def test_drop_path_leaves_out_whole_images_and_keeps_the_mean():
    from vit_tf.layers.drop_path import DropPath

    layer = DropPath(0.25, seed=0)
    x = np.ones((4000, 2, 3), np.float32)
    found = layer(x, training=True).numpy()
    np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1, :1], x.shape))
    assert set(np.unique(found)) == {0.0, np.float32(1 / 0.75)}
    assert found.mean() == pytest.approx(1, abs=0.03)
    np.testing.assert_array_equal(layer(x, training=False), x)


def test_patch_dropout_keeps_the_prefix_and_a_part_of_the_patches():
    from vit_tf.layers.patch_dropout import PatchDropout

    layer = PatchDropout(0.3, num_prefix_tokens=2)
    x = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None], (5, 12, 3))
    kept = layer(x, training=True).numpy()
    assert kept.shape == (5, 2 + 7, 3)
    np.testing.assert_array_equal(kept[:, :2], x[:, :2])
    for image in kept[:, 2:, 0]:
        assert len(set(image)) == 7
        assert set(image) <= set(range(2, 12))
    np.testing.assert_array_equal(layer(x, training=False), x)


def test_dropout_rates_reach_the_layers_that_timm_gives_them_to():
    rates = dict(
        drop_rate=0.1, pos_drop_rate=0.2, patch_drop_rate=0.5, proj_drop_rate=0.3,
        attn_drop_rate=0.4,
    )  # fmt: skip
    config = micro_config(**rates)
    with torch.device("meta"):
        original = timm.create_model(config.architecture, **config.model.to_dict())
    expected = {
        name: module.p
        for name, module in original.named_modules()
        if isinstance(module, torch.nn.Dropout)
    }
    layers = mapping.named_layers(models.build(config))
    found = {n: x.rate for x, n in layers if isinstance(x, keras.layers.Dropout)}
    assert found == expected
    assert original.patch_drop.prob == rates["patch_drop_rate"]


def test_a_wrong_image_size_is_an_error_that_shows_both():
    model = models.build(micro_config())
    with pytest.raises(ValueError, match="48 x 32 pixels given to a model of 32 x 32"):
        model(np.zeros((1, 48, 32, 3), np.float32))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("vit_tiny_patch16_224", {"global_pool": "mean"}, "global_pool='mean'"),
        ("vit_tiny_patch16_224", {"class_token": False}, "needs class_token=True"),
        ("vit_tiny_patch16_224", {"num_heads": 5}, "width of 24 .* into 5 heads"),
        ("vit_tiny_patch16_224", {"num_heads": 0}, "width of 24 .* into 0 heads"),
        ("vit_tiny_patch16_224", {"in_chans": 0}, "in_chans=0: expected 1 or more"),
        ("vit_tiny_patch16_224", {"img_size": 8}, "images of one patch or more"),
        ("vit_tiny_patch16_224", {"patch_drop_rate": 1.0}, "less than 1"),
        ("vit_tiny_patch16_224", {"depth": 0}, "depth=0: expected 1 or more"),
        ("deit_tiny_distilled_patch16_224", {"global_pool": "avg"}, "distilled head"),
        ("vit_tiny_patch16_224", {"widht": 3}, r"no argument \['widht'\]; it has"),
    ],
)
def test_impossible_arguments_are_errors(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build(micro_config(name, **arguments))


def test_an_unknown_name_is_an_error_that_names_the_closest():
    with pytest.raises(models.UnknownModelError, match="deit_tiny_patch16_224"):
        vit_tf.create_model("deit_tiny_patch16")


def test_the_error_comes_back_from_another_process():
    error = models.UnknownModelError("deit", ["deit_tiny_patch16_224"])
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_list_models_takes_shell_patterns():
    assert vit_tf.list_models("deit_*_384") == [
        "deit_base_distilled_patch16_384",
        "deit_base_patch16_384",
    ]
