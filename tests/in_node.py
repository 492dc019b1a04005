"""Every kind under TensorFlow.js itself, on its plain and its WebAssembly backend.

    npm install --prefix /tmp/tfjs @tensorflow/tfjs @tensorflow/tfjs-backend-wasm
    NODE_PATH=/tmp/tfjs/node_modules python -m pytest tests/in_node.py

It needs Node and those packages, so it is run by name.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from kinds_in_one import KINDS, images, micro_model

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
