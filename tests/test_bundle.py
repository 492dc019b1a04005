"""A written bundle, read in every way that it promises."""

import json
from pathlib import Path

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf
from micro import micro_config, random_tensors, smallest_config

import vit_tf
from vit_tf import activations, mapping, models, pipeline, proof
from vit_tf.export import bundle, saved_model, verify
from vit_tf.export.bundle import BundleError
from vit_tf.parity import ParityError
from vit_tf.workbench import Workbench

pytestmark = pytest.mark.usefixtures("shared_bench")
NAMES = ["deit_tiny_distilled_patch16_224", "deit3_small_patch16_224"]


@pytest.fixture(scope="module", params=NAMES)
def converted(request, tmp_path_factory):
    config = micro_config(request.param)
    directory = tmp_path_factory.mktemp("bundles") / "micro"
    formats = ("saved_model", "keras")
    conversion = pipeline.convert(
        config, directory, checkpoint="random:3", formats=formats
    )
    model = proof.filled(config, random_tensors(config, 3), "float32")
    return conversion, model


def images(batch: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, 32, 32, 3), np.float32)


def close(found, expected) -> bool:
    expected = np.asarray(expected)
    return np.abs(np.asarray(found) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_what_timm_gave_is_let_go_once_compared(tmp_path, monkeypatch):
    timm_outputs, given = proof.timm_outputs, []

    def kept(*arguments):
        given.append(timm_outputs(*arguments))
        assert len(given[-1]) > 30
        return given[-1]

    monkeypatch.setattr(proof, "timm_outputs", kept)
    pipeline.convert(micro_config(NAMES[0]), tmp_path / "micro", checkpoint="random:3")
    assert given == [{}]


def test_it_says_what_was_proven(converted):
    conversion, _ = converted
    proof = json.loads((conversion.directory / bundle.PARITY).read_text())
    titles = [report["title"] for report in proof["reports"]]
    assert titles == ["layers in float32", "SavedModel read back", ".keras read back"]
    assert all(report["passed"] for report in proof["reports"])
    assert proof["compared_with_timm"] is True
    assert proof["source"]["uri"] == "random:3"
    assert proof["versions"]["timm"] == "1.0.31"
    for name, digest in proof["result"].items():
        assert bundle.sha256(conversion.directory / name) == digest
    assert "variables/variables.data-00000-of-00001" in proof["result"]
    assert "blocks.{0..1}.attn.attn_drop" in str(conversion)
    assert "parameters" in str(conversion)


def test_weights_are_stored_once(converted):
    conversion, model = converted
    weights = sum(4 * np.prod(weight.shape) for weight in model.weights)
    stored = sum(v for k, v in conversion.files.items() if k.startswith("variables"))
    assert stored < 1.05 * weights + 20_000


def test_load_gives_the_keras_model(converted):
    conversion, model = converted
    loaded = vit_tf.load(conversion.directory)
    assert type(loaded) is type(model)
    expected = mapping.extract(model)
    for name, tensor in mapping.extract(loaded).items():
        np.testing.assert_array_equal(tensor, expected[name])


def test_the_keras_file_is_the_model(converted):
    conversion, model = converted
    loaded = keras.models.load_model(conversion.directory / bundle.KERAS)
    np.testing.assert_array_equal(loaded(images(2)), model(images(2)))


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_signatures_give_what_the_model_gives(converted, batch):
    conversion, model = converted
    loaded = tf.saved_model.load(str(conversion.directory))
    expected = verify.expected_outputs(model, images(batch))
    stored = {"serving_bytes", "serving_uint8", "serving_uint8_ragged"}
    assert set(loaded.signatures) == {*expected, *stored}
    for signature, outputs in expected.items():
        found = loaded.signatures[signature](images=tf.constant(images(batch)))
        assert found.keys() == outputs.keys()
        for name, output in outputs.items():
            assert close(found[name], output), name
    assert expected["features"]["tokens"].shape[1:] == (model_tokens(model), 24)
    assert list(expected["attention"]) == [
        "blocks.0.attn.attn_drop", "blocks.1.attn.attn_drop",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", [NAMES[0], "cait_xxs24_224", "swin_tiny_patch4_window7_224"]
)
def test_a_run_of_several_images_tells_what_the_first_must_give(name):
    """Which is compared with timm's layers: the model need not run again."""
    config = smallest_config(name)
    config.parity.images = 3
    model = proof.filled(config, random_tensors(config), "float32")
    three = proof.random_images(config)
    with verify.collected(model) as found:
        layers = activations.record(model, three)
    tokens = model.forward_features(three)
    features = model.forward_head(tokens, pre_logits=True)
    logits = found["serving_default"]["logits"]
    np.testing.assert_array_equal(logits, layers["logits"][: verify.BATCH])
    for output, whole in (
        (found["features"]["tokens"], tokens),
        (found["features"]["features"], features),
    ):
        np.testing.assert_array_equal(output, whole[:1])
    attention = {k: v for k, v in layers.items() if k.endswith("attn_drop")}
    assert found["attention"].keys() == attention.keys()
    for layer, whole in attention.items():
        rows = len(whole) // 3  # the first image's windows
        np.testing.assert_array_equal(found["attention"][layer], whole[:rows])
    alone = verify.expected_outputs(model, three[:1])
    assert alone["attention"].keys() == attention.keys()
    for layer, probabilities in alone["attention"].items():
        assert close(found["attention"][layer], probabilities), layer


def model_tokens(model) -> int:
    return model.patch_embed.num_patches + model.num_prefix_tokens


def test_the_loaded_object_can_be_called_as_hub_does(converted):
    conversion, model = converted
    loaded = tf.saved_model.load(str(conversion.directory))
    expected = model(images(2))
    for arguments, keywords in (((), {}), ((True,), {}), ((), {"training": False})):
        assert close(loaded(tf.constant(images(2)), *arguments, **keywords), expected)
    assert loaded.regularization_losses == []


def test_a_fine_tuning_step_moves_every_weight(converted):
    conversion, model = converted
    loaded = tf.saved_model.load(str(conversion.directory))
    assert len(loaded.trainable_variables) == len(model.trainable_weights)
    assert len(loaded.variables) == len(model.variables)
    before = [variable.numpy() for variable in loaded.trainable_variables]
    with tf.GradientTape() as tape:
        logits = loaded(tf.constant(images(4)), training=True)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 2, 3], logits)
        )
    gradients = tape.gradient(loss, loaded.trainable_variables)
    for variable, gradient in zip(loaded.trainable_variables, gradients, strict=True):
        variable.assign_sub(0.1 * gradient)
    for variable, old in zip(loaded.trainable_variables, before, strict=True):
        assert np.any(variable.numpy() != old), variable.name


