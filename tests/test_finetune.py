"""From a bundle to a fine-tuned bundle, through kills, on one device or two."""

import contextlib
import io
import json
import os
import shutil
import signal
import socket
from pathlib import Path

import bundles
import forked
import numpy as np
import pytest
import tensorflow as tf
from cli import tree
from digit_images import write_digits
from ml_collections import ConfigDict
from vit_tf.configs import finetune as recipe_file

import vit_tf
from i1k_eval.datasets import DatasetError
from vit_tf import mapping
from vit_tf.export import bundle as bundle_files
from vit_tf.export import timm_directory
from vit_tf.finetune import __main__ as command
from vit_tf.finetune import run
from vit_tf.finetune.batches import training_batches
from vit_tf.finetune.labelled_images import open_data
from vit_tf.finetune.start import class_order, start
from vit_tf.finetune.state import history
from vit_tf.preprocessing import DataConfig
from vit_tf.reference import timm, torch
from vit_tf.training import TrainTransform

RECIPE = dict(
    epochs=3, batch_size=8, lr=1e-3, warmup_epochs=1, mixup=0.8, drop=0.1,
    drop_path=0.2, model_ema_decay=0.9, clip_grad=1.0, val_share=0.2,
)  # fmt: skip
HERE = Path(__file__).parent
pytestmark = pytest.mark.usefixtures("graphs_as_traced", "without_files")


def recipe(**fields):
    config = recipe_file.get_config()
    config.update(RECIPE | fields)
    return config


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return bundles.shared(tmp_path_factory)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "digits"
    write_digits(folder, count=36, classes=3)
    return folder


@pytest.fixture(scope="module")
def tuned(bundle, data, tmp_path_factory):
    """An unbroken run, and its folder."""
    out = tmp_path_factory.mktemp("tuned") / "unbroken"
    return run.finetune(bundle, str(data), out, recipe()), out


def test_the_new_bundle_carries_preprocessing_and_labels(tuned, bundle):
    told, old = (bundle_files.described(place) for place in (tuned[1], bundle))
    assert told["data"] == old["data"]
    assert told["label_names"] == ["0", "1", "2"]
    assert told["model"]["num_classes"] == 3
    assert told["architecture"] == old["architecture"]
    proven = json.loads((tuned[1] / bundle_files.PARITY).read_text())
    assert proven["compared_with_timm"]
    notes = proven["source"]["notes"]
    assert notes[0] == f"fine-tuned from {bundle} (deit_tiny_patch16_224)"
    assert notes[2].startswith("head: 3 classes of the data, drawn anew (seed 42)")


def test_its_weights_are_new_and_go_back_to_timm(tuned, bundle, tmp_path):
    tensors = mapping.extract(vit_tf.load(tuned[1]))
    before = mapping.extract(vit_tf.load(bundle))
    assert all(np.any(tensors[n] != before[n]) for n in before if "head" not in n)
    timm_directory.write(tuned[1], tmp_path / "back")
    model = timm.create_model(f"local-dir:{tmp_path / 'back'}", pretrained=True)
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), tensors[name])
    image = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    with torch.inference_mode():
        assert model.eval()(torch.from_numpy(image)).shape == (1, 3)


def test_what_is_left_is_the_history_the_logs_and_the_weights(tuned):
    names = sorted(path.name for path in tuned[0].state.iterdir())
    assert names == ["history.jsonl", "logs", "setup.json", "weights"]
    assert [row["epoch"] for row in tuned[0].history] == [1, 2, 3]
    assert {"loss", "top1", "val_loss", "val_top1"} <= tuned[0].history[0].keys()
    assert len(list(tuned[0].state.glob("logs/*/events.*"))) == 2
    assert f"held out  top-1 {tuned[0].history[-1]['val_top1']:.4f}" in str(tuned[0])


