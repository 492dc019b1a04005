# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Serving
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/vit-tf/vit_tf/blob/main/notebooks/serving.ipynb)
#
# What a bundle offers those who run it: signatures that take tensors, image files or
# pixels of any size, a Keras layer, and LiteRT files for phones. Each is called here as
# a client calls it, and all are compared.

# %%
import os
import subprocess
import sys

if "google.colab" in sys.modules:  # the repository, and what its notebooks need
    url = "https://github.com/vit-tf/vit_tf"
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", url, "checkout"], check=True
    )
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "./checkout[notebooks]"], check=True)
    os.chdir("checkout/notebooks")
    os.environ["VIT_TF_NETWORK"] = "1"

# %%
from vit_tf import quiet

quiet.import_tensorflow(whole=True)
quiet.drop_notes()
import base64
import json
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import skimage
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import vit_tf

sys.path.insert(0, "../examples/digits")
import digits

OUT = Path("out/serving")

# %% [markdown]
# ## The bundle
#
# Without a network: the small DeiT that timm trained on scikit-learn's digits, and the
# 360 digits that are held out, as pixels. With `VIT_TF_NETWORK=1`: timm's DeiT-Ti with
# its pretrained weights, and photographs of scikit-image, whose classes nobody has
# written down.

# %%
if os.environ.get("VIT_TF_NETWORK") == "1":
    MODEL, CHECKPOINT = "deit_tiny_patch16_224.fb_in1k", ""
    names = ("astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry")
    photographs = [getattr(skimage.data, name)() for name in names]
    pixels = np.stack([photo[:300, :300] for photo in photographs])  # of one size
    labels = None
else:
    MODEL, CHECKPOINT = "", "../examples/digits"
    images, labels = digits.splits()[1]
    pixels = np.uint8(np.round((images * digits.STD + digits.MEAN) * 255))

FORMATS = ("litert_float32", "litert_dynamic_int8")
conversion = vit_tf.convert(
    MODEL, OUT, checkpoint=CHECKPOINT, formats=FORMATS, overwrite=True
)
for report in conversion.reports:
    print(str(report).splitlines()[-1])
print(conversion.pixels)

# %% [markdown]
# ## What it offers
#
# What `saved_model_cli show --dir=out/serving --all` prints, shorter.

# %%
loaded = tf.saved_model.load(str(OUT))


def described(spec: tf.TensorSpec) -> str:
    shape = ", ".join("?" if n is None else str(n) for n in spec.shape)
    return f"({shape}) {spec.dtype.name}"


for name, signature in loaded.signatures.items():
    print(name)
    for key, spec in sorted(signature.structured_input_signature[1].items()):
        print(f"    {key:<24} {described(spec)}")
    for key, spec in sorted(signature.structured_outputs.items()):
        print(f" -> {key:<24} {described(spec)}")

# %% [markdown]
# The first three take what the model takes: floats, already prepared. The three called
# `serving_...` take images as they are stored, and prepare them bit for bit as timm
# does.
#
# ## Files in, labels out
#
# JPEG, PNG, BMP or WebP, in one batch.

# %%
files = [tf.io.encode_png(image).numpy() for image in pixels]
by_bytes = loaded.signatures["serving_bytes"](images=tf.constant(files))
classes = by_bytes["classes"][:, 0].numpy()

figure, axes = plt.subplots(1, 5, figsize=(8, 2.2), dpi=70)
for axis, image, label, score in zip(
    axes, pixels, by_bytes["labels"], by_bytes["scores"], strict=False
):
    axis.imshow(image, cmap="gray")
    axis.set_title(f"{label[0].numpy().decode()[:20]}: {score[0]:.3f}", fontsize=10)
    axis.axis("off")
plt.show()

# %%
if labels is not None:
    accuracy = np.mean(classes == labels)
    print(f"top-1 of {len(labels)} held-out digits: {accuracy:.4f}")
    assert accuracy > 0.95

# %% [markdown]
# TensorFlow Serving offers the same signature by REST; a file goes there in base64. The
# server itself does not run here. It would, with the bundle as the folder `1`, a
# version:
#
#     docker run -p 8501:8501 -e MODEL_NAME=serving \
#         -v $PWD/out/serving:/models/serving/1 tensorflow/serving

