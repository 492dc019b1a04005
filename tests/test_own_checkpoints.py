"""A user's own file: what it tells is taken from it, what it does not must be said."""

import json
import re

import numpy as np
import pytest
import torch
from cli import MODEL, converted, refused
from micro import micro_config, random_tensors
from safetensors.numpy import save_file

import vit_tf
from vit_tf import find_config, mapping, proof
from vit_tf.checkpoint import read_checkpoint

pytestmark = pytest.mark.usefixtures("shared_bench", "without_files")
DISTILLED = "deit_tiny_distilled_patch16_224"
SWIN = "swin_tiny_patch4_window7_224"
REGISTERS = "vit_small_patch14_reg4_dinov2"


def saved(path, tensors):
    save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, path)
    return f"--checkpoint={path}"


def fine_tuned(folder, name=MODEL, **arguments):
    """A file of a model of two blocks, of the architecture's own width."""
    arguments = {"depth": 2, "img_size": 32, "num_classes": 5, **arguments}
    config = vit_tf.get_config(name, **arguments)
    tensors = random_tensors(config)
    return config, tensors, saved(folder / "mine.safetensors", tensors)


def bundle_config(folder):
    return json.loads((folder / "out/assets.extra/config.json").read_text())


def test_what_the_tensors_tell_needs_no_flag(tmp_path):
    config, tensors, checkpoint = fine_tuned(tmp_path, in_chans=1, reg_tokens=2)
    text = converted(f"--model={MODEL}", checkpoint, f"--out={tmp_path / 'out'}")
    found = mapping.extract(vit_tf.load(tmp_path / "out"))
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)
    model = bundle_config(tmp_path)["model"]
    assert model == {**config.model.to_dict(), "fc_norm": False}
    assert "names of timm" in text
    assert (
        "told by the file: depth=2 (12), img_size=32 (224), in_chans=1 (3), "
        f"num_classes=5 (1000), reg_tokens=2 (0); in brackets what {MODEL} has"
    ) in text


def test_a_model_need_not_be_named_where_the_tensors_decide_it(tmp_path):
    _, _, checkpoint = fine_tuned(tmp_path, DISTILLED, depth=12)
    converted(checkpoint, f"--out={tmp_path / 'out'}")
    assert bundle_config(tmp_path)["architecture"] == DISTILLED


def test_where_they_do_not_the_choices_are_listed(tmp_path):
    _, _, checkpoint = fine_tuned(tmp_path, "vit_small_patch16_224", depth=7)
    message = refused(tmp_path, checkpoint)
    assert "does not tell which model it is" in message
    assert "expected: --model=NAME" in message


def test_a_number_of_heads_is_not_guessed(tmp_path):
    _config, _, checkpoint = fine_tuned(tmp_path, embed_dim=96, num_heads=6)
    flags = [f"--model={MODEL}", checkpoint]
    message = refused(tmp_path, *flags)
    assert message == (
        f"a width of 96 found, {MODEL} has 192 with 3 heads; expected: "
        "--config.model.num_heads=N, which no tensor tells"
    )
    converted(*flags, "--config.model.num_heads=6", f"--out={tmp_path / 'out'}")
    assert bundle_config(tmp_path)["model"]["num_heads"] == 6


@pytest.mark.parametrize("names", ["deit3", "dinov2"])
def test_nor_is_it_where_names_tell_something_else(names, tmp_path):
    """DeiT-III's and DINOv2's own names tell of positions, and not of heads."""
    name = {"deit3": "deit3_small_patch16_224", "dinov2": REGISTERS}[names]
    _, tensors, _ = fine_tuned(tmp_path, name, embed_dim=96, num_heads=3)
    if names == "deit3":
        new = {n: re.sub(r"ls([12])\.gamma", r"gamma_\1", n) for n in tensors}
        original = {new[n]: t for n, t in tensors.items()}
    else:
        row = np.zeros_like(tensors["cls_token"])
        original = {
            n.replace("reg_token", "register_tokens"): t for n, t in tensors.items()
        }
        original["pos_embed"] = np.concatenate([row, tensors["pos_embed"]], axis=1)
    checkpoint = saved(tmp_path / "original.safetensors", original)
    message = refused(tmp_path, checkpoint)
    assert message.endswith(
        "does not tell which model it is: none that is known by its "
        "tensors; expected: --model=NAME"
    )
    message = refused(tmp_path, f"--model={name}", checkpoint)
    assert message.startswith(f"a width of 96 found, {name} has 384 with 6 heads")


