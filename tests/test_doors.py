"""One SavedModel, and every way to load it."""

import sys
from pathlib import Path

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf
from cli import tree
from common_fixtures import bundles_without_files
from micro import micro_config

import vit_tf
from vit_tf import pipeline
from vit_tf.export import saved_model, verify
from vit_tf.models import create_model

IMAGES = np.random.default_rng(0).standard_normal((4, 32, 32, 3), np.float32)
FEATURES = "deit_tiny_distilled_patch16_224"
DROPS = dict(drop_path_rate=0.5, proj_drop_rate=0.3)


def convert(folder: Path, name: str = "deit_tiny_patch16_224", **arguments) -> None:
    keras.backend.clear_session()  # as the batch does, and each new process
    config = micro_config(name, **arguments)
    pipeline.convert(config, folder, checkpoint="random:0")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """One that classifies, one whose layers drop out, one that extracts features."""
    folder = tmp_path_factory.mktemp("doors")
    convert(folder / "plain")
    with bundles_without_files():
        convert(folder / "drops", **DROPS)
        convert(folder / "features", FEATURES, num_classes=0)
    np.save(folder / "images.npy", IMAGES)
    return folder


@pytest.fixture(scope="module")
def logits(bundles):
    return tf.saved_model.load(str(bundles / "plain"))(IMAGES).numpy()


def fresh(code: str, *arguments: object, as_traced: bool = False) -> str:
    """What Python code prints in a process of its own, which knows nothing of us."""
    done = forked.run(
        "-c", code, *arguments,
        imported=forked.TENSORFLOW, cwd="/", as_traced=as_traced, check=True,
    )  # fmt: skip
    return done.stdout


def close(found, expected) -> bool:
    return np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_tensorflow_alone_loads_and_runs_every_signature(bundles, logits):
    """In a process that has neither torch nor timm nor this package."""
    code = """
import sys
import numpy as np, tensorflow as tf
before = {*sys.modules}  # TensorFlow imports Keras itself
folder = sys.argv[1]
images = np.load(folder + "/images.npy")
loaded = tf.saved_model.load(folder + "/plain")
pixels = tf.zeros((4, 40, 50, 3), tf.uint8)
inputs = {
    "serving_default": {"images": images},
    "features": {"images": images},
    "attention": {"images": images},
    "serving_bytes": {"images": [tf.io.encode_png(image).numpy() for image in pixels]},
    "serving_uint8": {"images": pixels},
    "serving_uint8_ragged": {
        "pixels": tf.reshape(pixels, [-1]), "sizes": [[40, 50]] * 4,
    },
}
assert inputs.keys() == loaded.signatures.keys()
for name, given in inputs.items():
    outputs = loaded.signatures[name](**{k: tf.constant(v) for k, v in given.items()})
    shapes = {key: tuple(output.shape) for key, output in outputs.items()}
    print(name, *(f"{key}={shapes[key]}".replace(" ", "") for key in sorted(shapes)))
    np.savez(f"{folder}/{name}.npz", **outputs)
np.save(folder + "/found.npy", loaded(images))
others = ("keras", "tf_keras", "torch", "timm", "vit_tf", "tensorflow_hub")
assert not [name for name in {*sys.modules} - before if name.startswith(others)]
assert not [name for name in others[1:] if name in sys.modules]
"""
    said = dict(line.split(" ", 1) for line in fresh(code, bundles).splitlines())
    assert close(np.load(bundles / "found.npy"), logits)
    expected = verify.expected_outputs(vit_tf.load(bundles / "plain"), IMAGES)
    for name, outputs in expected.items():
        found = np.load(bundles / f"{name}.npz")
        assert all(close(found[key], output) for key, output in outputs.items())
    assert said["serving_default"] == "logits=(4,7)"
    assert said["features"] == "features=(4,24) tokens=(4,5,24)"
    attention = [f"blocks.{i}.attn.attn_drop=(4,3,5,5)" for i in range(2)]
    assert said["attention"] == " ".join(attention)
    classes = "classes=(4,5) labels=(4,5) logits=(4,7) probabilities=(4,7) scores=(4,5)"
    for name in ("serving_bytes", "serving_uint8", "serving_uint8_ragged"):
        assert said[name] == classes


