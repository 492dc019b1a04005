"""The command on files, and what it finds where the two models differ."""

import itertools
import json
import shutil
import signal
import sys
import time
from pathlib import Path

import forked
import numpy as np
import PIL
import pytest
import tensorflow as tf
from i1k_bundles import change_data, micro, read
from i1k_images import InMemory, encoded, in_memory, write_folder
from PIL import Image

from i1k_eval import evaluate as command
from i1k_eval import evaluation
from i1k_eval.datasets.dataset import Example
from i1k_eval.difference import EXAMINED
from i1k_eval.evaluation import evaluate
from i1k_eval.ported import Ported
from i1k_eval.report import report
from vit_tf import pipeline
from vit_tf.export.bundle import CONFIG, VARIABLES
from vit_tf.preprocessing.data_config import pillow_of

ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "examples" / "digits"
pytestmark = pytest.mark.usefixtures("graphs_as_traced")
sys.path.insert(0, str(DIGITS))

from digits import MEAN, STD, splits  # noqa: E402


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return micro(tmp_path_factory)


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copy")


@pytest.fixture(scope="module")
def digits_files(tmp_path_factory):
    """The held-out digits as PNG files, in a folder for each class."""
    root = tmp_path_factory.mktemp("digits_files")
    for i, (image, label) in enumerate(zip(*splits()[1], strict=True)):
        folder = root / str(label)
        folder.mkdir(exist_ok=True)
        levels = np.rint((image[..., 0] * STD + MEAN) * 255).astype(np.uint8)
        Image.fromarray(levels).save(folder / f"{i:03}.png")
    return root


@pytest.fixture(scope="module")
def digits_bundle(tmp_path_factory):
    from vit_tf.configs import checkpoint

    directory = tmp_path_factory.mktemp("bundles") / "digits"
    config = checkpoint.get_config(f"uri={DIGITS}")
    pipeline.convert(config, directory, checkpoint=DIGITS)
    return directory


def run_command(*arguments: object) -> str:
    return forked.run("-m", "i1k_eval.evaluate", *arguments, check=True).stdout


def without_rates(results: dict) -> dict:
    """What is the same whenever and wherever a run was stopped."""
    sides = {
        side: {k: v for k, v in results[side].items() if k != "images_per_second"}
        for side in ("ported", "original")
        if results[side]
    }
    return {**results, **sides}


def test_the_digits_end_to_end_from_their_files(
    digits_bundle, digits_files, tmp_path, capsys
):
    command.run(
        [
            "evaluate", f"--bundle={digits_bundle}", f"--data={digits_files}",
            "--reference", f"--out={tmp_path}", "--record=digits",
        ]
    )  # fmt: skip
    said = capsys.readouterr().out
    results, lines = read(tmp_path / "digits")
    tops = " | ".join(f"{100 * results['ported'][n]:.3f} %" for n in ("top1", "top5"))
    row = f"| digits | 360 | {tops} | {tops} | 0 |"
    assert row in (digits_bundle / "README.md").read_text()
    assert results["images"] == results["comparison"]["images"] == 360
    assert results["comparison"]["disagreements"] == 0
    assert results["comparison"]["differing_pixels"] == 0
    assert results["comparison"]["different"] == []
    assert results["comparison"]["largest_difference"]["relative"] < 1e-5
    right = top1_of_timm(DIGITS, digits_files)
    assert results["original"]["top1"] == results["ported"]["top1"] == right / 360
    assert 0.95 < right / 360 < 1
    assert results["original"]["images_per_second"] > 0
    assert results["ported"]["images_per_second"] > 0
    assert "disagreements   0 of 360 images (top-1)" in said
    assert "pixels          0 of 360 images differ" in said
    assert len(lines) == 360
    assert {line["name"] for line in lines} == {
        str(file.relative_to(digits_files)) for file in digits_files.glob("*/*")
    }


def top1_of_timm(checkpoint: Path, files: Path) -> int:
    """How many images timm's model gets right, without any of our code."""
    from vit_tf.reference import timm, torch

    paths = sorted(files.glob("*/*.png"))
    images = np.stack([np.asarray(Image.open(path)) for path in paths])[:, None]
    pixels = (images.astype(np.float32) / 255 - MEAN) / STD
    model = timm.create_model(f"local-dir:{checkpoint}", pretrained=True).eval()
    with torch.inference_mode():
        predicted = model(torch.from_numpy(pixels.astype(np.float32))).argmax(1)
    return sum(
        int(path.parent.name) == label
        for path, label in zip(paths, predicted.tolist(), strict=True)
    )