@pytest.mark.parametrize("name", [SWIN, "swinv2_tiny_window8_256", "cait_xxs24_224"])
def test_heads_that_tensors_show_need_not_be_said(name, tmp_path):
    """Of another width, and as many heads as the architecture has."""
    arguments = dict(img_size=64, embed_dim=48, num_classes=5)
    if name == "cait_xxs24_224":
        arguments["depth"] = 2
    else:
        arguments |= dict(depths=(1, 1, 1, 1), window_size=4)
    config = vit_tf.get_config(name, **arguments)
    saved(tmp_path / "mine.safetensors", random_tensors(config))
    found = find_config.config_of(read_checkpoint(tmp_path / "mine.safetensors"), name)
    assert found.model.num_heads == config.model.num_heads
    assert found.model.embed_dim == 48


def test_a_class_token_that_is_missing_is_said_to_be(tmp_path):
    _, _, checkpoint = fine_tuned(tmp_path, class_token=False, global_pool="avg")
    message = refused(tmp_path, f"--model={MODEL}", checkpoint)
    assert " - cls_token: in the model only" in message
    text = converted(
        f"--model={MODEL}", checkpoint, f"--out={tmp_path / 'out'}",
        "--config.model.class_token=False",
    )  # fmt: skip
    assert "global_pool='avg'" in text


def test_another_class_is_named(tmp_path):
    _, _, checkpoint = fine_tuned(tmp_path, DISTILLED)
    message = refused(tmp_path, f"--model={MODEL}", checkpoint)
    assert "VisionTransformerDistilled" in message


def test_a_head_of_other_classes_is_drawn_anew_and_said_so(tmp_path):
    _, tensors, checkpoint = fine_tuned(tmp_path)
    text = converted(
        f"--model={MODEL}",
        checkpoint,
        "--config.model.num_classes=3",
        f"--out={tmp_path / 'out'}",
    )
    assert "head: 5 -> 3 classes, drawn anew (seed 0): to be trained" in text
    found = mapping.extract(vit_tf.load(tmp_path / "out"))
    assert found["head.weight"].shape == (3, 192)
    np.testing.assert_array_equal(found["norm.weight"], tensors["norm.weight"])
    notes = json.loads((tmp_path / "out/assets.extra/parity.json").read_text())
    assert any("drawn anew" in note for note in notes["source"]["notes"])
    assert "drawn anew" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize("name", [MODEL, SWIN])
