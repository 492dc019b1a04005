"""timm as the oracle: the same tensors in the original implementation."""

import contextlib
import functools
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import PIL.Image

from vit_tf.imports import uncollected

with uncollected():
    import torch


def _declare_torchvision_operators() -> None:
    """Lets timm import torchvision beside a torch that cannot load its binaries.

    timm imports torchvision for its training transforms. Where torchvision's compiled
    operators do not load (a CPU torch beside the registry's CUDA build), its Python
    part still asks torch for two of them. timm calls neither, so declaring their
    signatures is enough. Whether they load must be found out before the import: a
    failed one leaves half of torchvision in `sys.modules`.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return
    folder = Path(spec.submodule_search_locations[0])
    for binary in folder.glob("_C*.so"):
        try:
            torch.ops.load_library(binary)
            return
        except OSError:
            continue
    global _torchvision  # torch forgets the declarations with the Library object
    _torchvision = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        _torchvision.define(operator + signature)


with uncollected():
    _declare_torchvision_operators()

    import timm
    from timm.layers import HybridEmbed, pad_same
    from timm.models import resnetv2, vision_transformer_hybrid
    from torch import nn

from vit_tf.layers.spec import parse  # noqa: E402
from vit_tf.parity import LOGITS  # noqa: E402
from vit_tf.preprocessing import DataConfig  # noqa: E402

_LAYERS = {  # constructor arguments that are classes in timm -> where they are
    "block_fn": timm.models.vision_transformer,
    "mlp_layer": timm.layers,
    "norm_layer": timm.layers,
    "embed_norm_layer": timm.layers,
}

_CHANGES_VALUES = (  # methods of a tensor
    "add_", "clamp_", "copy_", "erfinv_", "fill_", "mul_", "normal_", "uniform_",
    "zero_",
)  # fmt: skip


def timm_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's constructor arguments as timm takes them: layers as classes."""
    if "backbone" in arguments:
        arguments = _hybrid_embed(arguments)
    return {
        name: _layer(_LAYERS[name], value) if name in _LAYERS and value else value
        for name, value in arguments.items()
    }