def test_a_thousand_generated_images_end_to_end(bundle, tmp_path):
    files = write_folder(tmp_path / "images", 1000, 10)
    (files / "class_3" / "no_image.png").write_bytes(
        b"\x89PNG\r\n\x1a\nno image at all"
    )
    broken = encoded(0, (90, 80), "jpeg")
    (files / "class_4" / "cut.jpg").write_bytes(broken[: len(broken) // 2])
    (files / "class_5" / "empty.jpg").write_bytes(b"")
    said = run_command(
        f"--bundle={bundle}", f"--data={files}", "--reference", "--threads=2",
        f"--out={tmp_path / 'out'}",
    )  # fmt: skip
    results, lines = read(tmp_path / "out" / "micro")
    assert results["images"] == 1003
    assert results["comparison"]["images"] == 1000
    assert results["comparison"]["disagreements"] == 0
    assert results["comparison"]["differing_pixels"] == 0
    assert results["comparison"]["different"] == []
    unreadable = ["class_3/no_image.png", "class_4/cut.jpg", "class_5/empty.jpg"]
    assert [row["name"] for row in results["unreadable"]] == unreadable
    assert all(row["ported"] and row["original"] for row in results["unreadable"])
    assert all(name in said for name in unreadable)
    assert "1,003 images, 3 unreadable, 0 unlabelled" in said
    for side, classes in itertools.product(("ported", "original"), (1, 5)):
        right = sum(
            int(line["name"].split("/")[0].removeprefix("class_"))
            in line[side]["classes"][:classes]
            for line in lines
        )
        assert results[side][f"top{classes}"] == right / 1000
        assert results[side]["images"] == 1000


def test_another_interpolation_is_found_in_the_pixels(copy, tmp_path):
    change_data(copy, interpolation="bilinear")
    results = evaluate(
        Ported(copy), in_memory(6), tmp_path, reference=True, checkpoint="random:0"
    )
    comparison = results["comparison"]
    assert comparison["differing_pixels"] == 6
    assert comparison["preprocessing"] == {"interpolation": ["bicubic", "bilinear"]}
    assert [row["starts"] for row in comparison["different"]] == ["pixels"] * 6
    assert all(row["pixels"] and row["levels"] for row in comparison["different"])
    said = report(results)
    assert "interpolation: 'bicubic' in the original, 'bilinear' in the bundle" in said
    assert "0.png: " in said
    assert "starts in the pixels: " in said


def test_pixels_differ_where_pillow_has_another_order_of_passes(copy, tmp_path):
    installed = pillow_of(PIL.__version__)
    other = "9.5" if installed != "9.5" else "13.0"
    change_data(copy, pillow=other)
    tall = InMemory(
        [Example(f"{i}.png", encoded(i, (60, 170)), frozenset([0])) for i in range(6)]
    )
    results = evaluate(Ported(copy), tall, tmp_path, reference=True)
    assert results["comparison"]["differing_pixels"] > 0
    different = results["comparison"]["different"]
    assert {row["starts"] for row in different} == {"pixels"}
    assert all(0 < row["levels"] < 6 for row in different)
    assert (
        f"Pillow {PIL.__version__} is installed, which resizes in the order of "
        f"{installed!r}; the bundle has that of {other!r}"
    ) in report(results)


def test_a_changed_weight_is_found_in_its_layer(copy, tmp_path):
    change_weight(copy, "blocks.1.mlp.fc1.weight", 0.5)
    ported, images = Ported(copy), in_memory(EXAMINED + 2)
    folder = tmp_path / "out"
    options = dict(reference=True, checkpoint="random:0", batch_size=8)
    results = evaluate(ported, images, folder, **options)
    comparison = results["comparison"]
    assert comparison["differing_pixels"] == 0
    different = comparison["different"]
    assert [row["starts"] for row in different] == ["model"] * (EXAMINED + 2)
    layers = [row["layer"] for row in different]
    assert layers == ["blocks.1.mlp.fc1"] * EXAMINED + [""] * 2
    assert f"{VARIABLES}.data-00000-of-00001" in results["changed"]
    said = report(results)
    assert "starts in the model: blocks.1.mlp.fc1" in said
    assert "not what was compared with timm when the bundle was made" in said
    assert "... and 2 more: see results.json" in said
    unbroken = (folder / "predictions.jsonl").read_bytes()
    (folder / "predictions.jsonl").write_bytes(unbroken[:-700])
    assert without_rates(evaluate(ported, images, folder, **options)) == without_rates(
        results
    )
    assert (folder / "predictions.jsonl").read_bytes() == unbroken


def test_a_graph_that_differs_from_its_layers_is_found(bundle, copy, tmp_path):
    described = json.loads((copy / CONFIG).read_text())
    described["model"]["act_layer"] = "gelu_tanh"
    (copy / CONFIG).write_text(json.dumps(described))
    results = evaluate(Ported(copy), in_memory(3), tmp_path, reference=True)
    different = results["comparison"]["different"]
    assert [(row["starts"], row["layer"]) for row in different] == [("model", "")] * 3
    assert "no layer by itself differs" in report(results)


def test_no_layer_is_named_in_half_precision(copy, tmp_path):
    change_weight(copy, "head.bias", 100.0)
    described = json.loads((copy / CONFIG).read_text())
    (copy / CONFIG).write_text(json.dumps({**described, "dtype": "mixed_bfloat16"}))
    options = dict(reference=True, checkpoint="random:0")
    results = evaluate(Ported(copy), in_memory(2), tmp_path, **options)
    different = results["comparison"]["different"]
    assert [(row["starts"], row["layer"]) for row in different] == [("model", "")] * 2


def change_weight(bundle: Path, name: str, amount: float) -> None:
    """Adds to one number of one variable in a bundle's checkpoint."""
    prefix = str(bundle / VARIABLES)
    stored = tf.train.load_checkpoint(prefix)
    names = sorted(stored.get_variable_to_shape_map())
    values = {key: stored.get_tensor(key) for key in names}
    (key,) = (key for key in names if name.replace(".", "..") in key)
    values[key] = values[key].copy()
    values[key].flat[0] += amount
    types = stored.get_variable_to_dtype_map()
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(values[key], types[key]) for key in names],
    )


