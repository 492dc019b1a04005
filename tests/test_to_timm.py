"""The way back: what timm opens is the model that left, bit for bit."""

import json
import shutil
import subprocess
import sys

import keras
import ml_dtypes
import numpy as np
import pytest
from cli import ROOT, tree
from micro import MICRO, micro_config, random_tensors
from safetensors.numpy import load_file, save_file

import vit_tf
from vit_tf import mapping, models, proof, to_timm
from vit_tf.checkpoints import write
from vit_tf.export import timm_directory
from vit_tf.export.bundle import BundleError
from vit_tf.reference import timm, torch

pytestmark = pytest.mark.usefixtures("shared_bench", "without_files")
FAMILIES = {
    "deit_tiny_distilled_patch16_224": {},
    "vit_base_patch16_siglip_224": {"depth": 1},  # pooled by attention, tanh GELU
    "vit_small_patch14_reg4_dinov2": {"depth": 1},
    "cait_xxs24_224": {"depth": 1},
    "swin_tiny_patch4_window7_224": {"depths": (1, 2, 1, 1)},
    "swinv2_tiny_window8_256": {"depths": (1, 2, 1, 1)},
    "vit_tiny_r_s16_p8_224": {"img_size": 64, "backbone_channels": None},
}


def options(name):
    """What makes an architecture small, in words that JSON has."""
    small = models.small_config(name).model
    usual = vit_tf.get_config(name).model
    changed = {k: v for k, v in small.items() if v != usual[k]}
    return {**changed, "num_classes": 5, **FAMILIES.get(name, {})}


def filled(config):
    return proof.filled(config, random_tensors(config), "float32")


def opened(folder):
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return model.eval()


def logits_of(module, images):
    with torch.inference_mode():
        x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return module(x).numpy()


