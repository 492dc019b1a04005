"""Every architecture against timm: arguments, names, shapes, layers, gradients."""

import inspect
import pickle
import sys
from collections import Counter

import numpy as np
import pytest
import some
from micro import random_tensors

import vit_tf
from vit_tf import mapping, models, proof, source
from vit_tf.layers.drop_path import DropPath
from vit_tf.reference import timm, timm_arguments, torch, without_values

ALL = vit_tf.list_models()
FAMILIES = {  # timm's module -> how many architectures it has
    "vision_transformer": 163,
    "deit": 16,
    "cait": 10,
    "swin_transformer": 9,
    "swin_transformer_v2": 12,
    "vision_transformer_hybrid": 14,
}
OURS = {"VisionTransformerHybrid": "VisionTransformer"}  # timm builds it by arguments
FEATURE_INFO = ("module", "num_chs", "reduction")


class _RecordedError(Exception):
    """Carries what timm passes to a model's constructor."""


def what_timm_passes(name: str, monkeypatch) -> tuple[type, dict, dict]:
    """The class, its defaults and what timm passes beside them, without building."""
    module = sys.modules[timm.model_entrypoint(name).__module__]
    build = module.build_model_with_cfg

    def build_nothing(cls, *args, **kwargs):
        def record(**arguments):
            raise _RecordedError(cls, arguments)

        return build(record, *args, **kwargs)

    monkeypatch.setattr(module, "build_model_with_cfg", build_nothing)
    with pytest.raises(_RecordedError) as recorded:
        timm.create_model(name)
    cls, given = recorded.value.args
    defaults = {
        parameter.name: parameter.default
        for base in reversed(cls.__mro__)
        if base.__module__.startswith("timm.")
        for parameter in inspect.signature(base.__init__).parameters.values()
        if parameter.default is not parameter.empty
    }
    return cls, defaults, {k: v for k, v in given.items() if k in defaults}


def canonical(argument: str, value):
    """A value as timm reads it: names of layers and partials as what they stand for."""
    if argument in ("norm_layer", "embed_norm_layer"):
        value = timm.layers.get_norm_layer(value)
        if value is None and argument == "norm_layer":
            value = timm.layers.LayerNorm
    if argument == "act_layer":
        value = (timm.layers.get_act_layer(value) or torch.nn.GELU).__name__
    if argument == "attn_layer" and isinstance(value, str):
        value = timm.models.vision_transformer.ATTN_LAYERS[value]
    if argument == "img_size" and isinstance(value, int):
        value = (value, value)
    if hasattr(value, "func"):  # partials are not equal, what they hold is
        held = {k: repr(v) if k == "backbone" else v for k, v in value.keywords.items()}
        value = value.func, held
    return value


@pytest.mark.parametrize("family", FAMILIES)
def test_no_architecture_is_missing(family):
    ours = {name for name in ALL if vit_tf.get_config(name).family == family}
    assert ours == set(timm.list_models(module=family))
    assert len(ours) == FAMILIES[family]


@pytest.mark.parametrize("name", ALL)
def test_arguments_are_those_that_timm_passes(name, monkeypatch):
    cls, defaults, given = what_timm_passes(name, monkeypatch)
    config = vit_tf.get_config(name)
    assert OURS.get(config.model_class, config.model_class) == cls.__name__
    ours = timm_arguments(proof.shared_arguments(config))
    assert ours.keys() <= defaults.keys()
    for argument, value in (defaults | given).items():
        expected = canonical(argument, value)
        if argument in ours:
            assert canonical(argument, ours[argument]) == expected, argument
        else:  # what we do not know, no variant sets
            assert expected == canonical(argument, defaults[argument]), argument


@pytest.mark.parametrize("name", ALL)
def test_names_and_shapes_are_those_of_timm(name):
    """At full size: timm's on the meta device, where it need not draw; ours alike."""
    with torch.device("meta"), without_values():
        state = timm.create_model(name).state_dict()
    found = source.parameter_shapes(vit_tf.get_config(name))
    assert found == {key: tuple(tensor.shape) for key, tensor in state.items()}


def distinct_options() -> list[str]:
    """One variant for each set of options: the others are the same once shrunken."""
    by_options = {}
    for name in ALL:
        config = models.small_config(name)
        options = (config.model_class, sorted(config.model.items(), key=str))
        by_options.setdefault(repr(options), name)
    return list(by_options.values())


