"""Microsoft's Swins in their own names, small: written anew for the tests."""

import itertools
import math

from vit_tf.reference import torch

nn = torch.nn


def index_of(window):
    """For each pair of tokens, the row of the table of biases."""
    places = list(itertools.product(range(window), repeat=2))
    rows = [
        [
            (a - c + window - 1) * (2 * window - 1) + b - d + window - 1
            for c, d in places
        ]
        for a, b in places
    ]
    return torch.tensor(rows)


def coordinates(window, pretrained):
    """Log-spaced, rounded to float32 at each step."""
    steps = torch.arange(1 - window, window, dtype=torch.float32)
    table = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1)[None]
    table = table / ((pretrained or window) - 1) * 8
    return torch.sign(table) * torch.log2(table.abs() + 1) / math.log2(8)


def mask_of(size, window, shift):
    """What keeps apart what was apart before the shift: every pair of tokens."""
    parts = [(n >= size - window) + (n >= size - shift) for n in range(size)]
    parts = torch.tensor([[3 * a + b for b in parts] for a in parts])
    parts = windows_of(parts[None, :, :, None], window)[..., 0].float()  # (nW, N)
    return torch.where(parts[:, :, None] == parts[:, None], 0.0, -100.0)


def windows_of(x, window):
    """(B, H, W, C) -> (B * windows, N, C)."""
    x = x.unfold(1, window, window).unfold(2, window, window)  # (B, h, w, C, n, n)
    return x.permute(0, 1, 2, 4, 5, 3).flatten(3, 4).flatten(0, 2)


def map_of(windows, size, window):
    """(B * windows, N, C) -> (B, H, W, C)."""
    count = size // window
    x = windows.reshape(-1, count, count, window, window, windows.shape[-1])
    return x.transpose(2, 3).reshape(-1, size, size, windows.shape[-1])


class WindowAttention(nn.Module):
    def __init__(self, dim, heads, window):
        super().__init__()
        self.heads = heads
        table = torch.zeros((2 * window - 1) ** 2, heads)
        self.relative_position_bias_table = nn.Parameter(table)
        self.register_buffer("relative_position_index", index_of(window))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def logits(self, q, k):
        return q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)

    def bias(self):
        rows = self.relative_position_bias_table[self.relative_position_index]
        return rows.permute(2, 0, 1)  # (H, N, N)

    def projected(self, x):
        return self.qkv(x)

    def forward(self, x, mask):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.projected(x).chunk(3, -1)
        )
        logits = self.logits(q, k) + self.bias()
        if mask is not None:
            logits = logits.unflatten(0, (-1, len(mask))) + mask[:, None]
            logits = logits.flatten(0, 1)
        return self.proj((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))


class WindowAttentionV2(WindowAttention):
    def __init__(self, dim, heads, window, pretrained):
        super().__init__(dim, heads, window)
        del self.relative_position_bias_table
        self.logit_scale = nn.Parameter(torch.zeros(heads, 1, 1))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, heads, bias=False)
        )
        self.register_buffer("relative_coords_table", coordinates(window, pretrained))
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias, self.v_bias = (nn.Parameter(torch.zeros(dim)) for _ in range(2))

    def logits(self, q, k):
        q, k = (nn.functional.normalize(part, dim=-1) for part in (q, k))
        return q @ k.transpose(-2, -1) * self.logit_scale.clamp(max=math.log(100)).exp()

    def bias(self):
        table = self.cpb_mlp(self.relative_coords_table).flatten(0, 2)
        return 16 * torch.sigmoid(table[self.relative_position_index].permute(2, 0, 1))

    def projected(self, x):
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return self.qkv(x) + bias


class Mlp(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads, size, window, shifted, pretrained=None):
        super().__init__()
        self.size, self.window = size, min(window, size)
        self.shift = self.window // 2 if shifted and size > window else 0
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.post_norm = pretrained is not None
        self.attn = (
            WindowAttentionV2(dim, heads, self.window, pretrained)
            if self.post_norm
            else WindowAttention(dim, heads, self.window)
        )
        self.mlp = Mlp(dim)
        mask = mask_of(size, self.window, self.shift) if self.shift else None
        self.register_buffer("attn_mask", mask)

    def attended(self, x):
        """(B, H * W, C), in windows."""
        x = x.unflatten(1, (self.size, self.size))
        x = windows_of(x.roll((-self.shift,) * 2, (1, 2)), self.window)
        x = map_of(self.attn(x, self.attn_mask), self.size, self.window)
        return x.roll((self.shift,) * 2, (1, 2)).flatten(1, 2)

    def forward(self, x):
        if self.post_norm:
            x = x + self.norm1(self.attended(x))
            return x + self.norm2(self.mlp(x))
        x = x + self.attended(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    def __init__(self, dim, size, post_norm):
        super().__init__()
        self.size, self.post_norm = size, post_norm
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim if post_norm else 4 * dim)

    def forward(self, x):
        x = x.unflatten(1, (self.size, self.size))
        corners = [x[:, i::2, j::2] for j, i in itertools.product(range(2), repeat=2)]
        x = torch.cat(corners, -1).flatten(1, 2)
        if self.post_norm:
            return self.norm(self.reduction(x))
        return self.reduction(self.norm(x))


class Stage(nn.Module):
    def __init__(self, dim, heads, size, window, last, pretrained):
        super().__init__()
        self.blocks = nn.ModuleList(
            [Block(dim, heads, size, window, bool(i), pretrained) for i in range(2)]
        )
        post_norm = pretrained is not None
        self.downsample = None if last else PatchMerging(dim, size, post_norm)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.downsample(x) if self.downsample else x


class PatchEmbed(nn.Module):
    def __init__(self, dim, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, images):
        return self.norm(self.proj(images).flatten(2).transpose(1, 2))


class Swin(nn.Module):
    """Two stages for 32 x 32 pixels; V2 if it is told the windows of pre-training."""

    def __init__(self, window=4, patch=2, pretrained=(None, None), classes=5):
        super().__init__()
        self.patch_embed = PatchEmbed(12, patch)
        self.layers = nn.ModuleList(
            [
                Stage(
                    12 * 2**i, 2 * 2**i, 32 // patch // 2**i, window, bool(i),
                    pretrained[i],
                )
                for i in range(2)
            ]
        )  # fmt: skip
        self.norm = nn.LayerNorm(24)
        self.head = nn.Linear(24, classes) if classes else nn.Identity()

    def forward(self, images):
        x = self.patch_embed(images)
        for stage in self.layers:
            x = stage(x)
        return self.head(self.norm(x).mean(1))
