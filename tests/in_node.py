"""Every kind under TensorFlow.js itself, on its plain and its WebAssembly backend.

And what a card says of TensorFlow.js, as pasted into a page beside a bundle.

    npm install --prefix /tmp/tfjs @tensorflow/tfjs @tensorflow/tfjs-backend-wasm
    NODE_PATH=/tmp/tfjs/node_modules python -m pytest tests/in_node.py

It needs Node and those packages, so it is run by name.
"""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fake_server import Served, serving
from kinds_in_one import KINDS, images, micro_model
from micro import micro_config

from vit_tf import pipeline
from vit_tf.export import saved_model
from vit_tf.export.formats import tfjs

SCRIPT = Path(__file__).with_name("in_node.js")
OTHERS = (
    "vit_tiny_patch16_224",
    "vit_base_patch16_siglip_224",
    "vit_small_r26_s32_224",
)


@pytest.mark.parametrize("name", KINDS + OTHERS)
def test_tensorflow_js_gives_the_logits(tmp_path, name):
    model = micro_model(name)
    saved_model.save(model, tmp_path / "saved_model")
    tfjs.write(tmp_path / "saved_model", tmp_path / "tfjs")
    given, asked = tmp_path / "images", tmp_path / "logits"
    for backend in ("cpu", "wasm"):
        for batch in (1, 3):
            images(batch).tofile(given)
            shape = [str(size) for size in images(batch).shape]
            command = ["node", SCRIPT, backend, tmp_path / "tfjs", given, asked]
            subprocess.run(command + shape, check=True, capture_output=True)
            expected = model(images(batch)).numpy()
            logits = np.fromfile(asked, np.float32).reshape(expected.shape)
            atol = 1e-6 * np.abs(expected).max()
            np.testing.assert_allclose(logits, expected, rtol=0, atol=atol)


# Node has no page that paths are relative to, and its modules no NODE_PATH.
IN_A_PAGE = """
import {{ createRequire }} from "module";
const fetched = globalThis.fetch;
globalThis.fetch = (path, options) => fetched(new URL(path, "{page}/"), options);
const tf = createRequire(import.meta.url)("@tensorflow/tfjs");
"""


@pytest.mark.parametrize("classes", [0, 7])
def test_a_cards_code_runs_as_pasted(tmp_path, classes):
    bundle, config = tmp_path / "micro", micro_config(num_classes=classes)
    pipeline.convert(config, bundle, checkpoint="random:0", formats=["tfjs"])
    card = (bundle / "README.md").read_text()
    [code] = re.findall(r"```javascript\n(.*?)```", card, re.DOTALL)
    first_line, _, code = code.partition("\n")
    assert first_line == 'import * as tf from "@tensorflow/tfjs";'
    files = {
        f"/micro/tfjs/{path.name}": Served(path.read_bytes())
        for path in (bundle / "tfjs").iterdir()
    }
    with serving(files) as (page, requests):
        script = tmp_path / "script.mjs"
        script.write_text(
            IN_A_PAGE.format(page=page) + code + "console.log(outputs.shape.join());"
        )
        done = subprocess.run(["node", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"1,{classes or config.model.embed_dim}"
    assert {path for path, _ in requests} == set(files)