def test_the_held_out_metrics_are_those_of_the_new_bundle(tuned, data):
    """The last ones: of the averages, with the exact preprocessing."""
    images = open_data(str(data), val_share=0.2, seed=42).evaluation
    model = vit_tf.load(tuned[1])
    transform = vit_tf.create_transform(model.data_config)
    files = [Path(name).read_bytes() for name in images.names]
    logits = model(np.stack([transform(tf.constant(file)) for file in files])).numpy()
    shifted = logits - logits.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    loss = -logs[np.arange(len(logs)), images.labels].mean()
    top1 = np.mean(logits.argmax(1) == images.labels)
    last = tuned[0].history[-1]
    assert last["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert last["val_top1"] == pytest.approx(top1)


def test_a_run_that_was_killed_twice_goes_on_to_the_same_losses(
    tuned, bundle, data, tmp_path
):
    out = tmp_path / "killed"
    arguments = dict(bundle=str(bundle), data=str(data), out=str(out))
    arguments["recipe"] = recipe().to_dict()
    for kill in ((1, 2), (2, 0)):  # epoch and batch, of 3 and 3
        script = HERE / "killed_finetuning.py"
        told = json.dumps(arguments | {"kill": kill})
        done = forked.run(script, told, as_traced=True)
        assert done.returncode == -signal.SIGKILL
        assert not out.exists()
        assert len(history(tmp_path / "killed.training")) == kill[0]
    resumed = run.finetune(bundle, str(data), out, recipe(), resume=True)
    for found, expected in zip(resumed.history, tuned[0].history, strict=True):
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)
    killed, unbroken = (mapping.extract(vit_tf.load(p)) for p in (out, tuned[1]))
    for name, tensor in unbroken.items():
        np.testing.assert_allclose(killed[name], tensor, rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module")
def on_devices(bundle, data, tmp_path_factory):
    """Fields of a recipe, and the losses it gives on one device and on two."""
    fields = dict(drop=0.0, drop_path=0.0, epochs=2)
    arguments = dict(bundle=str(bundle), data=str(data))
    arguments["out"] = str(tmp_path_factory.mktemp("devices"))
    arguments["recipe"] = recipe(**fields).to_dict()
    script = HERE / "mirrored_finetuning.py"
    done = forked.run(script, json.dumps(arguments), as_traced=True, check=True)
    return fields, *json.loads(done.stdout).values()


def assert_same_losses(rows, others):
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys()
        for name in row.keys() - {"epoch"}:
            np.testing.assert_allclose(other[name], row[name], rtol=1e-5, err_msg=name)


def test_two_devices_have_the_losses_of_one(on_devices):
    _, one, two = on_devices
    assert_same_losses(one, two)


def test_two_workers_have_the_losses_of_one(on_devices, bundle, data, tmp_path):
    """Two processes run the same command; the first writes the bundle."""
    fields, one, _ = on_devices
    out = tmp_path / "two"
    command = ["-m", "vit_tf.finetune", "--strategy=multi_worker"]
    command += [f"--bundle={bundle}", f"--data={data}", f"--out={out}"]
    command += [f"--config.{k}={v}" for k, v in (RECIPE | fields).items()]
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    tasks = [
        {"cluster": cluster, "task": {"type": "worker", "index": index}}
        for index in range(2)
    ]
    workers = [
        forked.Popen(
            *command, env={**os.environ, "TF_CONFIG": json.dumps(task)}, as_traced=True
        )
        for task in tasks
    ]
    codes = [worker.wait() for worker in workers]
    assert codes == [0, 0], [worker.stderr for worker in workers]
    assert_same_losses(one, history(tmp_path / "two.training"))
    assert bundle_files.is_bundle(out)
    assert "held out  top-1" in workers[0].stdout
    assert "top-1" not in workers[1].stdout


def test_several_workers_have_to_be_named(bundle, data, tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    message = refused(
        tmp_path, "--strategy=multi_worker", f"--bundle={bundle}", f"--data={data}"
    )
    assert "without TF_CONFIG in the environment found; expected: {" in message


def test_a_worker_that_ended_is_not_taken_for_an_image(data):
    images = open_data(str(data), val_share=0.2)
    with (
        pytest.raises(ConnectionError, match="another worker ended"),
        run._failures_named(images),
    ):
        raise tf.errors.UnavailableError(None, None, "Collective ops is aborted")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def batches(data, first_epoch, *, smoothing=0.0, **options):
    images = open_data(str(data), val_share=0.2).train
    transform = TrainTransform(DataConfig((3, 8, 8)), **options)
    found = training_batches(
        images, transform, num_classes=3, batch_size=8, steps=3,
        first_epoch=first_epoch, epochs=3, seed=1, smoothing=smoothing,
    )  # fmt: skip
    return list(found.as_numpy_iterator())


def test_batches_follow_from_their_number(data):
    all_of_them, later = batches(data, 0, smoothing=0.3), batches(data, 2)
    assert len(all_of_them) == 9
    for (pixels, targets), (again, labels) in zip(all_of_them[6:], later, strict=True):
        np.testing.assert_array_equal(pixels, again)
        np.testing.assert_allclose(targets, labels * 0.7 + 0.1, rtol=1e-6)


def test_an_epoch_sees_each_image_once_in_an_order_of_its_own(data):
    as_it_is = dict(scale=(1, 1), ratio=(1, 1), hflip=0.0, color_jitter=None)
    found = [pixels.reshape(8, -1) for pixels, _ in batches(data, 0, **as_it_is)]
    first, second = np.concatenate(found[:3]), np.concatenate(found[3:6])
    assert len(np.unique(first, axis=0)) == len(np.unique(second, axis=0)) == 24
    assert np.any(first != second)


def test_splits_are_found_and_classes_are_in_timms_order(data, tmp_path):
    for split, kept in (("train", "0"), ("val", "1")):
        for number in ("2", "10", "1"):
            source = sorted((data / "0").iterdir())[int(kept)]
            place = tmp_path / split / number
            place.mkdir(parents=True)
            shutil.copy(source, place)
    found = open_data(str(tmp_path))
    assert found.class_names == ("1", "2", "10")
    assert found.train.labels.tolist() == found.evaluation.labels.tolist() == [0, 1, 2]
    assert found.note == f"{tmp_path}: train and val"
    shutil.rmtree(tmp_path / "val" / "2")  # need not have all
    assert open_data(str(tmp_path)).evaluation.labels.tolist() == [0, 2]
    (tmp_path / "val" / "1").rename(tmp_path / "val" / "one")
    with pytest.raises(DatasetError, match="classes one found, which are not"):
        open_data(str(tmp_path))


def test_a_share_of_each_class_is_held_out(data):
    found = open_data(str(data), val_share=0.25, seed=3)
    assert not set(found.train.names) & set(found.evaluation.names)
    for label in range(3):
        kept, held_out = (
            int(np.sum(part.labels == label))
            for part in (found.train, found.evaluation)
        )
        assert held_out == round(0.25 * (kept + held_out))
    other = open_data(str(data), val_share=0.25, seed=4)
    assert other.evaluation.names != found.evaluation.names


def refused(folder: Path, *arguments: object) -> str:
    """The one line of a command that fails, and leaves `folder` as it is."""
    before, err = tree(folder), io.StringIO()
    given = ["finetune", f"--out={folder / 'out'}", *map(str, arguments)]
    with pytest.raises(SystemExit) as stopped, contextlib.redirect_stderr(err):
        command.run([*given, "--nodeterministic"])
    message = str(stopped.value.code)
    assert message.startswith("finetune: error: ")
    assert tree(folder) == before
    return message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config.learning_rate=1"], "--config.learning_rate: no such field; it has"),
        (["--config.lr=fast"], "config.lr"),
        (["--config=none.py"], "--config=none.py: there is no such file; expected: a"),
        (["--strategy=two"], "strategy"),
        (["--config.epochs=0"], "config.epochs=0 found, 1 or more expected"),
        (["--config.train_only=tail"], "config.train_only='tail' found, one of"),
        (["--config.opt=adam"], "opt='adam': expected one of"),
        (["--config.freeze=('blocks.9',)"], "no parameter or module 'blocks.9'"),
        (["--config.aa=augmix"], "auto_augment='augmix' found"),
        (["--config.batch_size=64"], " images to train on found, 64 or more"),
        (["--config.val_split=held"], "has no folder 'held'; it has 0, 1, 2"),
    ],
)
def test_a_recipe_that_cannot_be_is_named(arguments, expected, bundle, data, tmp_path):
    usual = [f"--bundle={bundle}", f"--data={data}", "--config.val_share=0.2"]
    assert expected in refused(tmp_path, *usual, "--config.batch_size=8", *arguments)


