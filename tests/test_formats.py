"""Every format a bundle may hold, of each kind, read by what its users have."""

import contextlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import skimage.data
import some
import tensorflow as tf
from cli import MICRO, refused, run
from micro import micro_config, random_tensors, smallest_config
from safetensors.numpy import load_file
from test_to_timm import assert_same_tensors

import vit_tf
from vit_tf import models, pipeline, proof
from vit_tf.checkpoints import CheckpointError
from vit_tf.export import bundle, formats, representative
from vit_tf.export.formats import FORMATS, keras_files, litert
from vit_tf.models.swin_transformer import SwinTransformerBlock
from vit_tf.parity import ParityError

DIGITS = Path(__file__).parent.parent / "examples" / "digits"
sys.path.insert(0, str(DIGITS))

from digits import MEAN, STD, splits  # noqa: E402

KINDS = {  # what makes them as small as they can be
    "vit_tiny_patch16_224": {},
    "deit_tiny_distilled_patch16_224": {"num_classes": 0},
    "cait_xxs24_224": {"dynamic_img_size": True},
    "swin_tiny_patch4_window7_224": {},
    "swinv2_tiny_window8_256": {},
    "vit_tiny_r_s16_p8_224": {"img_size": 64, "backbone_channels": None},
}
SOME = (
    "deit_tiny_distilled_patch16_224",
    "swinv2_tiny_window8_256",
    "vit_tiny_r_s16_p8_224",
)
pytestmark = pytest.mark.usefixtures("graphs_as_traced")
OWN_PROCESS = ("tfjs", "onnx")  # slow: each kind is in a file of their own
FORMS = [name for name in FORMATS if name not in OWN_PROCESS]
PREPROCESSING = dict(
    mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_pct=1.0
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of real images: parts of two photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("astronaut", "coffee"):
        image = getattr(skimage.data, name)()
        for number, part in enumerate(np.array_split(image, 4, axis=1)):
            path = folder / name / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(tf.io.encode_png(part).numpy())
    return folder


@pytest.fixture(scope="module", params=some.of(KINDS, SOME))
def converted(request, photographs, tmp_path_factory):
    config = smallest_config(request.param, **KINDS[request.param])
    config.preprocessing.update(PREPROCESSING)
    config.export.representative = str(photographs)
    out = tmp_path_factory.mktemp("formats") / "out"
    return config, pipeline.convert(config, out, checkpoint="random:0", formats=FORMS)


def images_of(config, batch: int) -> np.ndarray:
    rng = np.random.default_rng(batch)
    return rng.standard_normal((batch, *models.input_shape(config)), np.float32)


def test_each_is_read_back_and_compared_with_the_original(converted):
    config, conversion = converted
    proven = json.loads((conversion.directory / bundle.PARITY).read_text())
    reports = {report["title"]: report for report in proven["reports"]}
    for form in map(FORMATS.get, FORMS):
        report = reports[f"{form.title} read back"]
        assert report["passed"]
        assert report["tolerance"] == form.tolerances["float32"]
        assert report["worst"]["name"] == "logits"
        assert (conversion.directory / form.path).exists()
    top1 = reports["LiteRT int8 read back"]["top1"]
    int8 = reports["LiteRT int8 read back"]["worst"]
    assert int8["error"] < 0.1 * int8["scale"]
    if config.model.num_classes:
        assert top1["images"] == 8
        assert f"top-1 agrees on {top1['agree']} of 8 images" in str(conversion)
    else:
        assert top1 is None


def test_a_batch_of_any_length(converted):
    config, conversion = converted
    loaded = tf.saved_model.load(str(conversion.directory))
    for batch in (1, 3):
        images = images_of(config, batch)
        logits = loaded(tf.constant(images)).numpy()
        for name in FORMS:
            form = FORMATS[name]
            if form.represented:
                continue  # noise is not what its ranges are for
            found = form.run(conversion.directory / form.path, images)
            atol = form.tolerances["float32"] * np.abs(logits).max()
            np.testing.assert_allclose(found, logits, rtol=0, atol=atol, err_msg=name)


def test_timm_has_the_tensors_bit_for_bit(converted):
    config, conversion = converted
    found = load_file(conversion.directory / "timm/model.safetensors")
    assert_same_tensors(found, random_tensors(config))


def test_litert_has_named_inputs_and_outputs_and_integers(converted):
    from ai_edge_litert.interpreter import Interpreter

    config, conversion = converted
    squares = 2 * sum(config.model.get("depths", ())) if "v2" in config.family else 0
    for path in conversion.directory.glob("*.tflite"):
        interpreter = Interpreter(str(path))
        signature = {"inputs": ["images"], "outputs": ["logits"]}
        assert interpreter.get_signature_list() == {"serving_default": signature}
        (images,) = interpreter.get_input_details()
        assert images["dtype"] == np.float32
        dtypes = [t["dtype"] for t in interpreter.get_tensor_details()]
        wholly = dtypes.count(np.float32) == 2 + squares  # images and logits
        assert wholly == (path.name == "model_int8.tflite")


@pytest.mark.parametrize(
    "converted",
    ["deit_tiny_distilled_patch16_224", "swinv2_tiny_window8_256"],
    indirect=True,
)
def test_two_models_of_one_checkpoint_give_the_same_bytes(converted, tmp_path):
    """But for a `.keras`, a zip that holds when it was saved."""
    config, conversion = converted
    origin = json.loads((conversion.directory / bundle.PARITY).read_text())["source"]
    again = formats.Converted(
        tmp_path,
        bundle.described(conversion.directory),
        origin["dtypes"],
        model=proof.filled(config, random_tensors(config), "float32"),
    )
    names = ("keras", "weights_h5", "timm", "litert_float32")  # time
    with contextlib.closing(again):
        for name in names:
            formats.write_format(name, again)
    for name in names:
        path = FORMATS[name].path
        if name == "timm":
            path /= "model.safetensors"
        paths = (folder / path for folder in (tmp_path, conversion.directory))
        found, expected = (path.read_bytes() for path in paths)
        assert (found == expected) == (name != "keras"), name


@pytest.mark.usefixtures("without_files_here")
def test_tensorflow_js(tmp_path):
    """`test_card.py` has a bundle with ONNX."""
    conversion = pipeline.convert(
        micro_config(), tmp_path / "out", checkpoint="random:0", formats=["tfjs"]
    )
    title = "TensorFlow.js files by TensorFlow read back"
    assert conversion.reports[-1].title == title
    assert "tfjs/model.json" in conversion.files


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Held-out digits as files, and the trained model as int8 by them."""
    from vit_tf.configs import checkpoint

    folder = tmp_path_factory.mktemp("digits")
    images = np.round((splits()[1][0] * STD + MEAN) * 255).astype(np.uint8)
    for number, image in enumerate(images):
        (folder / f"{number:03}.png").write_bytes(tf.io.encode_png(image).numpy())
    config = checkpoint.get_config(f"uri={DIGITS}")
    config.export.representative = str(folder)
    config.export.images = len(images)
    forms = ["litert_dynamic_int8", "litert_int8"]
    out = folder / "out"
    return pipeline.convert(config, out, checkpoint=DIGITS, formats=forms)


def test_integers_classify_digits_as_the_original_does(digits):
    report = digits.reports[-1]
    assert report.worst.relative < 0.3
    assert report.top1.images == 360
    assert report.top1.agree >= 0.97 * 360
    assert f"(tolerance 5e-01), {report.top1}" in str(digits)


@pytest.mark.usefixtures("without_files_here")
def test_nothing_of_litert_reaches_the_terminal(tmp_path, capfd):
    result = run(
        *MICRO, "--checkpoint=random:0", f"--out={tmp_path / 'b'}",
        "--formats=litert_float32",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "LiteRT float32 read back: passed" in result.out
    assert capfd.readouterr() == ("", "")
    assert "INFO" not in result.err
    assert "WARNING" not in result.err


def test_representative_images_are_spread_over_all(photographs):
    files = representative.image_files(photographs, 3)
    names = [str(path.relative_to(photographs)) for path in files]
    assert names == ["astronaut/0.png", "coffee/0.png", "coffee/3.png"]
    assert len(representative.image_files(photographs, 100)) == 8


RANDOM = "--checkpoint=random:0"
INT8 = "--formats=litert_int8"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--formats=x"], ["x found", *pipeline.FORMATS]),
        ([INT8], ["litert_int8", "real images", "--representative=FOLDER"]),
        ([INT8, "--representative=/none"], ["/none: no such folder"]),
        ([INT8, "--representative={empty}"], ["empty: no images found", ".png"]),
        (
            [INT8, "--representative={broken}", "--config.model.in_chans=4"],
            ["mean is not known", "--config.preprocessing.NAME=VALUE"],
        ),
        (["--config.export.images=0"], ["config.export.images=0", "1 or more"]),
        (
            ["--formats=litert_float32,litert_float16", "--config.dtype=float64"],
            ["litert_float32 holds no", "float64; expected: float32", "litert_float16"],
        ),
        (
            ["--formats=timm", "--config.model.norm_layer=LayerNorm(eps=1e-12)"],
            ["deit_tiny_patch16_224 as timm: ", "norm_layer='LayerNorm(eps=1e-12)'"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_written_is_said(arguments, expected, tmp_path):
    for name in ("empty", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken/a.png").write_bytes(b"no image")
    places = {name: tmp_path / name for name in ("empty", "broken")}
    arguments = [argument.format(**places) for argument in arguments]
    message = refused(tmp_path, *MICRO, RANDOM, *arguments)
    assert [part for part in expected if part not in message] == []
    assert "\n" not in message


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    known = [
        f"--config.preprocessing.{name}={value}"
        for name, value in PREPROCESSING.items()
    ]
    flags = [*MICRO, RANDOM, INT8, *known, f"--representative={folder}"]
    assert f"{folder / 'a.png'}: " in refused(tmp_path, *flags)


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert importlib.util.find_spec("ai_edge_litert") is None
    message = refused(tmp_path, *MICRO, RANDOM, "--formats=litert_float16")
    assert 'not installed: pip install "vit_tf[litert]"' in message


def test_operations_that_litert_lacks_are_named(tmp_path, monkeypatch):
    def rolled(self, x, sign):
        return tf.roll(x, [sign * n for n in self.shift_size], axis=[1, 2])

    monkeypatch.setattr(SwinTransformerBlock, "_rolled", rolled)
    name = "swin_tiny_patch4_window7_224"
    config = smallest_config(name, **KINDS[name])
    described = {"architecture": name}
    converted = formats.Converted(tmp_path, described, model=models.build(config))
    said = rf"^{name} as litert_float32: .*tf\.Roll"
    with contextlib.closing(converted), pytest.raises(formats.FormatError, match=said):
        formats.write_format("litert_float32", converted)
    assert list(tmp_path.iterdir()) == []


def test_what_litert_does_not_run_is_an_error(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("node 7 failed to prepare")

    monkeypatch.setattr("ai_edge_litert.interpreter.Interpreter", broken)
    with pytest.raises(formats.FormatError, match=r"not run a\.tflite: node 7"):
        litert.run(tmp_path / "a.tflite", images_of(micro_config(), 1))


@pytest.mark.usefixtures("without_files_here")
def test_weights_that_the_model_does_not_have_are_not_overlooked(tmp_path):
    config = micro_config()
    out = tmp_path / "out"
    pipeline.convert(config, out, checkpoint="random:0", formats=["weights_h5"])
    path = out / "model.weights.h5"
    with h5py.File(path, "a") as file:
        extra = file.create_group("extra/vars")
        extra.attrs["name"] = "extra"
        extra["0"] = np.zeros(3, np.float32)
    keras_model = vit_tf.load(out)
    keras_model.load_weights(path)  # Keras says nothing
    with pytest.raises(CheckpointError, match=r"\+ extra/0: in the file only"):
        keras_files.run_weights(path, images_of(config, 1))


@pytest.mark.usefixtures("without_files_here")
def test_a_format_that_reads_back_differently_is_not_left(tmp_path, monkeypatch):
    def write_another(model, path):
        model.head.bias.assign_add(np.ones(7, np.float32))
        model.save_weights(path)

    monkeypatch.setattr(keras_files, "write_weights", write_another)
    with pytest.raises(ParityError, match=r"\.weights\.h5 read back: .*logits"):
        pipeline.convert(
            micro_config(), tmp_path / "out", checkpoint="random:0",
            formats=["weights_h5"],
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_files_here")
@pytest.mark.parametrize(
    "dtype",
    some.of(
        ["float64", "mixed_bfloat16", "mixed_float16"], ["float64", "mixed_float16"]
    ),
)
def test_other_precisions(dtype, tmp_path):
    config = micro_config()
    config.dtype = dtype
    forms = ["keras", "weights_h5", "timm"]
    out = tmp_path / "out"
    conversion = pipeline.convert(config, out, checkpoint="random:0", formats=forms)
    assert all(report.passed for report in conversion.reports)
    found = load_file(out / "timm/model.safetensors")
    assert_same_tensors(found, random_tensors(config))
    model = vit_tf.load(out / "model.keras")
    shutil.rmtree(out / "timm")
    assert model.dtype_policy.name == dtype
