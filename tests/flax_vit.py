"""The original JAX function in NumPy, in double precision, by its files' own names.

After google-research/vision_transformer's models_vit.py and models_resnet.py, and
big_vision's models/vit.py. What JAX and Flax do by default is written out: GELU by
tanh, 1e-6 in every norm, padding that puts the odd pixel at the end.
"""

import dataclasses
import math

import numpy as np

Parameters = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a file is of.

    Attributes:
        root: Where the model's tree begins in the file.
        naming: "old", each module with a number of its own; "new", numbered by kind;
            "stacked", new, and all blocks in one.
        positions: What the position embedding is called.
        pool: "token", "gap" or "map".
        token_position: Whether the class token has a position.
        units: Number of units of each of the ResNet's blocks; () for its stem alone;
            None for no ResNet.
        pre_logits: Whether there is such a layer.
        old_norms: Whether group norms have the four axes that Flax once gave them.
    """

    root: str = ""
    naming: str = "old"
    positions: str = "Transformer/posembed_input/pos_embedding"
    pool: str = "token"
    token_position: bool = True
    units: tuple[int, ...] | None = None
    pre_logits: bool = False
    old_norms: bool = False
    image: int = 32
    patch: int = 8
    width: int = 24
    depth: int = 2
    heads: int = 3
    hidden: int = 96
    classes: int = 7
    channels: tuple[int, ...] = (128, 256)

    @property
    def numbers(self) -> tuple[int, int, int]:
        """Those of attention, the second norm and the MLP."""
        return (1, 2, 3) if self.naming == "old" else (0, 1, 0)


def shapes(kind: Kind) -> dict[str, tuple[int, ...]]:
    """The file's names, below its root, and the shapes of what they name."""
    width, features, grid = kind.width, 3, kind.image // kind.patch
    found: dict[str, tuple[int, ...]] = {}
    if kind.units is not None:
        network, features = _network_shapes(kind)
        found |= network
        grid //= 4 * 2 ** max(len(kind.units) - 1, 0)
    found |= {
        "embedding/kernel": (kind.patch, kind.patch, features, width),
        "embedding/bias": (width,),
    }
    tokens = grid**2
    if kind.pool == "token":
        found["cls"] = (1, 1, width)
        tokens += kind.token_position
    found[kind.positions] = (1, tokens, width)
    block = _block_shapes(kind)
    for i in range(kind.depth):
        for name, shape in block.items():
            if kind.naming == "stacked":
                found[f"Transformer/encoderblock/{name}"] = (kind.depth, *shape)
            else:
                found[f"Transformer/encoderblock_{i}/{name}"] = shape
    found |= _norm_shapes("Transformer/encoder_norm", width)
    if kind.pool == "map":
        pooling = _attention_shapes("MultiHeadDotProductAttention_0", kind)
        pooling |= _norm_shapes("LayerNorm_0", width)
        pooling |= _mlp_shapes("MlpBlock_0", kind)
        pooling["probe"] = (1, 1, width)
        found |= {f"MAPHead_0/{name}": shape for name, shape in pooling.items()}
    if kind.pre_logits:
        found |= _dense_shapes("pre_logits", width, width)
    if kind.classes:
        found |= _dense_shapes("head", width, kind.classes)
    return found


