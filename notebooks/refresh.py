"""Runs the notebooks, and writes each `.ipynb` with what its cells gave.

    python notebooks/refresh.py
    python notebooks/refresh.py serving finetune

A notebook's source is `NAME.py`, in jupytext's percent format. `NAME.ipynb` has the
same cells with their outputs. Nothing in it tells when or where it ran, so that a run
that gives the same outputs writes the same file.
"""

import contextlib
import copy
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from absl import flags
from nbclient import NotebookClient
from nbformat import NotebookNode
from tqdm import tqdm

from vit_tf import command

FLAGS = flags.FlagValues()  # of this command, beside those of others
flags.DEFINE_bool("debug", False, "show where an error comes from", flag_values=FLAGS)
flags.DEFINE_bool("help", False, "show this", flag_values=FLAGS)
FOLDER = Path(__file__).resolve().parent
BESIDE = ("examples", "tests")  # of the checkout: what notebooks use
CELL_SECONDS = 600  # after which a cell is ended
SETTINGS = {
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm's: a bar is drawn otherwise
    "PYTHONPATH": str(FOLDER.parent),  # the package of this checkout
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # its sums are in another order on another machine
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "VIT_TF_NETWORK": "0"}


def names() -> list[str]:
    """Those of the notebooks, sorted."""
    return sorted({path.stem for path in FOLDER.glob("*.py")} - {Path(__file__).stem})


def read_source(name: str) -> NotebookNode:
    """A notebook as its source has it: without outputs, each cell with its number.

    Raises:
        FileNotFoundError: if there is none of that name.
    """
    notebook = jupytext.read(FOLDER / f"{name}.py")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata.pop("lines_to_next_cell", None)  # of the `.py`, too
    del notebook.metadata.jupytext["text_representation"]
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def run(
    notebook: NotebookNode, network: Mapping[str, str] = OFFLINE, **options: Any
) -> NotebookNode:
    """The notebook with what its cells give, in a folder of its own.

    Args:
        notebook: As `read_source` gives it; it stays as it is.
        network: Environment variables that say what of a network there is.
        options: Further ones of `NotebookClient`.

    Raises:
        CellExecutionError: if a cell raises an error.
    """
    notebook = copy.deepcopy(notebook)
    about = copy.deepcopy(notebook.metadata)
    with _folder_like_this() as folder:
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            resources={"metadata": {"path": str(folder)}},
            extra_arguments=["--log-level=ERROR"],
            record_timing=False,
            coalesce_streams=True,
            **options,
        )
        client.execute(env={**os.environ, **SETTINGS, **network})
    notebook.metadata = about  # the kernel has added to it
    return notebook


@contextlib.contextmanager
def _folder_like_this() -> Iterator[Path]:
    """An empty folder, beside which is what notebooks use of the checkout."""
    with tempfile.TemporaryDirectory() as place:
        for beside in BESIDE:
            (Path(place) / beside).symlink_to(FOLDER.parent / beside)
        folder = Path(place) / FOLDER.name
        folder.mkdir()
        yield folder


def main(argv: list[str]) -> None:
    asked = command.parse(FLAGS, argv, __doc__)
    if unknown := sorted(set(asked) - set(names())):
        raise ValueError(f"{', '.join(unknown)} found; expected: {', '.join(names())}")
    with tqdm(asked or names(), leave=False) as bar:
        for name in bar:
            bar.set_description(name)
            notebook = run(read_source(name))
            nbformat.write(notebook, FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    command.run("refresh", main, sys.argv)