class Reference:
    """timm's model, filled with a checkpoint.

    The weights are the given arrays themselves, not copies: a model read from a
    memory-mapped file costs no memory of its own.

    Args:
        name: timm's architecture name, e.g. "deit_tiny_patch16_224".
        tensors: timm name -> array, complete (loaded with `strict=True`).
        arguments: timm's constructor arguments where they differ from the
            architecture's own.
        dtype: "float32" or "float64"; the tensors are cast to it.

    Raises:
        RuntimeError: from torch, where names or shapes do not fit.
    """

    def __init__(
        self,
        name: str,
        tensors: Mapping[str, np.ndarray],
        arguments: Mapping[str, Any] | None = None,
        *,
        dtype: str = "float32",
    ):
        self.dtype = getattr(torch, dtype)
        with torch.device("meta"), without_values():
            self.module = timm.create_model(name, **timm_arguments(arguments or {}))
        state = {k: self._cast(_to_torch(v)) for k, v in tensors.items()}
        for buffer, _ in self.module.named_buffers():  # training moves these in place
            if buffer in state:
                state[buffer] = state[buffer].clone()
        self.module.load_state_dict(state, strict=True, assign=True)
        _compute_buffers(self.module, self.dtype)
        self.module.eval()

    def record(
        self,
        images: np.ndarray,
        each: Callable[[str, np.ndarray], np.ndarray] = lambda name, output: output,
    ) -> dict[str, np.ndarray]:
        """The output of every module, by timm's name.

        Modules that compute nothing (`nn.Identity`) and containers are left out.
        Attention runs unfused, so that its probabilities pass through `attn_drop`, and
        no activation overwrites what it is given.

        Args:
            images: (B, H, W, C) preprocessed images.
            each: What to keep of an output, given its name and the array; by default
                the array itself.

        Returns:
            name -> output, channels last; the model's own under "logits".
        """
        outputs: dict[str, np.ndarray] = {}
        hooks = []
        channels_first = _channels_first(self.module)
        for name, module in self.module.named_modules():
            if isinstance(module, (nn.Identity, nn.Sequential, nn.ModuleList)):
                continue
            keep = _recorder(outputs, each, name or LOGITS, module in channels_first)
            hooks.append(module.register_forward_hook(keep))
        try:
            with (
                _switched_off(self.module, "fused_attn"),
                _switched_off(self.module, "inplace"),
                torch.inference_mode(),
                _precision(self.dtype),
            ):
                self.module(self._images(images))
        finally:
            for hook in hooks:
                hook.remove()
        return outputs

    def logits(self, images: np.ndarray) -> np.ndarray:
        """The model's output, as timm users get it: (B, num_classes)."""
        with torch.inference_mode(), _precision(self.dtype):
            return self.module(self._images(images)).to(self.dtype).numpy()

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """timm's facts about each of the model's feature maps."""
        info = self.module.feature_info
        return list(info if isinstance(info, list) else info.info)

    def intermediates(
        self, images: np.ndarray, indices: int | list[int] | None, *, norm: bool = False
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """timm's `forward_intermediates`, channels last: features, and feature maps."""
        with torch.inference_mode(), _precision(self.dtype):
            features, maps = self.module.forward_intermediates(
                self._images(images), indices=indices, norm=norm
            )
        return features.numpy(), [x.permute(0, 2, 3, 1).numpy() for x in maps]

    def gradients(
        self, images: np.ndarray, labels: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The gradient of the mean cross-entropy loss, for each parameter.

        Args:
            images: (B, H, W, C) preprocessed images.
            labels: (B,) integers below the number of outputs.

        Returns:
            timm name -> gradient, of the parameter's shape.
        """
        with _precision(self.dtype):
            logits = self.module(self._images(images))
        logits = logits.flatten(0, -2)  # unpooled: each token has its image's label
        labels = np.repeat(labels, len(logits) // len(labels))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        names, parameters = zip(*self.module.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss, parameters)
        return {n: g.numpy() for n, g in zip(names, gradients, strict=True)}

    def _cast(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def _images(self, images: np.ndarray) -> torch.Tensor:
        channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return torch.from_numpy(channels_first).to(self.dtype)


def preprocess(data: DataConfig, files: Sequence[bytes]) -> np.ndarray:
    """timm's own evaluation transform of image files, as its `validate.py` reads them.

    Args:
        data: How they are transformed; the order of passes is the installed Pillow's,
            whatever `data` says.
        files: What each file holds.

    Returns:
        (B, height, width, channels) float32.
    """
    arguments = {k: v for k, v in data.to_json().items() if k != "pillow"}
    transform = timm.data.create_transform(**arguments, is_training=False)
    mode = "RGB" if data.input_size[0] == 3 else "L"
    images = (PIL.Image.open(io.BytesIO(file)).convert(mode) for file in files)
    return np.stack([transform(x).permute(1, 2, 0).numpy() for x in images])


def pillow_version() -> str:
    """That of the Pillow that is installed."""
    return PIL.__version__


def pretrained_tensors(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """timm's pretrained weights for `name` ("architecture.tag"), by timm's hub code.

    Raises:
        RuntimeError, OSError: from timm and huggingface_hub, where there are no
            pretrained weights under that name or they cannot be fetched.
    """
    model = timm.create_model(name, pretrained=True, **timm_arguments(arguments))
    return {k: v.numpy() for k, v in model.state_dict().items()}


def pretrained_cfg(name: str) -> dict[str, Any]:
    """timm's facts about a pretrained tag: mean, std, crop, classes, licence, source.

    Args:
        name: "architecture" (its default tag) or "architecture.tag".

    Raises:
        ValueError: if timm knows no such tag.
    """
    try:
        cfg = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"timm has no pretrained tag {name!r}: {error}") from error
    return cfg.to_dict()


def label_names(num_classes: int) -> list[str] | None:
    """What timm's pretrained models of so many classes tell apart, as WordNet has it.

    None where timm does not know: no ImageNet has as many.
    """
    subset = timm.data.infer_imagenet_subset({"num_classes": num_classes})
    return timm.data.ImageNetInfo(subset).label_descriptions() if subset else None


def tags(name: str) -> list[str]:
    """timm's pretrained tags of an architecture, as "architecture.tag"."""
    return timm.list_pretrained(f"{name}.*")


def _layer(module: Any, text: str) -> Any:
    """A class of timm's, or a partial of it, as `vit_tf.layers.spec` writes them."""
    name, arguments = parse(text)
    cls = getattr(module, name)
    return functools.partial(cls, **arguments) if arguments else cls


class without_values(torch.overrides.TorchFunctionMode):  # noqa: N801
    """Within it, nothing is drawn for tensors on the meta device.

    They have no values; but torch takes its way through each operation in Python, and
    most of the time in which timm builds a model there is for its first weights.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in _CHANGES_VALUES and args and args[0].is_meta:
            return args[0]
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def _precision(dtype: torch.dtype) -> Iterator[None]:
    """Within it, what timm computes "in float32 at least" is computed in `dtype`.

    A few of timm's modules call `Tensor.float()` against half precision. In double
    precision that would round, and the proof would end there.
    """
    before = torch.Tensor.float
    try:
        if dtype == torch.float64:
            torch.Tensor.float = torch.Tensor.double
        yield
    finally:
        torch.Tensor.float = before


def _recorder(
    outputs: dict[str, np.ndarray],
    each: Callable[[str, np.ndarray], np.ndarray],
    name: str,
    channels_first: bool,
) -> Callable[..., None]:
    def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if isinstance(output, list):  # of features: a hybrid sees the last
            output = output[-1]
        if channels_first:  # copied: the activation that follows may work in place
            output = output.permute(0, 2, 3, 1).clone()
        outputs[name] = each(name, output.numpy())

    return keep


def _channels_first(model: nn.Module) -> set[nn.Module]:
    """The modules that give (B, C, H, W): convolutions, all of a hybrid's network."""
    found = {m for m in model.modules() if isinstance(m, nn.Conv2d)}
    for module in model.modules():
        if isinstance(module, HybridEmbed):
            found.update(module.backbone.modules())
    return found


def _hybrid_embed(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A hybrid's arguments with its network as an object, which is values in ours."""
    arguments = dict(arguments)
    network = _backbone(
        arguments.pop("backbone"),
        arguments.pop("backbone_layers"),
        arguments.pop("backbone_channels"),
        arguments["in_chans"],
    )
    embed_args = {} if arguments.pop("proj") else {"proj": False}
    embed_layer = functools.partial(HybridEmbed, backbone=network, **embed_args)
    return {**arguments, "embed_layer": embed_layer}


def _backbone(
    kind: str, layers: Sequence[int], channels: Sequence[int] | None, in_chans: int
) -> nn.Module:
    """As timm's entry points of hybrids build it, with other depths and widths."""
    given = dict(in_chans=in_chans)
    if channels is not None:
        given["channels"] = channels
    if kind == "conv_stem":
        steps = (4, 2, 2)
        return vision_transformer_hybrid.ConvStem(
            stride=steps, kernel_size=steps, padding=0, act_layer=nn.GELU, **given
        )
    if kind == "resnet":
        # all four stages are made, and those behind the last of `layers` dropped
        depths = (*layers, *(1,) * (4 - len(layers)))
        if channels is not None:
            given["channels"] = (*channels, *(1,) * (4 - len(channels)))
        return timm.create_model(
            "resnet50d",
            features_only=True,
            out_indices=[len(layers)],
            layers=depths,
            **given,
        )
    options = dict(stem_type="same", preact=False)
    options["conv_layer"] = functools.partial(timm.layers.StdConv2dSame, eps=1e-8)
    if kind == "resnetv2_flax":
        options["conv_layer"] = functools.partial(_FlaxStdConv, eps=1e-5)
        options["norm_layer"] = functools.partial(timm.layers.GroupNormAct, eps=1e-6)
    if not layers:
        return resnetv2.create_resnetv2_stem(in_chans, **options)
    return resnetv2.ResNetV2(layers, num_classes=0, global_pool="", **given, **options)


class _FlaxStdConv(timm.layers.StdConv2dSame):
    """What JAX's hybrids have in its place: `eps` is added to the deviation.

    timm has no such layer; the rest of the network is its own.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        axes = dict(dim=(1, 2, 3), keepdim=True)
        weight = self.weight - self.weight.mean(**axes)
        weight = weight / (weight.std(correction=0, **axes) + self.eps)
        if self.same_pad:
            x = pad_same(x, self.kernel_size, self.stride, self.dilation)
        return nn.functional.conv2d(x, weight, None, self.stride, self.padding)


@contextlib.contextmanager
def _switched_off(model: nn.Module, flag: str) -> Iterator[None]:
    """Within it, an attribute of modules that is True is False."""
    modules = [m for m in model.modules() if getattr(m, flag, False)]
    for module in modules:
        setattr(module, flag, False)
    try:
        yield
    finally:
        for module in modules:
            setattr(module, flag, True)


def _compute_buffers(model: nn.Module, dtype: torch.dtype) -> None:
    """Fills what modules compute and no checkpoint holds, e.g. attention masks."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                kind = dtype if buffer.is_floating_point() else buffer.dtype
                setattr(module, name, torch.empty(buffer.shape, dtype=kind))
    for module in model.modules():
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()


def _to_torch(array: np.ndarray) -> torch.Tensor:
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    with warnings.catch_warnings():  # read-only memory: nobody writes to it here
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(np.ascontiguousarray(array))
