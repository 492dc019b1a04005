"""Image files on which a bundle's preprocessing and signatures are tried."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from vit_tf.export.serving import TOP
from vit_tf.preprocessing import DataConfig, transform
from vit_tf.preprocessing.decode import decode

Outputs = Mapping[str, Mapping[str, np.ndarray]]  # signature -> output name -> array

PIXELS = "pixels of files"  # a call with what a file's image must become
# Which of the files' images each signature is given.
ROWS = {
    "serving_bytes": (0, 1),
    "serving_uint8": (0, 0),
    "serving_uint8_ragged": (0, 1),
}


@dataclasses.dataclass(frozen=True)
class Samples:
    """Files, and what must come of them.

    Attributes:
        files: name -> encoded image.
        pixels: name -> (height, width, channels) float32, what the model takes.
        order: Whose order of passes our pixels have, as in `DataConfig.pillow`.
        label_names: Its classes' names, or None.
    """

    files: Mapping[str, bytes]
    pixels: Mapping[str, np.ndarray]
    order: str
    label_names: Sequence[str] | None = None

    def calls(self) -> dict[str, dict[str, tf.Tensor]]:
        """signature -> what it is called with; and `PIXELS`, as floats."""
        channels = next(iter(self.pixels.values())).shape[-1]
        images = [decode(file)[..., :channels] for file in self.files.values()]
        return {
            "serving_bytes": {"images": tf.constant([*self.files.values()])},
            "serving_uint8": {"images": tf.stack([images[0], images[0]])},
            "serving_uint8_ragged": {
                "pixels": tf.concat([tf.reshape(x, (-1,)) for x in images], axis=0),
                "sizes": tf.stack([tf.shape(x)[:2] for x in images]),
            },
            PIXELS: {"images": tf.constant(np.stack([*self.pixels.values()]))},
        }

    def expected(self, found: Outputs, outputs: np.ndarray) -> Outputs:
        """What the signatures must give: of logits, the rest follows.

        Args:
            found: What they gave; what follows must follow from its logits.
            outputs: (files, ...) what the model gives for `pixels`.
        """
        return {
            signature: {"logits": outputs[[*rows]], **_following(found[signature])}
            if "logits" in found[signature]
            else {"features": outputs[[*rows]]}
            for signature, rows in ROWS.items()
        }

    def comparable(self, found: Outputs) -> Outputs:
        """What the signatures gave, in numbers: for a label, whether it is right."""
        return {
            signature: {
                name: self._right(found[signature]) if name == "labels" else value
                for name, value in found[signature].items()
            }
            for signature in ROWS
        }

    def _right(self, found: Mapping[str, np.ndarray]) -> np.ndarray:
        classes = found["classes"]
        names = self.label_names or [str(i) for i in range(found["logits"].shape[-1])]
        expected = np.array([name.encode() for name in names], object)[classes]
        return (found["labels"] == expected).astype(np.float32)


def sample_files(data: DataConfig) -> dict[str, bytes]:
    """A JPEG and a PNG of noise on a gradient, the same each time.

    The PNG is so tall that the order of Pillow's passes can be seen in it.
    """
    larger = min(1 / data.crop_pct, 4)  # than what is kept; no file without bounds
    height, width = (math.ceil(edge * larger) for edge in data.size)
    sizes = {"wide.jpeg": (1.2, 1.6), "tall.png": (3.0, 1.25)}
    encode = {"wide.jpeg": tf.io.encode_jpeg, "tall.png": tf.io.encode_png}
    random = np.random.default_rng(0)
    files = {}
    for name, (tall, wide) in sizes.items():
        shape = (math.ceil(tall * height), math.ceil(wide * width))
        slope = np.linspace(0, 200, shape[1], dtype=np.uint8)[:, None]
        image = slope + random.integers(
            56, size=(*shape, data.input_size[0]), dtype="u1"
        )
        files[name] = encode[name](image).numpy()
    return files


def preprocessed(files: Mapping[str, bytes], data: DataConfig) -> dict[str, np.ndarray]:
    """What our own transform makes of files: (height, width, channels) float32 each."""
    return {name: transform(tf.constant(f), data).numpy() for name, f in files.items()}


def _following(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    logits = found["logits"]
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    classes = np.argsort(-found["probabilities"], axis=-1, kind="stable")[..., :TOP]
    return {
        "probabilities": powers / powers.sum(-1, keepdims=True),
        "classes": classes.astype(np.int32),
        "labels": np.ones(classes.shape, np.float32),
        "scores": np.take_along_axis(found["probabilities"], classes, axis=-1),
    }
