"""TensorFlow.js's own converter, as a script that needs nothing but it and TensorFlow.

    python -P vit_tf/export/formats/tfjs_converter.py SAVED_MODEL FOLDER

The package imports others for its converters of JAX models, decision forests, TF-Hub
modules and Keras files. They are not used here, and their requirements do not resolve
beside ours: names stand for them, so it can be installed with `--no-deps`. They stand
in `sys.modules`: hence a process of its own.
"""

import sys
from unittest.mock import MagicMock

UNUSED = (
    "jax",
    "jax.experimental",
    "tensorflow_decision_forests",
    "tensorflow_hub",
    "tf_keras",
)


def main(saved_model: str, folder: str) -> None:
    sys.modules.update({name: MagicMock(name=name) for name in UNUSED})
    from tensorflowjs.converters import tf_saved_model_conversion_v2 as converter

    try:
        # TensorFlow.js has no assertions: these are of sizes that a client chooses
        converter.convert_tf_saved_model(saved_model, folder, strip_debug_ops=True)
    except ValueError as error:
        sys.exit(" ".join(str(error).split()))


if __name__ == "__main__":
    main(*sys.argv[1:])
