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
# # Classification
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/vit-tf/vit_tf/blob/main/notebooks/classification.ipynb)
#
# A model of timm becomes a SavedModel. TensorFlow alone loads it, takes image files and
# names the five likeliest classes, and timm's model says the same of the same files.

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
import io

import matplotlib.pyplot as plt
import numpy as np
import skimage
import tensorflow as tf
from PIL import Image

import vit_tf
from vit_tf.reference import timm, torch

sys.path.insert(0, "../examples/digits")
import digits

# %% [markdown]
# ## The model and the images
#
# Without a network: the small DeiT that timm trained on scikit-learn's handwritten
# digits, and held-out digits. With `VIT_TF_NETWORK=1`: a ViT-Ti with the weights of
# timm's tag, which it fetches from the Hugging Face hub, and photographs of
# scikit-image.

# %%
if os.environ.get("VIT_TF_NETWORK") == "1":
    MODEL, CHECKPOINT = "vit_tiny_patch16_224.augreg_in21k_ft_in1k", ""
    ORIGINAL = MODEL
    names = ("astronaut", "chelsea", "coffee", "rocket", "clock", "page")
    pixels = {name: getattr(skimage.data, name)() for name in names}
else:
    MODEL, CHECKPOINT = "", "../examples/digits"  # its config.json says which model
    ORIGINAL = f"local-dir:{CHECKPOINT}"
    images, labels = digits.splits()[1]
    pixels = {
        f"{i}: a {labels[i]}": np.uint8(
            np.round((images[i, ..., 0] * digits.STD + digits.MEAN) * 255)
        )
        for i in (0, 1, 2, 8, 111, 190)  # the last two are misread
    }

OUT = "out/classification"

# %% [markdown]
# ## Convert
#
# One call reads the weights, builds both models, compares every layer, writes the
# SavedModel, and compares what was written.

# %%
conversion = vit_tf.convert(MODEL, OUT, checkpoint=CHECKPOINT, overwrite=True)
print(conversion)

# %% [markdown]
# ## Load and predict
#
# Nothing of `vit_tf`, timm or torch is used here: the bundle is a SavedModel that takes
# image files as they are.


# %%
def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


files = [png(image) for image in pixels.values()]
loaded = tf.saved_model.load(OUT)
outputs = loaded.signatures["serving_bytes"](images=tf.constant(files))
for i, name in enumerate(pixels):
    names, scores = outputs["labels"][i].numpy(), outputs["scores"][i].numpy()
    top5 = zip(names, scores, strict=True)
    print(f"{name:<12}", *(f"{score:.3f} {label.decode()}" for label, score in top5))

# %% [markdown]
# ## The original beside it
#
# timm's model, timm's transform over Pillow, the same files.

# %%
original = timm.create_model(ORIGINAL, pretrained=True).eval()
config = timm.data.resolve_data_config(model=original)
transform = timm.data.create_transform(**config)
mode = {1: "L", 3: "RGB"}[config["input_size"][0]]
batch = torch.stack(
    [transform(Image.open(io.BytesIO(file)).convert(mode)) for file in files]
)
with torch.inference_mode():
    expected = original(batch).softmax(1).numpy()

seen = loaded.preprocess(tf.constant(files)).numpy().transpose(0, 3, 1, 2)
found = outputs["probabilities"].numpy()
print("pixels that differ:", np.count_nonzero(seen != batch.numpy()), "of", seen.size)
print(f"largest difference of a probability: {np.abs(found - expected).max():.1e}")
assert np.array_equal(found.argmax(1), expected.argmax(1))
assert np.abs(found - expected).max() < 1e-5

# %%
figure, axes = plt.subplots(
    len(files), 2, figsize=(9, 1.35 * len(files)), dpi=70, width_ratios=(1, 3)
)
for i, (name, image) in enumerate(pixels.items()):
    axes[i, 0].imshow(image, cmap="gray")
    axes[i, 0].set(xticks=[], yticks=[])
    axes[i, 0].set_ylabel(name, rotation=0, ha="right", va="center")
    rows, classes = np.arange(5), outputs["classes"][i].numpy()
    axes[i, 1].barh(rows - 0.2, found[i, classes], 0.4, label="SavedModel")
    axes[i, 1].barh(rows + 0.2, expected[i, classes], 0.4, label="timm")
    names = [label.decode()[:40] for label in outputs["labels"][i].numpy()]
    axes[i, 1].set(yticks=rows, yticklabels=names, xlim=(0, 1))
    axes[i, 1].invert_yaxis()
    axes[i, 1].tick_params(labelsize=8)
axes[0, 1].legend(loc="lower right", fontsize=8)
figure.suptitle("Probabilities of the five likeliest classes")
figure.tight_layout()
plt.show()

# %% [markdown]
# The bars are of the same length in every pair: the two models give the same
# probabilities, where they are sure and where they are not.

# %% [markdown]
# ## Accuracy
#
# On the 360 held-out digits, which neither training nor the comparison has seen, with
# the original and the SavedModel side by side. (For ImageNet there is
# `python -m i1k_eval.evaluate --bundle=... --data=... --reference`.)

# %%
if CHECKPOINT:
    top1 = digits.compare_top1(CHECKPOINT, OUT)
    print(top1)
    assert top1.disagreements == 0
    assert np.mean(top1.saved_model == top1.labels) > 0.95