def test_what_one_side_alone_cannot_read_is_said(bundle, tmp_path):
    examples = [
        Example("good.png", encoded(1, (40, 40)), frozenset([1])),
        Example("pixmap.ppm", encoded(2, (40, 40), "ppm"), frozenset([2])),
        Example("locked.png", b"", frozenset([3]), "Permission denied"),
        Example("unlabelled.png", encoded(4, (40, 40)), frozenset()),
    ]
    results = evaluate(
        Ported(bundle), InMemory(examples), tmp_path, reference=True, batch_size=3
    )
    ppm, locked = results["unreadable"]
    assert ppm["name"] == "pixmap.ppm"
    assert ppm["ported"]
    assert ppm["original"] == ""
    assert locked["ported"] == locked["original"] == "Permission denied"
    assert results["unlabelled"] == 1
    assert results["ported"]["images"] == 1
    assert results["original"]["images"] == 2
    assert results["comparison"]["images"] == 2
    said = report(results)
    assert "pixmap.ppm: by the ported model alone: " in said
    assert "locked.png: Permission denied" in said


def test_a_run_goes_on_wherever_it_was_cut_off(bundle, tmp_path):
    ported, images = Ported(bundle), in_memory(30)
    images.all_examples[11] = Example("11.png", b"no image", frozenset([1]))
    file = tmp_path / "predictions.jsonl"
    whole = evaluate(ported, images, tmp_path, batch_size=4)
    unbroken = file.read_bytes()
    first_line = unbroken.index(b"\n") + 1
    cuts = np.random.default_rng(0).integers(first_line, len(unbroken), 5)
    for cut in (first_line, *cuts.tolist(), len(unbroken) - 1, len(unbroken)):
        file.write_bytes(unbroken[:cut])
        again = evaluate(ported, images, tmp_path, batch_size=4)
        assert without_rates(again) == without_rates(whole)
        assert again["ported"]["images_per_second"] > 0
        assert file.read_bytes() == unbroken


KILLED = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "timm", "torchvision", "PIL"):
            raise ModuleNotFoundError(name + " is not installed", name=name)
