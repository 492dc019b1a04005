"""Constructor arguments and architectures read off a checkpoint's names and shapes."""

import numpy as np
import pytest

import vit_tf
from vit_tf.architectures import candidates, effective
from vit_tf.checkpoints import CheckpointError
from vit_tf.checkpoints.arguments import read_arguments, read_model_class
from vit_tf.reference import timm, torch

ALWAYS = {"in_chans", "num_classes", "embed_dim", "mlp_ratio", "qkv_bias"}
VIT = ALWAYS | {
    "patch_size", "depth", "class_token", "reg_tokens", "pre_norm", "final_norm",
    "pos_embed", "init_values", "qk_norm", "scale_attn_norm", "scale_mlp_norm",
    "proj_bias",
}  # fmt: skip
READ = {  # what is always read; more where a tensor decides
    "VisionTransformer": VIT,
    "VisionTransformerDistilled": VIT | {"img_size", "no_embed_class"},
    "VisionTransformerHybrid": VIT | {
        "img_size", "no_embed_class", "backbone", "backbone_layers",
        "backbone_channels", "proj",
    },
    "Cait": ALWAYS | {
        "patch_size", "img_size", "depth", "depth_token_only", "num_heads",
        "mlp_ratio_token_only",
    },
    "SwinTransformer": ALWAYS | {
        "patch_size", "depths", "num_heads", "window_size", "head_dim"
    },
    "SwinTransformerV2": ALWAYS | {"patch_size", "depths", "num_heads"},
}  # fmt: skip


class Shapes(dict):
    """Tensors of these shapes, without memory."""

    def __getitem__(self, name):
        return np.broadcast_to(np.float32(0), super().__getitem__(name))


def shapes(name, **arguments):
    with torch.device("meta"):
        state = timm.create_model(name, **arguments).state_dict()
    return Shapes({key: tuple(tensor.shape) for key, tensor in state.items()})


@pytest.mark.parametrize("name", vit_tf.list_models())
def test_what_is_read_is_what_the_architecture_has(name):
    config = vit_tf.get_config(name)
    short = {"depth": 2} if "depth" in config.model else {}
    config = vit_tf.get_config(name, **short)
    tensors = shapes(name, **short)
    family, model_class = read_model_class(tensors)
    assert model_class == config.model_class
    if config.family != "deit":
        assert family == config.family
    expected = effective(config.model.to_dict())
    read = read_arguments(tensors, model_class)
    assert READ[model_class] <= read.keys()
    ratio = read.pop("mlp_ratio")
    dim = read["embed_dim"]
    assert int(ratio * dim) == int(expected["mlp_ratio"] * dim)
    if expected.get("block_fn") == "ResPostBlock":
        assert read.pop("init_values") is None  # which its norms start from
    if patches := expected["img_size"] % expected["patch_size"]:  # pixels left over
        read["img_size"] += patches
    assert effective(read) == {k: expected[k] for k in effective(read)}
    known = read_arguments(tensors, model_class, config.model.to_dict())
    assert effective(known) == {k: expected[k] for k in effective(known)}
    assert known.keys() >= read.keys() - {"init_values"}
    assert known["mlp_ratio"] == config.model.mlp_ratio


DECIDED = {  # what tensors are of -> the models that they can be of
    "deit_tiny_patch16_224": [
        ["deit_tiny_patch16_224", "vit_tiny_patch16_224", "vit_tiny_patch16_384"],
    ],
    "deit_small_distilled_patch16_224": [["deit_small_distilled_patch16_224"]],
    "deit3_small_patch16_384": [["deit3_small_patch16_384", "deit3_small_patch16_224"]],
    "cait_xxs36_384": [["cait_xxs36_384", "cait_xxs36_224"]],
    "swin_base_patch4_window12_384": [["swin_base_patch4_window12_384"]],
    "swin_s3_tiny_224": [["swin_s3_tiny_224"]],
    "swinv2_tiny_window8_256": [
        ["swinv2_tiny_window16_256"],  # no tensor tells the window
        ["swinv2_tiny_window8_256"],
    ],
    "vit_base_patch32_clip_quickgelu_224": [
        ["vit_base_patch32_clip_quickgelu_224"],
        [
            "vit_base_patch32_clip_224",  # nor the activation
            "vit_base_patch32_clip_256",
            "vit_base_patch32_clip_384",
            "vit_base_patch32_clip_448",
        ],
    ],
    "vit_tiny_r_s16_p8_224": [["vit_tiny_r_s16_p8_224", "vit_tiny_r_s16_p8_384"]],
    "vit_small_resnet26d_224": [["vit_small_resnet26d_224"]],
    "vit_dpwee_patch16_reg1_gap_256": [["vit_dpwee_patch16_reg1_gap_256"]],
    "vit_base_mci_224": [["vit_base_mci_224"]],
}