def test_another_image_size_gives_timms_result(name, tmp_path):
    small = {"depths": (1, 1, 2, 1)} if name == SWIN else {"depth": 2}
    size, other = (224, 160) if name == SWIN else (32, 64)
    config = vit_tf.get_config(name, img_size=size, num_classes=5, **small)
    tensors = random_tensors(config)
    checkpoint = saved(tmp_path / "mine.safetensors", tensors)
    text = converted(
        f"--model={name}",
        checkpoint,
        f"--config.model.img_size={other}",
        f"--out={tmp_path / 'out'}",
    )
    assert ("patches, bicubic" in text) == (name == MODEL)
    from vit_tf.reference import timm

    original = timm.create_model(
        name,
        pretrained=True,
        img_size=other,
        num_classes=5,
        pretrained_cfg_overlay=dict(
            state_dict={k: torch.from_numpy(v) for k, v in tensors.items()},
            num_classes=5,
        ),
        **small,
    ).eval()
    images = np.random.default_rng(0).standard_normal((2, other, other, 3), np.float32)
    expected = original(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    found = vit_tf.load(tmp_path / "out")(images)
    atol = 1e-5 * expected.abs().max().item()
    np.testing.assert_allclose(found, expected.detach(), rtol=0, atol=atol)


def test_what_a_config_states_and_tensors_show_must_agree(tmp_path):
    _config, tensors, _ = fine_tuned(tmp_path)
    (tmp_path / "model").mkdir()
    saved(tmp_path / "model/model.safetensors", tensors)
    stated = {"architecture": MODEL, "num_classes": 7, "model_args": {"depth": 3}}
    (tmp_path / "model/config.json").write_text(json.dumps(stated))
    message = refused(tmp_path, f"--checkpoint={tmp_path / 'model'}")
    assert "num_classes=7 stated, 5 by its tensors" in message
    assert "depth=3 stated, 2 by its tensors" in message


def test_a_missing_norm_is_missing_and_no_model_without_norms(tmp_path):
    _, tensors, _ = fine_tuned(tmp_path)
    for name in ("norm.weight", "norm.bias", "blocks.1.attn.qkv.bias"):
        del tensors[name]
    checkpoint = saved(tmp_path / "mine.safetensors", tensors)
    message = refused(tmp_path, f"--model={MODEL}", checkpoint)
    assert " - norm.weight: in the model only" in message
    assert " - blocks.1.attn.qkv.bias: in the model only" in message


@pytest.mark.parametrize("key", ["teacher", "student"])
def test_one_of_several_models_is_chosen_by_its_key(key, tmp_path):
    config = micro_config(num_heads=3)
    models = {name: random_tensors(config, seed) for seed, name in enumerate(
        ["teacher", "student"]
    )}  # fmt: skip
    torch.save(
        {
            which: {f"module.backbone.{n}": torch.from_numpy(t) for n, t in m.items()}
            for which, m in models.items()
        },
        tmp_path / "dino.pth",
    )
    flags = [
        f"--model={MODEL}",
        f"--checkpoint={tmp_path / 'dino.pth'}",
        "--config.model.num_heads=3",
    ]
    message = refused(tmp_path, *flags)
    assert "teacher" in message
    assert "student" in message
    text = converted(*flags, f"--checkpoint_key={key}", f"--out={tmp_path / 'out'}")
    assert f"under {key!r}, behind 'module.backbone.'" in text
    found = mapping.extract(vit_tf.load(tmp_path / "out"))
    for name, tensor in models[key].items():
        np.testing.assert_array_equal(found[name], tensor)


def test_an_unknown_dialect_is_refused(tmp_path):
    _, _, checkpoint = fine_tuned(tmp_path)
    message = refused(tmp_path, f"--model={MODEL}", checkpoint, "--dialect=latin")
    assert message.startswith("dialect 'latin' found; expected: ")


def test_from_python(tmp_path):
    _, tensors, _ = fine_tuned(tmp_path)
    conversion = vit_tf.convert(
        MODEL, tmp_path / "out", checkpoint=tmp_path / "mine.safetensors"
    )
    assert conversion.source["notes"][0] == "names of timm"
    assert vit_tf.load(tmp_path / "out").num_classes == 5
    images = np.zeros((1, 32, 32, 3), np.float32)
    config = vit_tf.get_config(MODEL, depth=2, img_size=32, num_classes=5)
    expected = proof.original(config, tensors, "float32").logits(images)
    found = vit_tf.load(tmp_path / "out")(images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_preprocessing_is_not_guessed_where_names_of_a_model_differ_in_it(tmp_path):
    """DeiT's and ViT's are one model, on images of another mean."""
    _, _, checkpoint = fine_tuned(tmp_path, depth=12)
    text = converted(checkpoint, f"--out={tmp_path / 'out'}")
    assert f"its model has these names: {MODEL}, vit_tiny_patch16_224" in text
    data = bundle_config(tmp_path)["data"]
    assert not {"mean", "std"} & set(data)
    assert data["interpolation"] == "bicubic"
    converted(
        f"--model={MODEL}", checkpoint, f"--out={tmp_path / 'out'}", "--overwrite"
    )
    assert bundle_config(tmp_path)["data"]["mean"] == [0.485, 0.456, 0.406]


def test_what_no_tensor_tells_is_said(tmp_path):
    _, _, checkpoint = fine_tuned(tmp_path, global_pool="avg", fc_norm=False)
    out = [f"--out={tmp_path / 'out'}", "--overwrite"]
    text = converted(f"--model={MODEL}", checkpoint, *out)
    assert (
        "not told by the file, taken to be: num_heads=3, global_pool='token', "
        "norm_layer='LayerNorm', act_layer='gelu'"
    ) in text
    text = converted(
        f"--model={MODEL}", checkpoint, "--config.model.global_pool=avg", *out
    )
    assert "global_pool='avg'" in text


@pytest.mark.parametrize("source", ["random:0", "mine.keras"])
def test_options_that_do_not_apply_are_refused(source, tmp_path):
    vit_tf.models.build(micro_config()).save(tmp_path / "mine.keras")
    source = source if ":" in source else tmp_path / source
    for flag in ("--checkpoint_key=ema", "--dialect=flax"):
        flags = [f"--model={MODEL}", f"--checkpoint={source}", flag]
        message = refused(tmp_path, *flags)
        assert "found; expected: neither" in message


def test_images_that_are_not_square_are_not_taken_for_squares(tmp_path):
    _, _, checkpoint = fine_tuned(tmp_path, img_size=(32, 64))
    size = "--config.model.img_size=(32,64)"
    text = converted(f"--model={MODEL}", checkpoint, size, f"--out={tmp_path / 'out'}")
    assert "img_size=48" not in text
    assert bundle_config(tmp_path)["model"]["img_size"] == [32, 64]


def test_a_mean_of_other_channels_is_left_out(tmp_path):
    _, _, checkpoint = fine_tuned(tmp_path, in_chans=1)
    converted(f"--model={MODEL}", checkpoint, f"--out={tmp_path / 'out'}")
    data = bundle_config(tmp_path)["data"]
    assert data["input_size"] == [1, 32, 32]
    assert not {"mean", "std"} & set(data)
