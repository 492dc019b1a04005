"""Checkpoints whose tensors are not the model's: nothing is written, all is listed."""

import numpy as np
import pytest
from cli import ARGUMENTS, MICRO, MODEL, refused
from safetensors.numpy import save_file

import vit_tf
from vit_tf import source


@pytest.fixture
def tensors():
    config = vit_tf.get_config(MODEL, **ARGUMENTS)
    return dict(source.read(config, "random:0").tensors)


def message(tensors, folder, *arguments):
    path = folder / "checkpoint.safetensors"
    save_file(tensors, path)
    return refused(folder, *MICRO, f"--checkpoint={path}", *arguments)


def test_missing_extra_and_misshapen_tensors_are_all_listed(tensors, tmp_path):
    del tensors["blocks.1.norm2.weight"], tensors["blocks.1.mlp.fc2.bias"]
    tensors["head_dist.weight"] = np.zeros((5, 24), np.float32)
    tensors["fc_norm.weight"] = np.zeros(24, np.float32)
    tensors["pos_embed"] = np.zeros((1, 5, 25), np.float32)
    tensors["blocks.0.attn.qkv.weight"] = np.zeros((24, 72), np.float32)
    assert message(tensors, tmp_path) == (
        f"the checkpoint does not fit {MODEL} (6 problems):\n"
        " ! blocks.0.attn.qkv.weight: shape (24, 72) found, (72, 24) expected\n"
        " ! pos_embed: shape (1, 5, 25) found, (1, 5, 24) expected\n"
        " + fc_norm.weight: in the checkpoint only\n"
        " + head_dist.weight: in the checkpoint only\n"
        " - blocks.1.mlp.fc2.bias: in the model only\n"
        " - blocks.1.norm2.weight: in the model only"
    )


def test_values_that_are_not_finite_are_all_listed(tensors, tmp_path):
    tensors["norm.bias"][3] = np.nan
    tensors["blocks.1.attn.proj.weight"][:2] = np.inf
    text = message(tensors, tmp_path)
    assert text.startswith(
        f"{tmp_path}/checkpoint.safetensors: NaN or infinity in 2 of"
    )
    assert "\n   norm.bias: 1 values" in text
    assert "\n   blocks.1.attn.proj.weight: 48 values" in text


def test_arguments_that_cannot_be_are_named_before_the_tensors(tensors, tmp_path):
    text = message(tensors, tmp_path, "--config.model.num_heads=5")
    assert text == "a width of 24 does not divide into 5 heads"
