"""Bundles for the tests of `i1k_eval`, and what a run over them leaves or refuses."""

import json
from pathlib import Path

import pytest
from micro import micro_config

from i1k_eval import evaluate as command
from vit_tf import pipeline
from vit_tf.export.bundle import CONFIG


def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A micro ViT of ten classes, with random weights."""
    directory = tmp_path_factory.mktemp("bundles") / "micro"
    pipeline.convert(micro_config(num_classes=10), directory, checkpoint="random:0")
    return directory


def change_data(bundle: Path, **values: object) -> None:
    described = json.loads((bundle / CONFIG).read_text())
    described["data"] |= values
    (bundle / CONFIG).write_text(json.dumps(described))


def refused(*arguments: object) -> str:
    """The message with which the command ends."""
    with pytest.raises(SystemExit) as ended:
        command.run(["i1k_eval.evaluate", *map(str, arguments)])
    message = ended.value.code
    assert message.startswith("i1k_eval: error: ")
    assert "\n" not in message
    return message.removeprefix("i1k_eval: error: ")


def read(folder: Path) -> tuple[dict, list[dict]]:
    """What results.json holds, and the lines of predictions.jsonl."""
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    results = json.loads((folder / "results.json").read_text())
    return results, [json.loads(line) for line in lines[1:]]
