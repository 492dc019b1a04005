"""What training scripts put around a model: found, said, and chosen by a key."""

import argparse
import re
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from test_checkpoints import assert_same, legacy, saved

from vit_tf import checkpoints
from vit_tf.checkpoints import errors, keys, prefixes

MODEL = {
    "cls_token": np.zeros((1, 1, 4), np.float32),
    "patch_embed.proj.weight": np.arange(8, dtype=np.float32).reshape(4, 2),
    "blocks.0.norm1.weight": np.linspace(-1, 1, 4, dtype=np.float32),
    "norm.bias": np.linspace(0, 1, 4, dtype=np.float32),
}
OTHER = {name: array + 1 for name, array in MODEL.items()}


def tensors(arrays, prefix=""):
    return {prefix + name: torch.from_numpy(array) for name, array in arrays.items()}


def named(prefix, arrays=MODEL):
    return {prefix + name: array for name, array in arrays.items()}


@pytest.fixture
def opened(tmp_path):
    """What a file that holds `content` is opened as."""

    def open_(content, key="", save=saved):
        path = tmp_path / "a.ckpt"
        path.write_bytes(save(content))
        return checkpoints.open_checkpoint(path, checkpoint_key=key)

    return open_


@pytest.fixture
def opened_flat(tmp_path):
    def open_(arrays, key=""):
        save_file(arrays, tmp_path / "a.safetensors")
        return checkpoints.open_checkpoint(tmp_path / "a.safetensors", key)

    return open_


@pytest.mark.parametrize("key", keys.PREFERRED)
def test_a_known_key_is_found(key, opened):
    contents = opened({"epoch": 3, key: tensors(MODEL), 7: "seven"})
    assert_same(contents.tensors, MODEL)
    assert (contents.key, contents.prefix) == (key, "")
    assert contents.beside == ("epoch", "7")
    assert contents.alternatives == ()


@pytest.mark.parametrize("key", ["teacher", "student", "target_encoder", "generator"])
def test_any_other_key_is_found_where_it_is_alone(key, opened):
    centre = {"center": torch.ones(1, 5)}
    contents = opened({key: tensors(MODEL), "epoch": 3, "dino_loss": centre})
    assert_same(contents.tensors, MODEL)
    assert contents.key == key
    assert contents.beside == ("epoch", "dino_loss")


def test_averaged_weights_come_first_as_in_timm(opened, tmp_path):
    from timm.models import load_state_dict

    for averaged in ("state_dict_ema", "model_ema"):
        plain = "state_dict" if averaged == "state_dict_ema" else "model"
        content = {plain: tensors(MODEL), averaged: tensors(OTHER), "epoch": 1}
        contents = opened(content)
        timms = load_state_dict(str(tmp_path / "a.ckpt"))
        assert_same(contents.tensors, {n: t.numpy() for n, t in timms.items()})
        assert (contents.key, contents.alternatives) == (averaged, (plain,))
        chosen = opened(content, plain)
        assert_same(chosen.tensors, MODEL)
        assert (chosen.key, chosen.alternatives) == (plain, (averaged,))


def test_teacher_and_student_need_a_key(opened):
    content = {"student": tensors(MODEL), "teacher": tensors(OTHER), "epoch": 3}
    with pytest.raises(errors.UnknownLayoutError) as raised:
        opened(content)
    assert str(raised.value).endswith(
        "a.ckpt: models under 'student', 'teacher' found; expected: checkpoint_key to "
        "say which one is meant"
    )
    contents = opened(content, "teacher")
    assert_same(contents.tensors, OTHER)
    assert contents.alternatives == ("student",)


def test_keys_in_keys(opened):
    inner = {"model": tensors(MODEL), "teacher": tensors(OTHER), "step": 3}
    contents = opened({"state_dict": inner, "epoch": 3})
    assert_same(contents.tensors, MODEL)
    assert contents.key == "state_dict.model"
    assert contents.beside == ("epoch", "state_dict.step")
    assert contents.alternatives == ("state_dict.teacher",)
    assert_same(opened({"a": inner}, "a.teacher").tensors, OTHER)
    assert_same(opened({"a.b": inner}, "a.b.teacher").tensors, OTHER)


def test_a_key_that_is_not_there(opened):
    keyed = {"model": tensors(MODEL), "model_ema": tensors(OTHER)}
    for content, known in ((keyed, "model_ema, model, "), (tensors(MODEL), "")):
        with pytest.raises(errors.UnknownLayoutError) as raised:
            opened(content, "teacher")
        assert str(raised.value).endswith(
            f"checkpoint_key='teacher' found, expected one of: {known}cls_token, "
            "patch_embed, blocks, norm"
        )


class Config(dict):
    """In the place of Lightning's own, which a test need not install."""


Config.__module__ = "lightning.fabric.utilities.data"
Config.__qualname__ = Config.__name__ = "AttributeDict"