def changed(data, folder, change):
    shutil.copytree(data, folder / "data")
    change(folder / "data")
    return folder / "data"


def remove_images(folder):
    shutil.rmtree(folder / "1")
    (folder / "1").mkdir()


def keep_one_class(folder):
    for name in "12":
        shutil.rmtree(folder / name)


def break_an_image(folder):
    sorted((folder / "2").iterdir())[0].write_bytes(b"no image")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (shutil.rmtree, "there is no folder"),
        (remove_images, "no image in 1; expected: images in the folder of each"),
        (keep_one_class, "0 class folder found; expected: two or more"),
        (break_an_image, "an image cannot be read: "),
    ],
)
def test_data_that_cannot_be_trained_on_is_named(
    change, expected, bundle, data, tmp_path
):
    place = changed(data, tmp_path, change)
    flags = ["--config.val_share=0.2", "--config.batch_size=8", "--config.epochs=1"]
    message = refused(tmp_path, f"--bundle={bundle}", f"--data={place}", *flags)
    assert expected in message
    if change is break_an_image:
        assert str(sorted((place / "2").iterdir())[0]) in message


def test_a_bundle_that_does_not_say_its_preprocessing_is_named(bundle, data, tmp_path):
    place = bundles.changed(bundle, tmp_path)
    told = json.loads((place / bundle_files.CONFIG).read_text())
    del told["data"]["mean"]
    bundles.rewritten(place, bundle_files.CONFIG, data=told["data"])
    usual = [f"--data={data}", "--config.batch_size=8"]
    message = refused(tmp_path, f"--bundle={place}", *usual)
    assert "how its images are prepared is not known (mean is not known)" in message
    assert "is not a bundle" in refused(tmp_path, f"--bundle={data}", *usual)