# %%
request = {
    "signature_name": "serving_bytes",
    "instances": [{"b64": base64.b64encode(files[0]).decode()}],
}
print("POST /v1/models/serving:predict")
print(json.dumps(request)[:100], "...")

# %% [markdown]
# ## Pixels
#
# `serving_uint8` takes pixels of one size. `serving_uint8_ragged` takes pixels of
# several: all values in a row, and the height and width of each. Here every second
# image is three times as large.

# %%
uint8 = loaded.signatures["serving_uint8"](images=tf.constant(pixels))
assert np.array_equal(uint8["logits"], by_bytes["logits"])

several = [image.repeat(3, 0).repeat(3, 1) if i % 2 else image
           for i, image in enumerate(pixels)]  # fmt: skip
ragged = loaded.signatures["serving_uint8_ragged"](
    pixels=tf.concat([image.ravel() for image in several], 0),
    sizes=tf.constant([image.shape[:2] for image in several]),
)
same = ragged["classes"][1::2, 0].numpy() == classes[1::2]
print(f"sizes {several[0].shape[:2]} and {several[1].shape[:2]} in one batch")
print(f"enlarged, the class is the same for {same.sum()} of {len(same)} images")
assert np.array_equal(ragged["logits"][::2], by_bytes["logits"][::2])

# %% [markdown]
# Those that kept their size have the same logits to the last bit. The enlarged ones are
# brought back by the model's resizing, timm's bilinear, which mixes neighbours: of 8 x
# 8 pixels that takes enough away for some of them to be read as another digit.
#
# `loaded.preprocess` gives what the model takes, of files and of pixels, and `features`
# and `attention` go on from there.

# %%
prepared = loaded.preprocess(tf.constant(files[:5]))
features = loaded.signatures["features"](images=prepared)
attention = loaded.signatures["attention"](images=prepared)
print("prepared", prepared.shape, prepared.dtype.name)
print("features", features["features"].shape, "tokens", features["tokens"].shape)
print(
    f"attention of {len(attention)} blocks", attention["blocks.0.attn.attn_drop"].shape
)

# %% [markdown]
# ## A layer of a Keras model
#
# `TFSMLayer` is Keras's own: it needs nothing of `vit_tf` either.

# %%
layer = keras.layers.TFSMLayer(str(OUT), call_endpoint="serving_default")
inputs = keras.Input(prepared.shape[1:])
probabilities = keras.layers.Softmax()(layer(inputs)["logits"])
model = keras.Model(inputs, probabilities)
difference = np.abs(model(prepared) - by_bytes["probabilities"][:5]).max()
print(f"largest difference of a probability: {difference:.1e}")
assert difference < 1e-5

# %% [markdown]
# ## LiteRT
#
# `formats=[...]` wrote two files beside the SavedModel, for LiteRT (TensorFlow Lite):
# one in float32, one whose large weights are in int8. Each was compared with timm when
# it was written. Here LiteRT's own runtime runs them on all images.

# %%
inputs = loaded.preprocess(tf.constant(files)).numpy()


def litert(path: Path) -> np.ndarray:
    with quiet.compiled_code():
        runner = Interpreter(str(path)).get_signature_runner("serving_default")
    return runner(images=inputs)["logits"]


weights = sum(v.numpy().nbytes for v in loaded.variables)
print(f"{'weights in the SavedModel':<26}{weights:>11,} bytes")
for path in sorted(OUT.glob("*.tflite")):
    logits = litert(path)
    error = np.abs(logits - by_bytes["logits"]).max() / np.abs(by_bytes["logits"]).max()
    agree = logits.argmax(1) == classes
    print(
        f"{path.name:<26}{path.stat().st_size:>11,} bytes, logits {error:.1e} relative,"
    )
    print(f"{'':<26}top-1 is the SavedModel's for {agree.sum()} of {len(agree)} images")
    if labels is not None:
        print(f"{'':<26}accuracy {np.mean(logits.argmax(1) == labels):.4f}")
        assert agree.mean() > 0.98