def test_hub_loads_it_and_trains_it(bundles, logits):
    code = """
import sys
import numpy as np, tensorflow as tf, tensorflow_hub as hub, tf_keras
folder = sys.argv[1]
images = np.load(folder + "/images.npy")
np.save(folder + "/found.npy", hub.load(folder + "/plain")(images))
for name in ("plain", "drops"):
    tf_keras.utils.set_random_seed(0)
    layer = hub.KerasLayer(folder + "/" + name, trainable=True)
    model = tf_keras.Sequential([layer])
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.SGD(0.1), loss)
    assert len(layer.trainable_weights) == 32
    assert np.array_equal(model(images), model(images))
    same = np.array_equal(model(images, training=True), model(images, training=True))
    assert same == (name == "plain")  # the other drops at random
    before = [weight.numpy() for weight in layer.trainable_weights]
    model.fit(images, np.arange(4), epochs=2, verbose=0)
    for weight, old in zip(layer.trainable_weights, before):
        assert np.any(weight.numpy() != old), weight.name
frozen = hub.KerasLayer(folder + "/plain")
assert not frozen.trainable_weights and len(frozen.weights) == 32
extractor = hub.KerasLayer(folder + "/features", trainable=True)
model = tf_keras.Sequential([extractor, tf_keras.layers.Dense(3)])
model.compile("sgd", "mse")
model.fit(images, np.zeros((4, 3)), verbose=0)
loaded = hub.load(folder + "/features")
features = loaded.signatures["features"](images=tf.constant(images))["features"]
assert np.array_equal(loaded(images), features) and features.shape == (4, 24)
named = hub.KerasLayer(
    folder + "/features", signature="features", output_key="features"
)
assert np.array_equal(named(images), features)
assert not [name for name in ("torch", "timm", "vit_tf") if name in sys.modules]
"""
    fresh(code, bundles, as_traced=True)
    assert close(np.load(bundles / "found.npy"), logits)


def test_a_layer_of_a_keras_model(bundles, logits):
    path = str(bundles / "plain")
    layer = keras.layers.TFSMLayer(path, call_endpoint="serving_default")
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, layer(inputs)["logits"])
    assert close(model.predict(IMAGES, verbose=0), logits)


def test_the_command_line_of_tensorflow(bundles, logits, tmp_path):
    tool = Path(sys.executable).with_name("saved_model_cli")
    which = ["--dir", str(bundles / "plain"), "--tag_set", "serve"]
    which += ["--signature_def", "serving_default"]
    inputs = ["--inputs", f"images={bundles / 'images.npy'}"]
    said = []
    for command in (["show"], ["run", "--outdir", str(tmp_path), *inputs]):
        done = forked.run(
            tool, *command, *which, imported=forked.TENSORFLOW, check=True
        )
        said.append(done.stdout)
    assert "inputs['images'] tensor_info" in said[0]
    assert "shape: (-1, 32, 32, 3)" in said[0]
    assert "outputs['logits'] tensor_info" in said[0]
    assert close(np.load(tmp_path / "logits.npy"), logits)


def test_weights_of_a_real_size_are_stored_once(tmp_path):
    model = create_model("vit_tiny_patch16_224")
    saved_model.save(model, tmp_path)
    weights = sum(4 * weight.numpy().size for weight in model.weights)
    stored = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert stored <= 1.05 * weights + 2e6


@pytest.mark.usefixtures("without_files_here")
@pytest.mark.parametrize("name", ["drops", "features"])
def test_a_second_conversion_is_the_same_byte_for_byte(name, bundles, tmp_path):
    """As that of the plain one in another process is, below."""
    arguments = {
        "drops": ("deit_tiny_patch16_224", DROPS),
        "features": (FEATURES, {"num_classes": 0}),
    }
    model, options = arguments[name]
    keras.utils.set_random_seed(5)
    convert(tmp_path / name, model, **options)
    assert tree(tmp_path / name) == tree(bundles / name)


def test_in_another_process_it_is_the_same_too(bundles, tmp_path):
    """Another number of functions was traced in it, names hash otherwise, there are two
    devices, and an option of the session is set to what it is by default.
    """
    code = """
import sys
sys.path[:0] = sys.argv[2:]
import tensorflow as tf
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
[cpu] = tf.config.list_physical_devices("CPU")
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
import test_doors
from pathlib import Path
test_doors.convert(Path(sys.argv[1]) / "plain")
"""
    here = Path(__file__).parent
    fresh(code, tmp_path, here, here.parent)
    assert tree(tmp_path / "plain") == tree(bundles / "plain")


def test_what_is_written_is_signed(bundles):
    """The fingerprint that TensorFlow reads is of the file that is there."""
    folder = bundles / "plain"
    fingerprint = tf.saved_model.experimental.read_fingerprint(str(folder))
    content = (folder / "saved_model.pb").read_bytes()
    checksum = tf.fingerprint([content]).numpy().tobytes()
    assert fingerprint.saved_model_checksum == int.from_bytes(checksum, "little")
    other = tf.saved_model.experimental.read_fingerprint(str(bundles / "drops"))
    assert fingerprint.singleprint() != other.singleprint()
