"""Imports go one way, and only where the design says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The level of a module: it imports only from lower ones, or from its own package.
LEVELS = {
    "vit_tf.bicubic": -1,  # arithmetic that layers and checkpoints share
    "vit_tf.imports": -1,
    "vit_tf.quiet": 0,
    "vit_tf.command": 0,
    "vit_tf.layers": 0,
    "vit_tf.checkpoints": 0,
    "vit_tf.parity": 0,
    "vit_tf.preprocessing": 0,
    "vit_tf.models": 1,
    "vit_tf.mapping": 1,
    "vit_tf.reference": 1,
    "vit_tf.configs": 1,
    "vit_tf.activations": 2,
    "vit_tf.adaptation": 2,
    "vit_tf.architectures": 2,
    "vit_tf.keras_file": 2,
    "vit_tf.gradients": 2,
    "vit_tf.layer_values": 2,
    "vit_tf.explain": 3,
    "vit_tf.explain.plots": 4,
    "vit_tf.export": 3,
    "vit_tf.proof": 3,
    "vit_tf.training": 3,
    "vit_tf.checkpoint": 3,
    "vit_tf.find_config": 4,
    "vit_tf.find_data_config": 4,
    "vit_tf.jax_function": 4,
    "vit_tf.publish": 4,
    "vit_tf.to_timm": 4,
    "vit_tf.workbench": 4,
    "vit_tf.image_input": 5,
    "vit_tf.publish.__main__": 5,
    "vit_tf.source": 5,
    "vit_tf.parity.table": 6,
    "vit_tf.pipeline": 6,
    "vit_tf.augreg": 7,
    "vit_tf.batch": 7,
    "vit_tf.batch.ray_engine": 8,
    "vit_tf.parity.__main__": 7,
    "vit_tf.augreg.__main__": 8,
    "vit_tf": 7,
    "convert": 7,
    "convert_all_models": 8,
    "i1k_eval": 7,
    "vit_tf.finetune": 8,
    "vit_tf.finetune.__main__": 9,
    "i1k_eval.reference": 8,  # the others import it in functions: it needs torch
}
THIRD_PARTY = {
    "vit_tf.bicubic": {"numpy"},
    "vit_tf.imports": set(),
    "vit_tf.quiet": set(),
    "vit_tf.command": {"absl"},
    "vit_tf.layers": {"tensorflow", "keras", "numpy"},
    "vit_tf.checkpoints": {"numpy", "safetensors", "ml_dtypes", "h5py"},
    "vit_tf.parity": {"numpy"},
    "vit_tf.preprocessing": {"tensorflow", "keras", "numpy"},
    "vit_tf.models": {"tensorflow", "keras", "numpy", "ml_collections"},
    "vit_tf.mapping": {"tensorflow", "keras", "numpy"},
    "vit_tf.reference": {"torch", "timm", "numpy", "ml_dtypes", "PIL"},
    "vit_tf.configs": {"ml_collections"},
    "vit_tf.keras_file": {"tensorflow", "keras", "numpy", "ml_collections"},
    "vit_tf.activations": {"tensorflow", "keras", "numpy"},
    "vit_tf.adaptation": {"numpy"},
    "vit_tf.architectures": {"numpy"},
    "vit_tf.gradients": {"tensorflow", "numpy"},
    "vit_tf.layer_values": {"ml_collections"},
    "vit_tf.explain": {"tensorflow", "keras", "numpy"},
    "vit_tf.explain.plots": {"matplotlib", "numpy"},
    "vit_tf.export": {"tensorflow", "keras", "numpy", "ml_collections", "google"},
    "vit_tf.proof": {"keras", "numpy", "ml_collections"},
    "vit_tf.training": {"tensorflow", "keras", "numpy"},
    "vit_tf.jax_function": {"numpy", "ml_collections"},
    "vit_tf.checkpoint": set(),
    "vit_tf.find_config": {"ml_collections"},
    "vit_tf.find_data_config": {"keras"},
    "vit_tf.image_input": {"tensorflow", "keras", "numpy"},
    "vit_tf.source": {"numpy", "ml_collections"},
    "vit_tf.publish": set(),  # its hubs' clients are imported where they are needed
    "vit_tf.publish.__main__": {"absl"},
    "vit_tf.to_timm": {"absl"},
    "vit_tf.workbench": {"tensorflow", "keras", "ml_collections"},
    "vit_tf.parity.table": {"tensorflow", "numpy", "ml_collections"},
    "vit_tf.pipeline": {"keras", "numpy", "ml_collections"},
    "vit_tf.augreg": set(),
    "vit_tf.batch": {"keras", "ml_collections"},
    "vit_tf.batch.ray_engine": {"ray"},
    "vit_tf.parity.__main__": {"absl"},
    "vit_tf.augreg.__main__": {"absl"},
    "vit_tf.finetune": {"tensorflow", "keras", "numpy", "ml_collections", "tqdm"},
    "vit_tf.finetune.__main__": {"absl", "ml_collections"},
    "vit_tf": set(),
    "convert": {"absl", "ml_collections", "tqdm"},
    "convert_all_models": {"absl", "tqdm"},
    "i1k_eval": {"tensorflow", "numpy", "absl", "tqdm"},
    "i1k_eval.reference": {"keras", "numpy", "ml_collections", "PIL"},
}
OURS = ("vit_tf", "i1k_eval")


def modules() -> dict[str, Path]:
    scripts = ("convert", "convert_all_models")
    found = {script: ROOT / f"{script}.py" for script in scripts}
    packages = {"configs": "vit_tf.configs", **{name: name for name in OURS}}
    for folder, package in packages.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            found[name] = path
    return found


def part(module: str) -> str:
    """The row of the tables above that a module belongs to."""
    rows = [row for row in LEVELS if module == row or module.startswith(row + ".")]
    return max(rows, key=len)


def imports(path: Path) -> set[str]:
    """What a file imports when it is imported: not inside functions, not for types."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            found.update(
                f"{node.module}.{alias.name}"
                if node.module.startswith(OURS)
                else node.module
                for alias in node.names
            )
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_from_lower_levels(module):
    own = part(module)
    for imported in imports(modules()[module]):
        if imported.startswith(OURS) and part(imported) != own:
            assert LEVELS[part(imported)] < LEVELS[own], imported


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_the_libraries_of_its_level(module):
    external = {
        imported.split(".")[0]
        for imported in imports(modules()[module])
        if not imported.startswith(OURS)
    } - set(sys.stdlib_module_names)
    assert external <= THIRD_PARTY[part(module)]


