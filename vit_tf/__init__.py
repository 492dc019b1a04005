"""Any vision-transformer checkpoint as the same model in TensorFlow, with proof.

import vit_tf
model = vit_tf.create_model("deit_tiny_patch16_224", num_classes=10)
report = vit_tf.convert("deit_tiny_patch16_224", "out/", checkpoint="mine.pth")
model = vit_tf.load("out/")
"""

import importlib
from typing import Any

_HOMES = {
    "DataConfig": "vit_tf.preprocessing",
    "Preprocessing": "vit_tf.preprocessing",
    "convert": "vit_tf.pipeline",
    "create_model": "vit_tf.models",
    "create_transform": "vit_tf.preprocessing",
    "get_config": "vit_tf.models",
    "list_models": "vit_tf.models",
    "load": "vit_tf.export.bundle",
    "outputs": "vit_tf.activations",
    "preprocess_input": "vit_tf.image_input",
    "record": "vit_tf.activations",
    "resolve_data_config": "vit_tf.find_data_config",
}
__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports what is asked for: TensorFlow, torch and timm load where needed only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "timm"):
            raise
        hint = f"vit_tf.{name} needs {error.name}: pip install 'vit_tf[convert]'"
        raise ModuleNotFoundError(hint, name=error.name) from error


def __dir__() -> list[str]:
    return [*globals(), *__all__]