sys.meta_path.insert(0, Blocked())
import tensorflow as tf
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
runpy.run_module("i1k_eval.evaluate", run_name="__main__", alter_sys=True)
"""


def test_several_bundles_and_a_table_of_them(bundle, digits_bundle, tmp_path, capsys):
    files = write_folder(tmp_path / "images", 20, 10)
    command.run(
        [
            "evaluate", f"--bundle={bundle}", f"--bundle={digits_bundle}",
            f"--data={files}", f"--out={tmp_path / 'out'}", "--limit=12", "--reference",
        ]
    )  # fmt: skip
    said = capsys.readouterr().out
    for name in ("micro", "digits"):
        results, lines = read(tmp_path / "out" / name)
        assert results["comparison"]["differing_pixels"] == 0
        assert results["comparison"]["disagreements"] == 0
        assert len(lines) == results["images"] == 12
        assert f"| {name} | {files} | 12 | " in said


def test_a_killed_run_goes_on_and_needs_neither_torch_nor_pillow(
    digits_bundle, digits_files, tmp_path
):
    arguments = [
        f"--bundle={digits_bundle}",
        f"--data={digits_files}",
        "--batch_size=1",
    ]
    command.run(["evaluate", *arguments, f"--out={tmp_path / 'unbroken'}"])  # as traced
    unbroken = (tmp_path / "unbroken/digits/predictions.jsonl").read_bytes()
    file = tmp_path / "killed/digits/predictions.jsonl"
    killed = ["-c", KILLED, *arguments, f"--out={tmp_path / 'killed'}"]
    process = forked.Popen(*killed, imported=forked.TENSORFLOW)
    while process.poll() is None:
        if file.exists() and file.read_bytes().count(b"\n") > 20:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    assert process.wait() == -signal.SIGKILL, process.stderr
    assert 20 < file.read_bytes().count(b"\n") < 121
    command.run(["evaluate", *arguments, f"--out={tmp_path / 'killed'}"])
    assert file.read_bytes() == unbroken
    found, _ = read(tmp_path / "killed/digits")
    expected, _ = read(tmp_path / "unbroken/digits")
    assert without_rates(found) == without_rates(expected)


def test_logits_of_a_longer_list_are_read_by_its_map(bundle, tmp_path, monkeypatch):
    places = np.array([7, -1, 2, 5])  # of each of four classes among the ten logits
    monkeypatch.setattr(evaluation, "label_map", {10: places}.get)
    names = ("tench", "goldfish", "shark", "ray")
    monkeypatch.setattr(evaluation, "class_names", lambda: names)
    ported, images = Ported(bundle), in_memory(40, labels=4, imagenet=True)
    results = evaluate(ported, images, tmp_path)
    _, lines = read(tmp_path)
    logits = logits_of(ported, images)[:, places]
    logits[:, 1] = -np.inf
    labels = np.arange(40) % 4
    assert results["ported"]["top1"] == np.mean(logits.argmax(1) == labels)
    for line, row in zip(lines, logits, strict=True):
        assert line["ported"]["classes"] == np.argsort(-row)[:3].tolist()
        np.testing.assert_allclose(
            line["ported"]["logits"], np.sort(row)[:0:-1], rtol=1e-5
        )
    assert "1 (goldfish)" in report(results)


def test_only_the_classes_of_a_subset_count(bundle, tmp_path):
    ported, images = Ported(bundle), in_memory(30, labels=3, classes=(0, 1, 2))
    results = evaluate(ported, images, tmp_path)
    logits = logits_of(ported, images)[:, :3]
    labels = np.arange(30) % 3
    assert results["ported"]["top1"] == np.mean(logits.argmax(1) == labels)
    assert results["ported"]["top5"] == 1


def logits_of(ported: Ported, images: InMemory) -> np.ndarray:
    """By the SavedModel itself, on pixels that timm makes of the files."""
    import io

    from vit_tf.reference import timm

    data = ported.data.to_json()
    del data["pillow"]
    transform = timm.data.create_transform(**data)
    pixels = [
        transform(Image.open(io.BytesIO(example.encoded)).convert("RGB")).numpy()
        for example in images.all_examples
    ]
    loaded = tf.saved_model.load(str(ported.path))
    return loaded(np.stack(pixels).transpose(0, 2, 3, 1)).numpy()
