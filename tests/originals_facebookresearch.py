"""facebookresearch's models in their own names, small: written anew for the tests."""

import itertools

from vit_tf.reference import torch

nn = torch.nn
DIM, HEADS, PATCH, TOKENS = 24, 3, 16, 4


def attend(q, k, v):
    """(..., N, D) each."""
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
    return weights @ v


def split(x):
    """(B, N, C) -> (B, H, N, C / H)."""
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def merged(x):
    return x.transpose(1, 2).flatten(2)


class PatchEmbed(nn.Module):
    def __init__(self, dim=DIM):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, PATCH)

    def forward(self, images):
        return self.proj(images).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, dim=DIM):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = map(split, self.qkv(x).chunk(3, -1))
        return self.proj(merged(attend(q, k, v)))


class TalkingHeads(Attention):
    """CaiT's."""

    def __init__(self):
        super().__init__()
        self.proj_l = nn.Linear(HEADS, HEADS)
        self.proj_w = nn.Linear(HEADS, HEADS)

    def forward(self, x):
        q, k, v = map(split, self.qkv(x).chunk(3, -1))
        logits = q * (DIM // HEADS) ** -0.5 @ k.transpose(-2, -1)
        logits = self.proj_l(logits.movedim(1, -1)).movedim(-1, 1)
        weights = self.proj_w(logits.softmax(-1).movedim(1, -1)).movedim(-1, 1)
        return self.proj(merged(weights @ v))


class ClassAttention(nn.Module):
    """CaiT's: the class token asks all."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(DIM, DIM) for _ in range(4))

    def forward(self, x):
        q, k, v = split(self.q(x[:, :1])), split(self.k(x)), split(self.v(x))
        return self.proj(merged(attend(q, k, v)))


class Mlp(nn.Module):
    def __init__(self, dim=DIM):
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class SwiGLU(nn.Module):
    """DINOv2's."""

    def __init__(self, hidden=64):
        super().__init__()
        self.w12 = nn.Linear(DIM, 2 * hidden)
        self.w3 = nn.Linear(hidden, DIM)

    def forward(self, x):
        gate, value = self.w12(x).chunk(2, -1)
        return self.w3(nn.functional.silu(gate) * value)


class LayerScale(nn.Module):
    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(DIM))

    def forward(self, x):
        return x * self.gamma


class Block(nn.Module):
    """DeiT's, DINO's and MAE's."""

    def __init__(self, dim=DIM, attn=None, mlp=None):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(dim, eps=1e-6) for _ in range(2))
        self.attn = attn or Attention(dim)
        self.mlp = mlp or Mlp(dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GammaBlock(Block):
    """DeiT-III's and CaiT's: the scales are parameters of the block."""

    def __init__(self, attn=None):
        super().__init__(attn=attn)
        self.gamma_1, self.gamma_2 = (nn.Parameter(torch.ones(DIM)) for _ in range(2))

    def forward(self, x):
        x = x + self.gamma_1 * self.attn(self.norm1(x))
        return x + self.gamma_2 * self.mlp(self.norm2(x))


class ClassBlock(GammaBlock):
    """CaiT's last ones: only the class token changes."""

    def forward(self, token, x):
        seen = self.norm1(torch.cat([token, x], 1))
        token = token + self.gamma_1 * self.attn(seen)
        return token + self.gamma_2 * self.mlp(self.norm2(token))


class ScaledBlock(Block):
    """DINOv2's: the scales are modules."""

    def __init__(self, mlp=None):
        super().__init__(mlp=mlp)
        self.ls1, self.ls2 = LayerScale(), LayerScale()

    def forward(self, x):
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


def parameter(*shape):
    return nn.Parameter(torch.zeros(*shape))


class VisionTransformer(nn.Module):
    """DINO's, and with a head DeiT's."""

    prefix_tokens = 1

    def __init__(self, classes=0, blocks=None):
        super().__init__()
        self.cls_token = parameter(1, 1, DIM)
        self.pos_embed = parameter(1, self.prefix_tokens + TOKENS, DIM)
        self.patch_embed = PatchEmbed()
        self.blocks = blocks or nn.ModuleList([Block(), Block()])
        self.norm = nn.LayerNorm(DIM, eps=1e-6)
        if classes:
            self.head = nn.Linear(DIM, classes)

    def tokens(self, images):
        x = self.patch_embed(images)
        token = self.cls_token.expand(len(x), -1, -1)
        return torch.cat([token, x], 1) + self.pos_embed

    def features(self, images):
        x = self.tokens(images)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, images):
        x = self.features(images)[:, 0]
        return self.head(x) if hasattr(self, "head") else x