@pytest.fixture
def lightning(monkeypatch):
    import sys
    import types

    parts = Config.__module__.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        module = types.ModuleType(name)
        module.AttributeDict = Config
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("save", [saved, legacy])
def test_what_training_scripts_keep_beside_is_passed_over(save, opened, lightning):
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    beside = {
        "optimizer_states": [optimizer.state_dict()],
        "optimizer": optimizer.state_dict(),
        "loss": torch.tensor(0.3),
        "args": argparse.Namespace(lr=0.1),
        "hyper_parameters": Config(lr=0.1, path=Path("/data")),
        "callbacks": {"best": np.float64(81.5), "scores": np.arange(3)},
        "history": defaultdict(list, {"loss": [0.1]}),
        "pytorch-lightning_version": "2.5.0",
    }
    wrapped = OrderedDict(tensors(MODEL, "model."))
    wrapped["criterion.weight"] = torch.ones(3)
    wrapped["val_acc.total"] = torch.tensor(3)
    contents = opened({"state_dict": wrapped, **beside}, save=save)
    assert_same(contents.tensors, MODEL)
    assert (contents.key, contents.prefix) == ("state_dict", "model.")
    assert contents.beside == (*beside, "criterion.weight", "val_acc.total")


@pytest.mark.parametrize("wrapper", prefixes.WRAPPERS)
def test_a_prefix_is_taken_off(wrapper, opened_flat):
    contents = opened_flat(named(f"{wrapper}."))
    assert_same(contents.tensors, MODEL)
    assert (contents.prefix, contents.beside) == (f"{wrapper}.", ())


@pytest.mark.parametrize(
    "prefix", ["module.backbone.", "model._orig_mod.module.", "net.encoder.model."]
)
def test_prefixes_in_any_nesting(prefix, opened_flat):
    contents = opened_flat(named(prefix))
    assert_same(contents.tensors, MODEL)
    assert contents.prefix == prefix


def test_a_name_outside_the_prefix_stays_for_the_dialect(opened_flat):
    head = {"head.last_layer.weight_g": np.ones(3, np.float32)}
    contents = opened_flat(named("module.", named("backbone.") | head))
    assert_same(contents.tensors, MODEL | head)
    assert (contents.prefix, contents.beside) == ("module.backbone.", ())


def test_an_averaged_model_of_torch(opened):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    averaged = torch.optim.swa_utils.AveragedModel(module)
    contents = opened(averaged.state_dict())
    assert set(contents.tensors) == {"0.weight", "0.bias"}
    assert (contents.prefix, contents.beside) == ("module.", ("n_averaged",))


@pytest.mark.parametrize(
    "names",
    [
        ["embeddings.cls_token", "encoder.layer.0.layernorm_before.weight"],
        ["vit.embeddings.cls_token", "classifier.weight"],
        ["conv_proj.weight", "encoder.pos_embedding", "heads.head.weight"],
        ["patch_embed.backbone.stem.conv.weight", "norm.weight"],
        ["patch_embed.proj.weight", "backbone.patch_embed.proj.weight"],
        ["model"],
    ],
)
def test_a_models_own_names_are_left_as_they_are(names, opened_flat):
    arrays = {name: np.ones(2, np.float32) for name in names}
    contents = opened_flat(arrays)
    assert_same(contents.tensors, arrays)
    assert contents.prefix == ""


def test_two_models_in_one_file_need_a_key(opened_flat):
    arrays = named("module.", named("student.") | named("teacher.backbone.", OTHER))
    with pytest.raises(errors.UnknownLayoutError, match=re.escape(
        "models under 'module.student', 'module.teacher' found; expected: checkpoint_k"
    )):  # fmt: skip
        opened_flat(arrays)
    contents = opened_flat(arrays, "module.teacher")
    assert_same(contents.tensors, OTHER)
    assert contents.prefix == "module.teacher.backbone."
    assert contents.beside == tuple(sorted(named("module.student.")))


@pytest.mark.parametrize("averaged", ["ema.module.", "model_ema.module."])
def test_a_module_and_its_average_need_a_key(averaged, opened_flat):
    """As a LightningModule keeps them, in one state_dict."""
    arrays = named("model.") | named(averaged, OTHER)
    with pytest.raises(errors.UnknownLayoutError, match="found; expected: checkpoint_"):
        opened_flat(arrays)
    assert_same(opened_flat(arrays, averaged.partition(".")[0]).tensors, OTHER)


def test_a_name_with_and_without_the_prefix(opened_flat):
    arrays = named("model.") | {"norm.bias": np.ones(2, np.float32)}
    with pytest.raises(errors.UnknownLayoutError, match=re.escape(
        "norm.bias found both with and without 'model.' before"
    )):  # fmt: skip
        opened_flat(arrays)