def test_what_is_there_is_not_overwritten(tuned, bundle, data):
    usual = [f"--bundle={bundle}", f"--data={data}"]
    folder = tuned[1].parent
    assert "pass --overwrite" in refused(folder, *usual, f"--out={tuned[1]}")
    aside = tuned[1].rename(folder / "aside")
    fields = [f"--config.{name}={value}" for name, value in RECIPE.items()]
    try:
        out = f"--out={tuned[1]}"
        assert "pass --resume to go" in refused(folder, *usual, *fields, out)
        other = [*usual, *fields, out, "--resume", "--config.lr=0.5"]
        assert "config.lr was 0.001, is 0.5; expected: the" in refused(folder, *other)
    finally:
        aside.rename(tuned[1])


def test_what_is_no_state_of_a_training_is_left_alone(bundle, data, tmp_path):
    (tmp_path / "out.training").mkdir()
    (tmp_path / "out.training" / "mine").write_text("")
    usual = [f"--bundle={bundle}", f"--data={data}", "--config.batch_size=8"]
    message = refused(tmp_path, *usual, "--overwrite")
    assert "out.training exists, and is not the state of a training" in message


def test_a_recipe_with_other_fields_is_named(bundle, data, tmp_path):
    fields = recipe().to_dict()
    fields["learning_rate"] = fields.pop("lr")
    other = ConfigDict(fields)
    with pytest.raises(ValueError, match="other fields found: learning_rate, lr;"):
        run.finetune(bundle, str(data), tmp_path / "out", other)


def test_a_data_set_of_tfds_is_opened(data, tmp_path, monkeypatch):
    from test_i1k_datasets import tfds, write_tfds

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "label": tfds.features.ClassLabel(names=["two", "one", "zero"]),
    }
    files = sorted(data.rglob("*.png"))[:12]
    rows = [{"image": str(f), "label": i % 3} for i, f in enumerate(files)]
    write_tfds(tmp_path, "digits", features, train=rows[:9], test=rows[9:])
    found = open_data("tfds:digits")
    assert found.class_names == ("two", "one", "zero")
    assert (len(found.train), len(found.evaluation)) == (9, 3)
    read = found.evaluation.reader()
    bytes_of = {f.read_bytes(): r["label"] for f, r in zip(files, rows, strict=True)}
    for index, label in enumerate(found.evaluation.labels):
        assert bytes_of[read(index).numpy()] == label
    with pytest.raises(DatasetError, match="has no split 'dev'; it has"):
        open_data("tfds:digits", val_split="dev")


def test_classes_of_the_same_names_keep_the_head(tuned, data, tmp_path):
    again = start(tuned[1], recipe(), class_order(tuned[1], ["2", "0", "1"]))
    assert again.described["label_names"] == ["0", "1", "2"]
    assert again.note == "head: the bundle's, of the same classes"
    tensors, old = (mapping.extract(m) for m in (again.model, vit_tf.load(tuned[1])))
    np.testing.assert_array_equal(tensors["head.weight"], old["head.weight"])
    others = start(tuned[1], recipe(), ["a", "b", "c"])
    weight = mapping.extract(others.model)["head.weight"]
    assert weight.shape == old["head.weight"].shape
    assert np.all(weight != old["head.weight"])


HEAD = {"head.weight", "head.bias"}
LORA = {
    f"blocks.{block}.attn.{layer}.lora_{part}.weight"
    for block in range(2)
    for layer in ("qkv", "proj")
    for part in "AB"
}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"train_only": "head"}, HEAD),
        ({"freeze_layers": 3}, HEAD),
        ({"lora": 2}, HEAD | LORA),
        ({"train_only": "head", "freeze": ("head.bias",)}, {"head.weight"}),
    ],
)
def test_what_trains_is_what_a_recipe_says(fields, expected, bundle):
    model = start(bundle, recipe(**fields), ["a", "b"]).model
    trains = {e.name for e in mapping.entries(model) if e.weight.trainable}
    assert trains == expected