@pytest.mark.parametrize("name", DECIDED)
def test_the_architectures_that_tensors_can_be_of(name):
    assert candidates(shapes(name)) == DECIDED[name]


def test_users_change_classes_channels_and_image_size():
    tensors = shapes("vit_base_patch32_clip_quickgelu_224")
    tensors["head.weight"] = (5, 768)
    tensors["patch_embed.proj.weight"] = (768, 1, 32, 32)
    tensors["pos_embed"] = (1, 1 + 100, 768)
    first, second = candidates(tensors)
    assert "vit_base_patch32_clip_384" in first + second
    assert "vit_base_patch32_clip_quickgelu_224" in first + second
    stated = {"act_layer": "quick_gelu"}
    assert candidates(tensors, stated) == [["vit_base_patch32_clip_quickgelu_224"]]
    read = read_arguments(tensors, "VisionTransformer")
    assert read["num_classes"] == 5
    assert read["in_chans"] == 1
    assert read["img_size"] == 320
    del tensors["head.weight"]
    assert read_arguments(tensors, "VisionTransformer")["num_classes"] == 0


def test_nothing_is_a_candidate_for_another_width():
    tensors = shapes("deit_tiny_patch16_224", embed_dim=24, num_heads=3)
    assert candidates(tensors) == []
    assert candidates({}) == []
    assert read_model_class(["conv1.weight"]) == ("", "")


def test_images_that_are_not_square_are_read_where_they_are_likely():
    tensors = shapes("deit3_small_patch16_224", img_size=(32, 112), depth=1)
    read = read_arguments(tensors, "VisionTransformer")
    assert "img_size" not in read
    assert "no_embed_class" not in read
    known = {"img_size": (32, 112)}
    read = read_arguments(tensors, "VisionTransformer", known)
    assert read["img_size"] == (32, 112)
    assert read["no_embed_class"] is True


def test_windows_that_are_not_square_stay_out():
    sizes = dict(img_size=64, window_size=(4, 2), depths=(1, 1), num_heads=(1, 2))
    tensors = shapes("swin_tiny_patch4_window7_224", **sizes)
    read = read_arguments(tensors, "SwinTransformer")
    assert read["depths"] == (1, 1)
    assert read["num_heads"] == (1, 2)
    assert "window_size" not in read


def test_a_linear_patch_embedding_leaves_patches_open():
    tensors = shapes("deit_tiny_patch16_224", depth=1)
    tensors["patch_embed.proj.weight"] = (192, 768)
    read = read_arguments(tensors, "VisionTransformer")
    assert read["embed_dim"] == 192
    assert not {"patch_size", "in_chans", "img_size"} & read.keys()


@pytest.mark.parametrize(("dim", "hidden"), [(24, 71), (3072, 8192), (1152, 4304)])
def test_a_ratio_gives_the_width_that_it_was_read_from(dim, hidden):
    tensors = shapes("cait_xxs24_224", depth=1)
    for name, shape in {
        "pos_embed": (1, 4, dim), "blocks.0.mlp.fc1.weight": (hidden, dim),
    }.items():  # fmt: skip
        tensors[name] = shape
    assert int(dim * read_arguments(tensors, "Cait")["mlp_ratio"]) == hidden
    likely = (hidden + 0.5) / dim
    known = read_arguments(tensors, "Cait", {"mlp_ratio": likely})
    assert known["mlp_ratio"] == likely
    known = read_arguments(tensors, "Cait", {"mlp_ratio": likely + 1})
    assert int(dim * known["mlp_ratio"]) == hidden


@pytest.mark.parametrize(
    "name",
    [
        "deit_tiny_distilled_patch16_224", "vit_medium_patch16_reg4_gap_256",
        "vit_dpwee_patch16_reg1_gap_256", "cait_xxs24_224", "vit_small_r26_s32_224",
        "vit_base_mci_224", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256",
    ],
)  # fmt: skip
def test_tensors_that_are_missing_or_of_another_shape_are_named(name):
    whole = shapes(name, **({} if name.startswith("swin") else {"depth": 2}))
    model_class = vit_tf.get_config(name).model_class
    messages = []
    for key in whole:
        for shape in (None, (), (2,), (3, 0), (1, 2, 3, 4, 5)):
            damaged = Shapes({**whole, key: shape})
            if shape is None:
                del damaged[key]
            try:
                read_arguments(damaged, model_class)
            except CheckpointError as error:
                messages.append(str(error))
    assert len(messages) > 10
    for message in messages:
        assert (
            " is missing; expected: " in message
            or " found; expected: " in message
            or ("found, and no first convolution" in message)
        )