def test_private_interfaces_are_not_imported():
    for path in modules().values():
        for imported in imports(path):
            assert not imported.startswith(("keras.src", "tensorflow.python"))


def test_models_bundles_and_training_need_neither_torch_nor_timm(tmp_path):
    from micro import MICRO, micro_config

    from vit_tf import pipeline

    pipeline.convert(micro_config(), tmp_path / "out", checkpoint="random:0")
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "timm", "torchvision", "tqdm", "matplotlib"):
            raise ModuleNotFoundError(name + " is not installed", name=name)
sys.meta_path.insert(0, Blocked())
import numpy as np, vit_tf
images = np.zeros((2, 32, 32, 3), np.float32)
model = vit_tf.create_model("deit_tiny_distilled_patch16_224", **{MICRO!r})
model.compile("adam", "mse", run_eagerly=True)
model.fit(images, np.zeros((2, 7)), verbose=0)
model = vit_tf.load(sys.argv[1])
assert len(vit_tf.record(model, images)) > 30
assert vit_tf.outputs(model, ["norm"])(images)["norm"].shape == (2, 5, 24)
assert len(vit_tf.list_models()) > 90
from vit_tf import explain
assert explain.attention_maps(model, images).shape == (2, 3, 2, 2)
try:
    vit_tf.convert
except ImportError as error:
    assert str(error) == "vit_tf.convert needs torch: pip install 'vit_tf[convert]'"
else:
    raise AssertionError("torch was imported")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
