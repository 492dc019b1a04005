"""Image encoders out of larger models, compared with timm's own filters."""

import numpy as np
import pytest
import timm
from dialect_check import SIZE, assert_equal, assert_same, randomised, translated
from micro import random_tensors
from timm.models import vision_transformer, vision_transformer_hybrid

from vit_tf import models, source
from vit_tf.checkpoints.random import RandomTensors
from vit_tf.reference import timm_arguments, torch

nn = torch.nn
MICRO = dict(patch_size=16, embed_dim=24, depth=2, num_heads=3)


class ClipBlock(nn.Module):
    """CLIP's, in its own names."""

    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(24, 3, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(24), nn.LayerNorm(24)
        layers = {"c_fc": nn.Linear(24, 96), "c_proj": nn.Linear(96, 24)}
        self.mlp = nn.ModuleDict(layers)

    def forward(self, x, activation):
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp["c_proj"](activation(self.mlp["c_fc"](self.ln_2(x))))


class ClipEncoder(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 16, 16, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(24))
        self.positional_embedding = nn.Parameter(torch.zeros(5, 24))
        self.ln_pre, self.ln_post = nn.LayerNorm(24), nn.LayerNorm(24)
        self.transformer = nn.ModuleDict(
            {"resblocks": nn.ModuleList([ClipBlock(), ClipBlock()])}
        )
        self.proj = nn.Parameter(torch.zeros(24, 7))
        self.activation = activation

    def forward(self, images):
        x = self.conv1(images).flatten(2).transpose(1, 2)
        token = self.class_embedding.expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([token, x], 1) + self.positional_embedding)
        for block in self.transformer["resblocks"]:
            x = block(x, self.activation)
        return self.ln_post(x[:, 0]) @ self.proj


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


TEXT = {"token_embedding.weight": torch.zeros(3, 2), "logit_scale": torch.ones(())}
OPENAI = {
    name: torch.tensor(1)
    for name in ("input_resolution", "context_length", "vocab_size")
}


def as_arrays(state):
    return {name: tensor.numpy() for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("activation", "beside"), [(quick_gelu, {**TEXT, **OPENAI}), (nn.GELU(), TEXT)]
)
@pytest.mark.parametrize("half", [False, True])
def test_clip(activation, beside, half):
    model = randomised(ClipEncoder(activation))
    model = model.half() if half else model
    state = {f"visual.{name}": value for name, value in model.state_dict().items()}
    translation = translated(as_arrays({**state, **beside}))
    assert set(translation.left_out) == set(beside)
    theirs = timm.create_model(
        "vit_base_patch16_clip_quickgelu_224", img_size=SIZE, num_classes=7, **MICRO
    )
    filtered = vision_transformer.checkpoint_filter_fn({**state, **beside}, theirs)
    assert_equal(translation.tensors, filtered)
    if not half:
        name = "vit_base_patch16_clip_224"
        assert_same(model, translation, name, num_classes=7, **MICRO)


def small(name, **arguments):
    """timm's model of a small configuration, and random tensors for it."""
    config = models.small_config(name, **arguments)
    theirs = timm.create_model(name, **timm_arguments(config.model.to_dict()))
    return theirs, random_tensors(config)


def assert_filtered(state, theirs, module=vision_transformer):
    """Equal to what timm makes of it, all of which its model has."""
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    filtered = module.checkpoint_filter_fn(tensors, theirs)
    theirs.load_state_dict(filtered, strict=True)
    translation = translated(state)
    assert_equal(translation.tensors, filtered)
    return translation


@pytest.mark.parametrize("head", [True, False])
def test_open_clip_with_timms_encoder(head):
    theirs, tensors = small("vit_base_patch16_224", num_classes=7 if head else 0)
    state = {f"visual.trunk.{name}": array for name, array in tensors.items()}
    if head:
        del state["visual.trunk.head.bias"]
        state["visual.head.proj.weight"] = state.pop("visual.trunk.head.weight")
    beside = {"text.ln_final.weight": np.ones(3), "logit_scale": np.ones(())}
    translation = assert_filtered({**state, **beside}, theirs)
    assert set(translation.left_out) == set(beside)


def test_tips():
    theirs, tensors = small("vit_base_patch14_reg1_tipsv2")
    positions = np.ones((1, 1, 24), np.float32)
    tensors["pos_embed"] = np.concatenate([positions, tensors["pos_embed"]], 1)
    tensors["register_tokens"] = tensors.pop("reg_token")
    tensors["mask_token"] = np.ones((1, 24), np.float32)
    state = {f"vision_encoder.{name}": array for name, array in tensors.items()}
    text = {"text_encoder.final_norm.weight": np.ones(3)}
    translation = assert_filtered({**state, **text}, theirs)
    assert set(translation.left_out) == {*text, "vision_encoder.mask_token"}


def renamed(tensors, *swaps):
    """With parts of names replaced, one after the other."""
    names = {name: name for name in tensors}
    for old, new in swaps:
        names = {name: path.replace(old, new) for name, path in names.items()}
    return {names[name]: array for name, array in tensors.items()}