def assert_same_tensors(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle with labels, and the tensors that it was made from."""
    tmp_path = tmp_path_factory.mktemp("bundle")
    tensors = random_tensors(micro_config())
    source = tmp_path / "source"
    source.mkdir()
    save_file(tensors, source / "model.safetensors")
    stated = json.loads((ROOT / "examples/digits/config.json").read_text())
    stated |= {
        "num_classes": 7,
        "label_names": list("abcdefg"),
        "model_args": MICRO | {"global_pool": "token"},
    }
    stated["pretrained_cfg"] |= {
        "input_size": [3, 32, 32], "num_classes": 7, "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
    }  # fmt: skip
    (source / "config.json").write_text(json.dumps(stated))
    config = vit_tf.get_config("deit_tiny_patch16_224", **stated["model_args"])
    vit_tf.convert(config, tmp_path / "bundle", checkpoint=source, formats=["keras"])
    return tmp_path / "bundle", tensors


@pytest.mark.parametrize("name", FAMILIES)
def test_timm_opens_what_a_keras_file_holds(name, tmp_path):
    config = vit_tf.get_config(name, **options(name))
    model = filled(config)
    model.save(tmp_path / "mine.keras")
    written = timm_directory.write(tmp_path / "mine.keras", tmp_path / "back")
    assert written.architecture == name
    found = load_file(tmp_path / "back/model.safetensors")
    assert_same_tensors(found, random_tensors(config))
    module = opened(tmp_path / "back")
    images = proof.random_images(config)
    expected = np.asarray(model(images))
    np.testing.assert_allclose(
        logits_of(module, images), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_a_bundle_comes_back_with_all_that_was_known(bundle, tmp_path):
    directory, tensors = bundle
    for source in (directory, directory / "model.keras"):
        back = tmp_path / f"back{source.suffix}"
        written = timm_directory.write(source, back)
        assert written.assumed == ""
        assert_same_tensors(load_file(back / "model.safetensors"), tensors)
        cfg = opened(back).pretrained_cfg
        assert cfg["mean"] == [0.1, 0.2, 0.3]
        assert cfg["std"] == [0.4, 0.5, 0.6]
        assert cfg["interpolation"] == "bilinear"
        assert cfg["label_names"] == list("abcdefg")
        assert cfg["license"] == "bsd-3-clause"
        assert cfg["first_conv"] == "patch_embed.proj"
        assert cfg["classifier"] == "head"
    again = tmp_path / "again"  # and it is a checkpoint of ours
    vit_tf.convert("", again, checkpoint=tmp_path / "back")
    assert_same_tensors(mapping.extract(vit_tf.load(again)), tensors)


def test_a_fine_tuned_model_comes_back(tmp_path):
    config = micro_config()
    model = filled(config)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=False)
    images = proof.random_images(config)
    model.fit(images, np.array([1, 2]), verbose=0)
    model.save(tmp_path / "tuned.keras")
    timm_directory.write(tmp_path / "tuned.keras", tmp_path / "back/mine.safetensors")
    found = load_file(tmp_path / "back/mine.safetensors")
    assert_same_tensors(found, mapping.extract(model))
    assert not np.array_equal(found["head.bias"], random_tensors(config)["head.bias"])
    expected = np.asarray(model(images))
    np.testing.assert_allclose(
        logits_of(opened(tmp_path / "back"), images), expected, rtol=0,
        atol=1e-5 * np.abs(expected).max(),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_that_was_raised_is_lowered_without_loss(dtype, saved, tmp_path):
    config = micro_config()
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    halves = {k: v.astype(kind) for k, v in random_tensors(config).items()}
    raised = {k: v.astype(np.float32) for k, v in halves.items()}
    proof.filled(config, raised, "float32").save(tmp_path / "mine.keras")
    written = timm_directory.write(tmp_path / "mine.keras", tmp_path / "a", dtype=dtype)
    assert written.rounded == 0
    assert_same_tensors(load_file(written.weights), halves)
    written = timm_directory.write(tmp_path / "mine.keras", tmp_path / "b")
    assert_same_tensors(load_file(written.weights), raised)
    written = timm_directory.write(saved, tmp_path / "c", dtype=dtype)
    assert f"note      {written.rounded} tensors were rounded" in str(written)
    assert written.rounded > 20


def run(capsys, *arguments):
    """The exit code, and what a command prints."""
    try:
        to_timm.run(["to_timm", *map(str, arguments)])
    except SystemExit as stop:
        return 1, str(stop.code)
    return 0, capsys.readouterr().out


def refused(capsys, folder, *arguments):
    before = tree(folder)
    code, message = run(capsys, *arguments)
    assert code == 1
    assert message.startswith("to_timm: error: ")
    assert "\n" not in message
    assert tree(folder) == before
    return message.removeprefix("to_timm: error: ")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "mine.keras"
    filled(micro_config()).save(path)
    return path


@pytest.fixture
def mine(saved, tmp_path):
    return shutil.copy(saved, tmp_path / "mine.keras")


def test_the_command_says_what_it_wrote(mine, tmp_path, capsys):
    back = tmp_path / "back"
    code, printed = run(capsys, f"--bundle={mine}", f"--out={back}")
    assert code == 0
    assert printed.splitlines() == [
        f"written   {back}/model.safetensors, 32 tensors",
        f"          {back}/config.json",
        f"note      preprocessing is that of timm's deit_tiny_patch16_224: {mine} "
        "does not say it",
        f'load it   timm.create_model("local-dir:{back}", pretrained=True)',
    ]
    assert sorted(path.name for path in back.iterdir()) == [
        "config.json", "model.safetensors"
    ]  # fmt: skip


def test_files_that_are_there_are_replaced_when_asked(mine, tmp_path, capsys):
    back = tmp_path / "back"
    flags = [f"--bundle={mine}", f"--out={back}"]
    assert run(capsys, *flags)[0] == 0
    (back / "notes.txt").write_text("mine")
    (back / "model.safetensors").write_text("old")
    assert refused(capsys, tmp_path, *flags) == (
        f"{back}/model.safetensors, {back}/config.json found; pass --overwrite "
        "(overwrite=True) to replace it, or name another folder"
    )
    beside = f"--out={back}/other.safetensors"  # whose config.json would be the same
    assert "/config.json found; pass --overwrite" in refused(
        capsys, tmp_path, flags[0], beside
    )
    assert run(capsys, *flags, "--overwrite")[0] == 0
    assert len(load_file(back / "model.safetensors")) == 32
    assert (back / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "--bundle is missing: a bundle, or a .keras file"),
        (["--bundle=x"], "--out is missing: a folder, or a file that ends in .safet"),
        (["--bundle=x", "--out=y", "z"], "'z' found; expected: flags only"),
        (["--bundel=x"], "Unknown command line flag 'bundel'"),
        (["--bundle=none", "--out={}/y"], "none is not a bundle of vit_tf"),
        (["--bundle={}/mine.keras", "--out={}/y", "--dtype=int8"], "dtype='int8' fo"),
        (
            ["--bundle={}/mine.keras", "--out={}/mine.keras/y"],
            "mine.keras is a file; expected: a folder, or a file that ends in .safe",
        ),
        (
            ["--bundle={}/mine.keras", "--out={}/y", "--model=resnet50"],
            "a VisionTransformer named 'resnet50' found; expected: timm's name of its "
            "architecture, as --model=NAME",
        ),
        (
            ["--bundle={}/mine.keras", "--out={}/y", "--model=cait_xxs24_224"],
            "a VisionTransformer found; cait_xxs24_224 is a Cait",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(flags, expected, mine, tmp_path, capsys):
    flags = [flag.format(tmp_path) for flag in flags]
    assert expected in refused(capsys, tmp_path, *flags)


def test_another_name_than_the_bundles_own_is_an_error(bundle, tmp_path):
    with pytest.raises(BundleError, match="'deit_tiny_patch16_224' found, 'x' expect"):
        timm_directory.write(bundle[0], tmp_path / "y", architecture="x")


def test_a_file_that_does_not_say_its_architecture_is_told(tmp_path):
    model = vit_tf.create_model("deit_tiny_patch16_224", **MICRO, model_name="mine")
    model.save(tmp_path / "mine.keras")
    with pytest.raises(BundleError, match="a VisionTransformer named 'mine' found"):
        timm_directory.write(tmp_path / "mine.keras", tmp_path / "y")
    written = timm_directory.write(
        tmp_path / "mine.keras", tmp_path / "y", architecture="vit_tiny_patch16_224"
    )
    assert_same_tensors(load_file(written.weights), mapping.extract(model))
    assert opened(tmp_path / "y").pretrained_cfg["mean"] == [0.5, 0.5, 0.5]


def test_what_json_cannot_say_is_refused(tmp_path):
    arguments = {**MICRO, "norm_layer": "RmsNorm", "mlp_layer": "SwiGLU"}
    model = vit_tf.create_model("deit_tiny_patch16_224", **arguments)
    model.save(tmp_path / "mine.keras")
    with pytest.raises(ValueError, match="cannot say it") as raised:
        timm_directory.write(tmp_path / "mine.keras", tmp_path / "y")
    for part in ("norm_layer='RmsNorm' found, 'LayerNorm' in deit", "mlp_layer='SwiG"):
        assert part in str(raised.value)
    assert not (tmp_path / "y").exists()


def test_other_channels_take_no_mean_of_three(tmp_path):
    model = vit_tf.create_model("deit_tiny_patch16_224", **MICRO, in_chans=4)
    model.save(tmp_path / "mine.keras")
    timm_directory.write(tmp_path / "mine.keras", tmp_path / "y")
    config = json.loads((tmp_path / "y/config.json").read_text())
    assert config["pretrained_cfg"]["input_size"] == [4, 32, 32]
    assert "mean" not in config["pretrained_cfg"]


def test_what_reads_back_otherwise_is_not_kept(mine, tmp_path, monkeypatch, capsys):
    save = write.safetensors.numpy.save_file

    def damaged(tensors, path, **kwargs):
        save({k: v + 1 if k == "head.bias" else v for k, v in tensors.items()}, path)

    monkeypatch.setattr(write.safetensors.numpy, "save_file", damaged)
    message = refused(capsys, tmp_path, f"--bundle={mine}", f"--out={tmp_path / 'y'}")
    assert "read back otherwise than written: ['head.bias']" in message


def test_it_is_a_command(mine, tmp_path):
    command = [sys.executable, "-m", "vit_tf.to_timm"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--bundle" in done.stdout
    done = subprocess.run([*command, "--out=x"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("to_timm: error: --bundle is missing")