def test_tensorflow_alone_can_run_it_in_a_fresh_process(converted):
    conversion, model = converted
    np.save(conversion.directory.parent / "images.npy", images(3))
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "timm", "vit_tf", "tf_keras"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import numpy as np, tensorflow as tf
directory = sys.argv[1]
loaded = tf.saved_model.load(directory)
images = tf.constant(np.load(directory + "/../images.npy"))
for name in ("serving_default", "features", "attention"):
    outputs = {k: v.numpy() for k, v in loaded.signatures[name](images).items()}
    np.savez(f"{directory}/../{name}.npz", **outputs)
"""
    forked.run("-c", code, conversion.directory, imported=forked.TENSORFLOW, check=True)
    for signature, outputs in verify.expected_outputs(model, images(3)).items():
        found = np.load(conversion.directory.parent / f"{signature}.npz")
        for name, output in outputs.items():
            assert close(found[name], output)


def test_load_takes_the_keras_file_in_a_fresh_process(converted):
    conversion, model = converted
    path = conversion.directory / bundle.KERAS
    code = """
import sys, vit_tf
print(type(vit_tf.load(sys.argv[1])).__name__)
"""
    done = forked.run("-c", code, path, imported=forked.TENSORFLOW, check=True)
    assert done.stdout.strip() == type(model).__name__


@pytest.mark.usefixtures("without_files_here")
def test_dropout_survives_in_the_training_call(tmp_path):
    config = micro_config(drop_path_rate=0.5, proj_drop_rate=0.3, patch_drop_rate=0.25)
    pipeline.convert(config, tmp_path / "out", checkpoint="random:0")
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    x = tf.constant(images(2))
    model = proof.filled(config, random_tensors(config), "float32")
    assert close(loaded(x), model(images(2)))
    first, second = loaded(x, training=True), loaded(x, training=True)
    assert np.any(first.numpy() != second.numpy())


@pytest.mark.usefixtures("without_files_here")
def test_float64_and_gradients_are_proven_on_request(tmp_path):
    config = micro_config()
    config.parity.dtype = "float64"
    config.parity.gradients = True
    conversion = pipeline.convert(config, tmp_path / "out", checkpoint="random:0")
    tolerances = {report.title: report.tolerance for report in conversion.reports}
    assert tolerances["layers in float32"] == 1e-5
    assert tolerances["layers in float64"] == 1e-10
    assert tolerances["gradients in float64"] == 1e-8


def test_a_bundle_without_parity_says_so(tmp_path):
    config = micro_config()
    config.parity.enabled = False
    conversion = pipeline.convert(config, tmp_path / "out", checkpoint="random:0")
    proof = json.loads((tmp_path / "out" / bundle.PARITY).read_text())
    assert proof["compared_with_timm"] is False
    assert "not compared with timm" in str(conversion)
    assert "not compared" in (tmp_path / "out" / "README.md").read_text()
    assert proof["pixels"]["compared_with_timm"] is False
    assert "differ from what was saved" in str(conversion)


@pytest.mark.usefixtures("without_files_here")
def test_a_bundle_that_reads_back_differently_is_not_left(tmp_path, monkeypatch):
    save = saved_model.save

    def save_another(model, *arguments):
        model.head.bias.assign_add(np.ones(7, np.float32))
        save(model, *arguments)

    monkeypatch.setattr(saved_model, "save", save_another)
    with pytest.raises(ParityError, match=r"SavedModel read back: .*logits"):
        pipeline.convert(
            micro_config(), tmp_path / "out", checkpoint="random:0", bench=Workbench()
        )
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_bundle_is_not_loaded(tmp_path):
    with pytest.raises(BundleError, match=r"saved_model\.pb"):
        vit_tf.load(tmp_path)


def test_a_bundle_may_be_named_as_a_file_is(tmp_path):
    pipeline.convert(micro_config(), tmp_path / "my.keras", checkpoint="random:0")
    assert vit_tf.load(tmp_path / "my.keras").depth == 2


def test_variables_of_another_shape_are_not_loaded(tmp_path):
    directory = tmp_path / "out"
    pipeline.convert(micro_config(), directory, checkpoint="random:0")
    described = json.loads((directory / bundle.CONFIG).read_text())
    described["model"]["num_classes"] = 9
    bundle.write_json(directory / bundle.CONFIG, described)
    with pytest.raises(BundleError, match=r"other shapes expected of .*head"):
        vit_tf.load(directory)


def test_a_bundle_without_its_variables_is_not_loaded(tmp_path):
    pipeline.convert(micro_config(), tmp_path / "out", checkpoint="random:0")
    (tmp_path / "out/variables/variables.index").unlink()
    with pytest.raises(BundleError, match="variables/variables"):
        vit_tf.load(tmp_path / "out")


def test_a_bundle_of_another_model_is_not_loaded(tmp_path):
    directory = tmp_path / "out"
    pipeline.convert(micro_config(), directory, checkpoint="random:0")
    described = json.loads((directory / bundle.CONFIG).read_text())
    described["model"]["depth"] = 3
    bundle.write_json(directory / bundle.CONFIG, described)
    with pytest.raises(BundleError, match=r"no variables named .*blocks\.\.2"):
        vit_tf.load(directory)


def test_the_config_is_enough_to_build_the_model_again(converted):
    conversion, _ = converted
    described = json.loads((Path(conversion.directory) / bundle.CONFIG).read_text())
    assert described["architecture"] in models.list_models()
    assert described["data"]["mean"] == [0.485, 0.456, 0.406]
    assert described["data"]["input_size"] == [3, 32, 32]  # not those of timm's tag
    assert described["license"] is None  # random weights are not timm's