def test_aimv2():
    theirs, tensors = small("aimv2_large_patch14_224")
    state = renamed(
        tensors, ("norm1", "norm_1"), ("norm2", "norm_2"), ("fc1_g", "fc1"),
        ("fc1_x", "fc3"), ("blocks.", "trunk.blocks."), ("patch_embed.", "PATCHES."),
        ("pos_embed", "preprocessor.pos_embed"),
        ("PATCHES.", "preprocessor.patchifier."),
    )  # fmt: skip
    state = {
        "trunk.post_trunk_norm." + name.removeprefix("norm.")
        if name.startswith("norm.")
        else name: array
        for name, array in state.items()
    }
    assert_filtered(state, theirs)


def test_mobileclip():
    theirs, tensors = small("vit_base_mci_224")
    state = renamed(
        tensors, ("patch_embed.backbone.", "patch_emb."), ("conv.", "block.conv."),
        ("bn.", "block.norm."), ("norm1.", "pre_norm_mha.0."),
        ("norm2.", "pre_norm_ffn.0."), ("mlp.fc1.", "pre_norm_ffn.1."),
        ("mlp.fc2.", "pre_norm_ffn.4."), ("attn.qkv.", "pre_norm_mha.1.qkv_proj."),
        ("attn.proj.", "pre_norm_mha.1.out_proj."), ("blocks.", "transformer."),
        ("pos_embed", "pos_embed.pos_embed.pos_embed"),
        ("head.weight", "classifier.proj"),
    )  # fmt: skip
    state = {
        "post_transformer_" + name if name.startswith("norm.") else name: array
        for name, array in state.items()
        if name != "head.bias"
    }
    state["classifier.proj"] = state["classifier.proj"].T.copy()
    positions = "pos_embed.pos_embed.pos_embed"
    state[positions] = state[positions][None]
    state = {f"image_encoder.model.{name}": array for name, array in state.items()}
    text = {"text_encoder.final_layer_norm.weight": np.ones(3)}
    translation = assert_filtered({**state, **text}, theirs, vision_transformer_hybrid)
    assert set(translation.left_out) == set(text)


def test_beit3():
    theirs, tensors = small("beit3_base_patch16_224")
    layers = "beit3.encoder.layers."
    state = {}
    for name, array in tensors.items():
        if ".attn.qkv." in name:
            for part, values in zip("qkv", np.split(array, 3), strict=True):
                old = name.replace("attn.qkv", f"attn.{part}_proj")
                state[old] = values
        else:
            state[name] = array
    state = renamed(
        state, ("attn.norm.", "self_attn.inner_attn_ln.A."),
        ("attn.proj.", "self_attn.out_proj.A."), ("_proj.", "_proj.A."),
        (".A.A.", ".A."), (".attn.", ".self_attn."),
        ("mlp.norm.", "ffn.A.ffn_layernorm."), ("mlp.", "ffn.A."),
        ("norm1.", "self_attn_layer_norm.A."),
        ("norm2.", "final_layer_norm.A."), ("blocks.", layers),
        ("patch_embed.", "beit3.vision_embed."),
        ("cls_token", "beit3.vision_embed.cls_token"),
        ("pos_embed", "beit3.encoder.embed_positions.A.weight"),
    )  # fmt: skip
    positions = "beit3.encoder.embed_positions.A.weight"
    state[positions] = np.pad(state[positions][0], ((2, 0), (0, 0)))
    beside = {
        "beit3.text_embed.weight": np.ones((3, 2)),
        "beit3.vision_embed.mask_token": np.ones((1, 1, 24)),
        f"{layers}0.ffn.B.fc1.weight": np.ones(3),
    }
    translation = assert_filtered({**state, **beside}, theirs)
    assert set(translation.left_out) == set(beside)


def test_radio():
    shapes = source.parameter_shapes(
        models.small_config("vit_base_patch16_radio_v3", img_size=SIZE)
    )
    theirs, _ = small("vit_base_patch16_radio_v3", img_size=SIZE)
    tensors = dict(RandomTensors(shapes, 0))
    del tensors["patch_embed.proj.bias"]
    tokens = [tensors.pop(name)[0] for name in ("cls_token", "reg_token")]
    weight = tensors.pop("patch_embed.proj.weight")
    state = {f"radio_model.model.{name}": array for name, array in tensors.items()}
    generator = "radio_model.model.patch_generator."
    state[f"{generator}embedder.weight"] = weight.reshape(len(weight), -1)
    state[f"{generator}cls_token.token"] = np.concatenate(tokens)
    positions = state.pop("radio_model.model.pos_embed")
    state[f"{generator}pos_embed"] = positions
    beside = {"radio_model.input_conditioner.norm_mean": np.ones((3, 1, 1))}
    translation = assert_filtered({**state, **beside}, theirs)
    assert set(translation.left_out) == set(beside)