class DistilledDeit(VisionTransformer):
    prefix_tokens = 2

    def __init__(self):
        super().__init__(5)
        self.dist_token = parameter(1, 1, DIM)
        self.head_dist = nn.Linear(DIM, 5)

    def tokens(self, images):
        x = self.patch_embed(images)
        tokens = torch.cat([self.cls_token, self.dist_token], 1)
        return torch.cat([tokens.expand(len(x), -1, -1), x], 1) + self.pos_embed

    def forward(self, images):
        x = self.features(images)
        return (self.head(x[:, 0]) + self.head_dist(x[:, 1])) / 2


class Deit3(VisionTransformer):
    prefix_tokens = 0  # of those that have a position

    def __init__(self):
        super().__init__(5, nn.ModuleList([GammaBlock(), GammaBlock()]))

    def tokens(self, images):
        x = self.patch_embed(images) + self.pos_embed
        return torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)


class Cait(VisionTransformer):
    prefix_tokens = 0

    def __init__(self):
        blocks = [GammaBlock(TalkingHeads()) for _ in range(2)]
        super().__init__(5, nn.ModuleList(blocks))
        blocks = [ClassBlock(ClassAttention()) for _ in range(2)]
        self.blocks_token_only = nn.ModuleList(blocks)

    def features(self, images):
        x = self.patch_embed(images) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        token = self.cls_token.expand(len(x), -1, -1)
        for block in self.blocks_token_only:
            token = block(token, x)
        return self.norm(torch.cat([token, x], 1))


class WeightNormed(nn.Module):
    """What `weight_norm` makes of a layer's weight."""

    def __init__(self):
        super().__init__()
        self.weight_g, self.weight_v = parameter(12, 1), parameter(12, 8)


class DinoHead(nn.Module):
    def __init__(self):
        super().__init__()
        widths = (DIM, 16, 16, 8)
        layers = [nn.Linear(*pair) for pair in itertools.pairwise(widths)]
        self.mlp = nn.Sequential(layers[0], nn.GELU(), layers[1], nn.GELU(), layers[2])
        self.last_layer = WeightNormed()


class DinoTeacher(nn.Module):
    """What DINO's training keeps under "teacher"."""

    def __init__(self):
        super().__init__()
        self.backbone = VisionTransformer()
        self.head = DinoHead()

    def forward(self, images):
        return self.backbone(images)


class Dinov2(VisionTransformer):
    def __init__(self, registers=0, swiglu=False, chunks=False):
        blocks = [ScaledBlock(SwiGLU() if swiglu else None) for _ in range(3)]
        modules = nn.ModuleList(blocks)
        if chunks:  # a block keeps its number in the second, behind what does nothing
            chunk = nn.ModuleList(blocks[:2])
            rest = nn.ModuleList([nn.Identity(), nn.Identity(), blocks[2]])
            modules = nn.ModuleList([chunk, rest])
        super().__init__(blocks=modules)
        self.order = (lambda x: run(blocks, x),)  # in a tuple: no module
        self.mask_token = parameter(1, DIM)
        self.registers = registers
        if registers:
            self.register_tokens = parameter(1, registers, DIM)

    def features(self, images):
        x = self.tokens(images)
        if self.registers:
            registers = self.register_tokens.expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], registers, x[:, 1:]], 1)
        return self.norm(self.order[0](x))


def run(blocks, x):
    for block in blocks:
        x = block(x)
    return x


class MaskedAutoencoder(VisionTransformer):
    """MAE's pre-training: the encoder sees all here."""

    def __init__(self, width=16):
        super().__init__()
        self.mask_token = parameter(1, 1, width)
        self.decoder_embed = nn.Linear(DIM, width)
        self.decoder_pos_embed = parameter(1, 1 + TOKENS, width)
        self.decoder_blocks = nn.ModuleList([Block(width)])
        self.decoder_norm = nn.LayerNorm(width)
        self.decoder_pred = nn.Linear(width, 3 * PATCH * PATCH)


class FineTunedMae(VisionTransformer):
    """The norm follows the mean of the patches."""

    def __init__(self):
        super().__init__(5)
        del self.norm
        self.fc_norm = nn.LayerNorm(DIM, eps=1e-6)

    def forward(self, images):
        x = self.tokens(images)
        for block in self.blocks:
            x = block(x)
        return self.head(self.fc_norm(x[:, 1:].mean(1)))