@pytest.fixture(scope="module", params=distinct_options())
def variant(request):
    config = models.small_config(request.param)
    return config, random_tensors(config), proof.random_images(config)


@pytest.fixture(scope="module")
def model(variant):
    """In float64. Nothing that is tested changes it."""
    config, tensors, _ = variant
    return proof.filled(config, tensors, "float64")


@pytest.fixture(scope="module")
def original(variant):
    """timm's, in float64. Nothing that is tested changes it."""
    config, tensors, _ = variant
    return proof.original(config, tensors, "float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_layer_is_timms(variant, model, original, dtype):
    config, tensors, images = variant
    if dtype == "float32":
        original = proof.original(config, tensors, dtype)
        model = proof.filled(config, tensors, dtype)
    ran, compared = Counter(), Counter()  # how often, by name

    def keep(name, output):
        ran[name] += 1
        return output

    reference = original.record(images.astype(dtype), keep)
    report = proof.layer_report(
        reference, model, images, dtype, lambda name: compared.update([name])
    )
    report.check()
    assert compared == ran  # by which a conversion lets timm's outputs go
    assert report.passed
    assert report.tolerance == {"float32": 1e-5, "float64": 1e-10}[dtype]
    names = {diff.name for diff in report.layers}
    assert "logits" in names
    assert any(name.endswith("attn_drop") for name in names)
    assert any(name.startswith("patch_embed") for name in names)


def test_every_gradient_is_timms(variant, model, original):
    config, _, images = variant
    gradients = proof.timm_gradients(config, original, images)
    report = proof.gradient_report(config, gradients, model, images)
    report.check()
    assert report.tolerance == 1e-8
    assert len(report.layers) == len(model.trainable_weights)


def test_training_without_drops_is_timms(variant, model, original):
    config, tensors, images = variant
    drops = config.model.drop_path_rate > 0
    if drops or model.non_trainable_weights:  # which follow the batches
        config = models.small_config(config.architecture, drop_path_rate=0.0)
        original = proof.original(config, tensors, "float64")
        model = proof.filled(config, tensors, "float64")
    original.module.train()
    expected = original.logits(images)
    original.module.eval()
    found = model(images.astype("float64"), training=True).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", some.of(distinct_options(), distinct_options()[::3]))
def test_a_new_model_starts_as_timms(name):
    """Rates, constants, and the spread of what is drawn, tensor by tensor.

    The spread is a quantile, not the deviation: one value in 2**24 that timm's
    `trunc_normal_` draws is -2, a hundred times the others.
    """
    config = models.small_config(name, drop_path_rate=0.3)
    original = timm.create_model(name, **timm_arguments(proof.shared_arguments(config)))
    model = models.build(config)
    expected = {
        module_name: module.drop_prob
        for module_name, module in original.named_modules()
        if isinstance(module, timm.layers.DropPath) and module.drop_prob
    }
    found = {
        layer_name: layer.rate
        for layer, layer_name in mapping.named_layers(model)
        if isinstance(layer, DropPath)
    }
    assert found == pytest.approx(expected, rel=1e-6)
    assert found
    tensors = mapping.extract(model)
    for tensor_name, expected in original.state_dict().items():
        expected, tensor = expected.numpy(), tensors[tensor_name]
        if np.all(expected == expected.flat[0]):
            np.testing.assert_array_equal(tensor, expected, tensor_name)
        elif expected.size > 500:
            spread, center = _spread(expected), np.median(expected)
            assert _spread(tensor) == pytest.approx(spread, rel=0.3), tensor_name
            error = 8 * spread * (2 / expected.size) ** 0.5
            assert abs(np.median(tensor) - center) < error, tensor_name


def _spread(values: np.ndarray) -> float:
    """What four of five values are not farther from zero than: 1.3 deviations."""
    return np.quantile(np.abs(values), 0.8)


def test_intermediates_are_timms(variant, model, original):
    images = variant[2].astype("float64")
    for indices, norm in ((None, False), ([-1, 0], True), (1, False)):
        final, expected = original.intermediates(images, indices, norm=norm)
        features, found = model.forward_intermediates(images, indices, norm=norm)
        np.testing.assert_allclose(features, final, rtol=0, atol=1e-10)
        for ours, timms in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, timms, rtol=0, atol=1e-10)
    expected = [{k: row[k] for k in FEATURE_INFO} for row in original.feature_info]
    assert model.feature_info == expected


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