def random_parameters(kind: Kind, seed: int = 0) -> Parameters:
    """A value for each of a file's names; none of them constant."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in shapes(kind).items():
        values = rng.standard_normal(shape, np.float32)
        if name.endswith("kernel"):
            own = shape[1:] if "/encoderblock/" in name else shape
            inputs = own[:-1] if "/out/" in name or len(own) != 3 else own[:1]
            values *= np.float32(math.prod(inputs) ** -0.5)
        else:
            values = np.float32(0.5) * (values + np.float32(name.endswith("scale")))
        found[kind.root + name] = values
    return found


def logits(kind: Kind, parameters: Parameters, images: np.ndarray) -> np.ndarray:
    """(B, H, W, C) images -> (B, classes), or features where there is no head."""
    p = {
        name.removeprefix(kind.root): value.astype(np.float64)
        for name, value in parameters.items()
    }
    x = images.astype(np.float64)
    if kind.units is not None:
        x = _network(kind, p, x)
    x = _convolve(x, p["embedding/kernel"], kind.patch, "VALID") + p["embedding/bias"]
    x = x.reshape(len(x), -1, kind.width)
    positions = p[kind.positions]
    if kind.pool == "token":
        cls = np.broadcast_to(p["cls"], (len(x), 1, kind.width))
        if kind.token_position:
            x = np.concatenate([cls, x], axis=1) + positions
        else:
            x = np.concatenate([cls, x + positions], axis=1)
    else:
        x = x + positions
    for i in range(kind.depth):
        x = _block(kind, p, i, x)
    x = _layer_norm(p, "Transformer/encoder_norm", x)
    x = _pool(kind, p, x)
    if kind.pre_logits:
        x = np.tanh(_dense(p, "pre_logits", x))
    return _dense(p, "head", x) if kind.classes else x


def _block(kind: Kind, p: Parameters, i: int, x: np.ndarray) -> np.ndarray:
    at = f"Transformer/encoderblock_{i}"
    if kind.naming == "stacked":
        at = "Transformer/encoderblock"
        p = {name: value[i] for name, value in p.items() if name.startswith(f"{at}/")}
    attention, norm, mlp = kind.numbers
    y = _layer_norm(p, f"{at}/LayerNorm_0", x)
    x = x + _attend(p, f"{at}/MultiHeadDotProductAttention_{attention}", y, y)
    y = _layer_norm(p, f"{at}/LayerNorm_{norm}", x)
    return x + _mlp(p, f"{at}/MlpBlock_{mlp}", y)


def _pool(kind: Kind, p: Parameters, x: np.ndarray) -> np.ndarray:
    if kind.pool == "token":
        return x[:, 0]
    if kind.pool == "gap":
        return x.mean(axis=1)
    probe = np.broadcast_to(p["MAPHead_0/probe"], (len(x), 1, kind.width))
    x = _attend(p, "MAPHead_0/MultiHeadDotProductAttention_0", probe, x)
    y = _layer_norm(p, "MAPHead_0/LayerNorm_0", x)
    return (x + _mlp(p, "MAPHead_0/MlpBlock_0", y))[:, 0]


def _attend(p: Parameters, at: str, queries: np.ndarray, x: np.ndarray) -> np.ndarray:
    def project(name: str, tokens: np.ndarray) -> np.ndarray:
        kernel, bias = p[f"{at}/{name}/kernel"], p[f"{at}/{name}/bias"]
        return np.einsum("bnd,dhk->bhnk", tokens, kernel) + bias[:, None]

    q, k, v = project("query", queries), project("key", x), project("value", x)
    scores = np.einsum("bhnk,bhmk->bhnm", q / math.sqrt(q.shape[-1]), k)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    heads = np.einsum("bhnm,bhmk->bhnk", weights, v)
    return (
        np.einsum("bhnk,hkd->bnd", heads, p[f"{at}/out/kernel"]) + p[f"{at}/out/bias"]
    )


def _mlp(p: Parameters, at: str, x: np.ndarray) -> np.ndarray:
    x = _dense(p, f"{at}/Dense_0", x)
    x = x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return _dense(p, f"{at}/Dense_1", x)


def _dense(p: Parameters, at: str, x: np.ndarray) -> np.ndarray:
    return x @ p[f"{at}/kernel"] + p[f"{at}/bias"]


def _layer_norm(p: Parameters, at: str, x: np.ndarray) -> np.ndarray:
    x = x - x.mean(axis=-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6)
    return x * p[f"{at}/scale"] + p[f"{at}/bias"]


def _network(kind: Kind, p: Parameters, x: np.ndarray) -> np.ndarray:
    """The ResNet: root, and blocks of units."""
    x = _standard_convolve(p, "conv_root", x, 2)
    x = _max_pool(np.maximum(_group_norm(p, "gn_root", x), 0))
    for block, units in enumerate(kind.units, 1):
        for unit in range(1, units + 1):
            stride = 2 if unit == 1 and block > 1 else 1
            x = _unit(p, f"block{block}/unit{unit}", x, stride)
    return x


def _unit(p: Parameters, at: str, x: np.ndarray, stride: int) -> np.ndarray:
    shortcut = x
    if f"{at}/conv_proj/kernel" in p:
        shortcut = _standard_convolve(p, f"{at}/conv_proj", x, stride)
        shortcut = _group_norm(p, f"{at}/gn_proj", shortcut)
    for i, step in ((1, 1), (2, stride), (3, 1)):
        x = _standard_convolve(p, f"{at}/conv{i}", x, step)
        x = _group_norm(p, f"{at}/gn{i}", x)
        if i != 3:
            x = np.maximum(x, 0)
    return np.maximum(shortcut + x, 0)


def _standard_convolve(p: Parameters, at: str, x: np.ndarray, step: int) -> np.ndarray:
    kernel = p[f"{at}/kernel"]
    kernel = kernel - kernel.mean(axis=(0, 1, 2))
    return _convolve(x, kernel / (kernel.std(axis=(0, 1, 2)) + 1e-5), step, "SAME")


def _group_norm(p: Parameters, at: str, x: np.ndarray) -> np.ndarray:
    groups = x.reshape(*x.shape[:3], 32, -1)
    groups = groups - groups.mean(axis=(1, 2, 4), keepdims=True)
    variance = (groups**2).mean(axis=(1, 2, 4), keepdims=True)
    x = (groups / np.sqrt(variance + 1e-6)).reshape(x.shape)
    return x * p[f"{at}/scale"].ravel() + p[f"{at}/bias"].ravel()


def _convolve(x: np.ndarray, kernel: np.ndarray, step: int, padding: str) -> np.ndarray:
    size = kernel.shape[0]
    if padding == "SAME":
        x = _padded(x, size, step, 0)
    windows = _windows(x, size, step)  # (B, H, W, C, size, size)
    return np.einsum("bhwcyx,yxco->bhwo", windows, kernel, optimize=True)


def _max_pool(x: np.ndarray) -> np.ndarray:
    return _windows(_padded(x, 3, 2, -np.inf), 3, 2).max(axis=(-2, -1))


def _windows(x: np.ndarray, size: int, step: int) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return windows[:, ::step, ::step]


def _padded(x: np.ndarray, size: int, step: int, value: float) -> np.ndarray:
    widths = [(0, 0)]
    for pixels in x.shape[1:3]:
        missing = max((math.ceil(pixels / step) - 1) * step + size - pixels, 0)
        widths.append((missing // 2, missing - missing // 2))
    return np.pad(x, [*widths, (0, 0)], constant_values=value)


def _block_shapes(kind: Kind) -> dict[str, tuple[int, ...]]:
    attention, norm, mlp = kind.numbers
    return {
        **_norm_shapes("LayerNorm_0", kind.width),
        **_attention_shapes(f"MultiHeadDotProductAttention_{attention}", kind),
        **_norm_shapes(f"LayerNorm_{norm}", kind.width),
        **_mlp_shapes(f"MlpBlock_{mlp}", kind),
    }


def _attention_shapes(at: str, kind: Kind) -> dict[str, tuple[int, ...]]:
    heads = (kind.heads, kind.width // kind.heads)
    found = {
        f"{at}/out/kernel": (*heads, kind.width),
        f"{at}/out/bias": (kind.width,),
    }
    for name in ("query", "key", "value"):
        found[f"{at}/{name}/kernel"] = (kind.width, *heads)
        found[f"{at}/{name}/bias"] = heads
    return found


def _mlp_shapes(at: str, kind: Kind) -> dict[str, tuple[int, ...]]:
    return {
        **_dense_shapes(f"{at}/Dense_0", kind.width, kind.hidden),
        **_dense_shapes(f"{at}/Dense_1", kind.hidden, kind.width),
    }


def _dense_shapes(at: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{at}/kernel": (inputs, outputs), f"{at}/bias": (outputs,)}


def _norm_shapes(at: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{at}/scale": shape, f"{at}/bias": shape}


def _network_shapes(kind: Kind) -> tuple[dict[str, tuple[int, ...]], int]:
    """The ResNet's, and how many channels it gives."""
    lead = (1, 1, 1) if kind.old_norms else ()
    inputs = 64
    found = {"conv_root/kernel": (7, 7, 3, inputs)}
    found |= _norm_shapes("gn_root", *lead, inputs)
    for block, units in enumerate(kind.units, 1):
        outputs = kind.channels[block - 1]
        inner = outputs // 4
        for unit in range(1, units + 1):
            at = f"block{block}/unit{unit}"
            if unit == 1:
                found[f"{at}/conv_proj/kernel"] = (1, 1, inputs, outputs)
                found |= _norm_shapes(f"{at}/gn_proj", *lead, outputs)
            found[f"{at}/conv1/kernel"] = (1, 1, inputs, inner)
            found[f"{at}/conv2/kernel"] = (3, 3, inner, inner)
            found[f"{at}/conv3/kernel"] = (1, 1, inner, outputs)
            for i, channels in ((1, inner), (2, inner), (3, outputs)):
                found |= _norm_shapes(f"{at}/gn{i}", *lead, channels)
            inputs = outputs
    return found, inputs
