"""timm as the oracle: the same tensors in the original implementation."""

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
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


_declare_torchvision_operators()

import timm  # noqa: E402
from torch import nn  # noqa: E402

from vit_tf.parity import LOGITS  # noqa: E402


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
        with torch.device("meta"):
            self.module = timm.create_model(name, **(arguments or {}))
        state = {k: _to_torch(v).to(self.dtype) for k, v in tensors.items()}
        self.module.load_state_dict(state, strict=True, assign=True)
        self.module.eval()

    def record(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The output of every module, by timm's name.

        Modules that compute nothing (`nn.Identity`) and containers are left out.
        Attention runs unfused, so that its probabilities pass through `attn_drop`.

        Args:
            images: (B, H, W, C) preprocessed images.

        Returns:
            name -> output, channels last; the model's own under "logits".
        """
        outputs: dict[str, np.ndarray] = {}
        hooks = []
        for name, module in self.module.named_modules():
            if isinstance(module, (nn.Identity, nn.Sequential, nn.ModuleList)):
                continue
            keep = _recorder(outputs, name or LOGITS)
            hooks.append(module.register_forward_hook(keep))
        fused = [m for m in self.module.modules() if getattr(m, "fused_attn", False)]
        for module in fused:
            module.fused_attn = False
        try:
            with torch.inference_mode():
                self.module(self._images(images))
        finally:
            for hook in hooks:
                hook.remove()
            for module in fused:
                module.fused_attn = True
        return outputs

    def logits(self, images: np.ndarray) -> np.ndarray:
        """The model's output, as timm users get it: (B, num_classes)."""
        with torch.inference_mode():
            return self.module(self._images(images)).numpy()

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
        logits = self.module(self._images(images))
        logits = logits.flatten(0, -2)  # unpooled: each token has its image's label
        labels = np.repeat(labels, len(logits) // len(labels))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        names, parameters = zip(*self.module.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss, parameters)
        return {n: g.numpy() for n, g in zip(names, gradients, strict=True)}

    def _images(self, images: np.ndarray) -> torch.Tensor:
        channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return torch.from_numpy(channels_first).to(self.dtype)


def pretrained_tensors(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """timm's pretrained weights for `name` ("architecture.tag"), by timm's hub code.

    Raises:
        RuntimeError, OSError: from timm and huggingface_hub, where there are no
            pretrained weights under that name or they cannot be fetched.
    """
    model = timm.create_model(name, pretrained=True, **arguments)
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


def tags(name: str) -> list[str]:
    """timm's pretrained tags of an architecture, as "architecture.tag"."""
    return timm.list_pretrained(f"{name}.*")


def _recorder(outputs: dict[str, np.ndarray], name: str) -> Callable[..., None]:
    def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            output = output.permute(0, 2, 3, 1)
        outputs[name] = output.numpy()

    return keep


def _to_torch(array: np.ndarray) -> torch.Tensor:
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    with warnings.catch_warnings():  # read-only memory: nobody writes to it here
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(np.ascontiguousarray(array))
