"""The notebooks: pairs that belong together, and run offline as they were committed."""

import re
import sys
import tomllib
from pathlib import Path

import forked
import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))

import refresh  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["repository"]
# What another machine may write otherwise, and what stands for it.
MASKS = {
    r"sha256 [0-9a-f]+": "sha256",
    r"relative, [\w.]+ \(": "relative (",  # the layer that is worst
    r"worst( is)? [\w.]+ \(": "worst (",
    r"[-+]?\d+(,\d{3})*(\.\d+)?(e[-+]\d+)?": "#",
    r"-{2,}": "--",
    r"\s+": " ",
}

every_notebook = pytest.mark.parametrize("name", refresh.names())


def committed(name: str) -> NotebookNode:
    return nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def masked(text: str) -> str:
    for pattern, replacement in MASKS.items():
        text = re.sub(pattern, replacement, text)
    return text.strip()


def said(output: NotebookNode) -> tuple[str, ...]:
    """What kind of output it is and its text, without what is a machine's own."""
    if output.output_type == "stream":
        return output.name, masked(output.text)
    text = masked(output.data.get("text/plain", ""))
    return output.output_type, *sorted(output.data), text


def test_there_are_notebooks():
    assert {"classification", "conversion"} <= set(refresh.names())
    assert "refresh" not in refresh.names()


@every_notebook
def test_a_pair_has_the_cells_of_its_source(name):
    source, pair = refresh.read_source(name), committed(name)
    nbformat.validate(pair)
    assert pair.metadata == source.metadata
    assert source.metadata.jupytext.formats == "ipynb,py:percent"
    for cells in (source.cells, pair.cells):
        assert [cell.id for cell in cells] == [f"cell-{i}" for i in range(len(cells))]
    assert [(cell.cell_type, cell.source) for cell in pair.cells] == [
        (cell.cell_type, cell.source) for cell in source.cells
    ]


@every_notebook
def test_every_cell_was_run_in_order_and_without_a_complaint(name):
    cells = code_cells(committed(name))
    counts = [cell.execution_count for cell in cells]
    assert counts == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell.outputs]
    assert any(output.output_type == "stream" for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]


@every_notebook
def test_nothing_in_a_notebook_tells_when_and_where_it_ran(name):
    pair = committed(name)
    assert not [cell for cell in pair.cells if cell.metadata]
    for cell in code_cells(pair):
        for output in cell.outputs:
            text = output.get("text", "") + str(
                output.get("data", {}).get("text/plain")
            )
            assert not re.search(r"/tmp|/home|/work|0x[0-9a-f]{6,}", text)


@every_notebook
def test_a_notebook_opens_itself_in_colab(name):
    title, setup = refresh.read_source(name).cells[:2]
    on_github = REPOSITORY.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{on_github}"
    assert title.source.startswith("# ")
    assert f"]({colab}/blob/main/notebooks/{name}.ipynb)" in title.source
    assert '"google.colab" in sys.modules' in setup.source
    assert REPOSITORY in setup.source


class Kernels(AsyncKernelManager):
    """Kernels in processes that need not import TensorFlow, torch and timm."""

    def format_kernel_cmd(self, extra_arguments=None):
        _, *arguments = super().format_kernel_cmd(extra_arguments)
        return forked.command(*arguments[arguments.index("-m") :])


@every_notebook
def test_a_notebook_gives_offline_what_is_committed(name):
    source = refresh.read_source(name)
    pair, found = committed(name), refresh.run(source, kernel_manager_class=Kernels)
    for cell, again in zip(code_cells(pair), code_cells(found), strict=True):
        assert [said(o) for o in again.outputs] == [said(o) for o in cell.outputs]


SMALL = """\
# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %%
import os

print(os.listdir("."), os.environ["VIT_TF_NETWORK"])

# %% [markdown]
# Text.

# %%
import tqdm.auto

print(1)
print(2)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of one small notebook, in the place of `notebooks/`."""
    monkeypatch.setattr(refresh, "FOLDER", tmp_path)
    monkeypatch.setenv("VIT_TF_NETWORK", "1")  # which is not asked
    (tmp_path / "small.py").write_text(SMALL)
    return tmp_path


def test_refreshed_again_a_notebook_is_the_same_file(folder):
    refresh.main(["refresh.py"])
    first = (folder / "small.ipynb").read_bytes()
    refresh.main(["refresh.py", "small"])
    assert (folder / "small.ipynb").read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == ["small.ipynb", "small.py"]
    cells = nbformat.reads(first.decode(), as_version=4).cells
    assert [cell.id for cell in cells] == ["cell-0", "cell-1", "cell-2"]
    assert [output.text for output in cells[0].outputs] == ["[] 0\n"]
    assert [output.text for output in cells[2].outputs] == ["1\n2\n"]


def test_where_a_cell_fails_nothing_is_written(folder):
    (folder / "small.py").write_text(SMALL.replace("print(1)", "print(one)"))
    with pytest.raises(CellExecutionError, match="name 'one' is not defined"):
        refresh.main(["refresh.py"])
    assert [path.name for path in folder.iterdir()] == ["small.py"]


def test_a_notebook_that_is_not_there_is_named(folder):
    with pytest.raises(ValueError, match="large, tiny found; expected: small"):
        refresh.main(["refresh.py", "tiny", "small", "large"])


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("worst head (4.8e-07 relative)", "worst blocks.2.norm1 (1.1e-06 relative)"),
        ("worst 4.8e-07 relative, head (tolerance", "worst 1e-6 relative, norm (tole"),
        ("16,651  assets.extra/parity.json", " 9,651  assets.extra/parity.json"),
        ("(sha256 e1385d7642e4...)", "(sha256 0b7fffffffff...)"),
    ],
)
def test_what_is_a_machines_own_is_masked(here, there):
    assert masked(here).startswith(masked(there))


def test_what_is_not_a_machines_own_is_compared():
    assert masked("layers: passed, 63 compared") != masked(
        "layers: FAILED, 63 compared"
    )
    assert masked("head  1.1e-06  ok") != masked("norm  1.1e-06  ok")
