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
# # Fine-tuning: from a bundle to a bundle, and back to timm
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/vit-tf/vit_tf/blob/main/notebooks/finetune.ipynb)
#
# A model that knows one thing learns another. With a frozen backbone only a new head
# trains; with layer decay all layers train, the lower ones less. Both run here with
# `fit` and the parts of `vit_tf.training`. Then what is behind the command
# `python -m vit_tf.finetune` goes from a bundle to a proven bundle, and the weights go
# back to timm, bit for bit.

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
import json
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import skimage
import tensorflow as tf
from vit_tf.configs import finetune as finetune_recipe

import vit_tf
from vit_tf import mapping, training
from vit_tf.export import timm_directory
from vit_tf.finetune.labelled_images import open_data
from vit_tf.finetune.run import finetune
from vit_tf.reference import timm

NETWORK = os.environ.get("VIT_TF_NETWORK") == "1"
OUT = Path("out/finetune")
plt.rcParams["figure.dpi"] = 70

# %% [markdown]
# ## A bundle, and other data
#
# With `VIT_TF_NETWORK=1`: timm's pretrained DeiT-Ti, and photographs of bean leaves
# (`tfds:beans`, three classes).
#
# Without a network: the small DeiT that timm trained on scikit-learn's handwritten
# digits, and scikit-image's `lfw_subset`, 100 faces and 100 cut-outs of photographs
# without one, 25 x 25 pixels. Every second image is trained on, the others are held
# out. The model's images are 8 x 8 pixels, so that is all it sees of a face.


# %%
def write_faces(folder):
    """lfw_subset as folder/train/CLASS/NUMBER.png, and folder/test."""
    for number, image in enumerate(skimage.data.lfw_subset()):
        name = "face" if number < 100 else "none"
        place = folder / ("train", "test")[number % 2] / name
        place.mkdir(parents=True, exist_ok=True)
        pixels = skimage.util.img_as_ubyte(image)
        skimage.io.imsave(place / f"{number:03}.png", pixels, check_contrast=False)


if NETWORK:
    import tensorflow_datasets as tfds

    tfds.builder("beans").download_and_prepare()
    MODEL, CHECKPOINT, DATA = "deit_tiny_patch16_224.fb_in1k", "", "tfds:beans"
    EPOCHS, BATCH, LR, HEAD_LR = 3, 32, 5e-4, 1e-2
else:
    MODEL, CHECKPOINT, DATA = "", "../examples/digits", str(OUT / "faces")
    EPOCHS, BATCH, LR, HEAD_LR = 12, 25, 1e-3, 1e-2
    write_faces(Path(DATA))

vit_tf.convert(MODEL, OUT / "source", checkpoint=CHECKPOINT, overwrite=True)
config = vit_tf.resolve_data_config(OUT / "source")
images = open_data(DATA)
print(f"{len(images.train)} images to train on, {len(images.evaluation)} held out")
print("classes:", ", ".join(images.class_names))

# %%
sample = np.linspace(0, len(images.train) - 1, 8).astype(int)
read = images.train.reader()
figure, axes = plt.subplots(2, len(sample), figsize=(8, 2.4), layout="constrained")
for (above, below), index in zip(axes.T, sample, strict=True):
    file = read(index)
    above.imshow(tf.io.decode_image(file), cmap="gray")
    above.set_title(images.class_names[images.train.labels[index]], fontsize="small")
    model_sees = vit_tf.preprocess_input([file.numpy()], config)[0]
    below.imshow(np.clip(model_sees * config.std + config.mean, 0, 1), cmap="gray")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Three ways to train
#
# *Frozen*: `training.train_only` leaves the new head alone to train. *All layers*: all
# of it trains, in timm's groups of parameters, each layer with 0.75 times the learning
# rate of the layer above it. *From scratch*: the same model with no weight of the
# bundle, all layers alike, to see what they bring at all. (Images are seen here as they
# are; the command below takes random boxes of them, by timm's training transform,
# `training.TrainTransform`.)

# %%
told = json.loads((OUT / "source/assets.extra/config.json").read_text())
classes = len(images.class_names)
steps = len(images.train) // BATCH


def drawn_at_random():
    """The bundle's architecture, for the data's classes."""
    keras.utils.set_random_seed(0)
    arguments = {**told["model"], "num_classes": classes, "drop_path_rate": 0.1}
    return vit_tf.create_model(told["architecture"], **arguments)


def with_new_head():
    """The bundle's model, with a head for the data's classes, drawn at random."""
    model = drawn_at_random()
    drawn, known = mapping.extract(model), mapping.extract(vit_tf.load(OUT / "source"))
    head = {name: drawn[name] for name in training.head(model)}
    mapping.assign(model, {**known, **head})
    return model


def prepared(part):
    """(images as the model takes them, one-hot labels)."""
    read = part.reader()
    files = [read(index).numpy() for index in range(len(part))]
    return vit_tf.preprocess_input(files, config), np.eye(classes)[part.labels]


train, held_out = prepared(images.train), prepared(images.evaluation)


def fit(model, lr, layer_decay=None):
    """Trains what is not frozen; top-1 of the held-out images behind each epoch."""
    schedule = training.CosineSchedule(lr, EPOCHS, steps, warmup_epochs=1)
    model.compile(
        training.create_optimizer(
            model, "adamw", lr=schedule, weight_decay=0.05, layer_decay=layer_decay
        ),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=[keras.metrics.CategoricalAccuracy("top1")],
        jit_compile=False,
    )
    batches = tf.data.Dataset.from_tensor_slices(train)
    batches = batches.shuffle(len(images.train), seed=0).batch(BATCH, True)
    told = model.fit(
        batches,
        validation_data=tf.data.Dataset.from_tensor_slices(held_out).batch(100),
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
    )
    return told.history["val_top1"]


frozen = with_new_head()
training.train_only(frozen, training.head(frozen))
tuned, scratch = with_new_head(), drawn_at_random()
top1 = {
    "frozen": fit(frozen, HEAD_LR),
    "all layers": fit(tuned, LR, layer_decay=0.75),
    "from scratch": fit(scratch, LR),
}
for (name, values), model in zip(top1.items(), (frozen, tuned, scratch), strict=True):
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    print(f"{name:<12}  {trained:>9,} parameters train  top-1 {values[-1]:.3f}")
assert top1["all layers"][-1] > max(top1["frozen"][-1], top1["from scratch"][-1])

# %%
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
for name, values in top1.items():
    axis.plot(range(1, EPOCHS + 1), values, label=name)
axis.set(xlabel="epoch", ylabel="top-1 of the held-out images")
axis.legend()
plt.show()

# %% [markdown]
# Seen, without a network: a digits model that may only get a new head tells 80 of the
# 100 held-out images right, all layers tell 91. From scratch they tell 85: so what was
# learnt of digits helps a little with faces, as a place to start from, and frozen it is
# worse than nothing of it. These are single runs over 100 images, where a standard
# error is three to four images; of "none" many are cut-outs with a black border, which
# are easy.
#
# ## The command
#
# What was done by hand, and more, is one command:
#
# ```sh
# python -m vit_tf.finetune --bundle=out/finetune/source --data=out/finetune/faces \
#     --out=out/finetune/tuned --config.epochs=6 --config.batch_size=25 \
#     --config.lr=1e-3 --config.warmup_epochs=1 --config.scale='(0.7, 1.0)' \
#     --config.color_jitter=0
# ```
#
# It reads the bundle, trains all layers with layer decay by a recipe
# (`configs/finetune.py`, by the names of timm's train.py; each field is a flag), and
# writes a bundle that has the old one's preprocessing, the data's class names, and the
# proof of every other bundle. Below is the function behind it, in this process, which
# has TensorFlow and torch loaded.

# %%
recipe = finetune_recipe.get_config()
recipe.update(
    epochs=EPOCHS // 2,
    batch_size=BATCH,
    lr=LR,
    warmup_epochs=1,
    scale=(0.7, 1.0),
    color_jitter=0.0,
)
done = finetune(OUT / "source", DATA, OUT / "tuned", recipe, overwrite=True)
for line in str(done).splitlines():
    if line.startswith(("parity", "pixels", "trained", "held out", "logs")):
        print(line)

# %% [markdown]
# While it ran, it wrote TensorBoard's logs (in a notebook: `%load_ext tensorboard`,
# `%tensorboard --logdir out/finetune/tuned.training/logs`), and a line for each epoch
# with the loss of each batch. Killed anywhere, the same command with `--resume` goes on
# to the same losses.

# %%
print("an epoch:", ", ".join(done.history[-1]))
print("logs:", ", ".join(sorted(p.name for p in (done.state / "logs").iterdir())))
assert done.history[-1]["val_top1"] > top1["frozen"][-1]

# %% [markdown]
# The new bundle takes image files and gives class names, with TensorFlow alone.

# %%
loaded = tf.saved_model.load(str(OUT / "tuned"))
sample = np.linspace(0, len(images.evaluation) - 1, 6).astype(int)
files = [images.evaluation.reader()(index) for index in sample]
outputs = loaded.signatures["serving_bytes"](images=tf.stack(files))
for i, index in enumerate(sample):
    truth = images.class_names[images.evaluation.labels[index]]
    label, score = outputs["labels"][i, 0].numpy(), outputs["scores"][i, 0].numpy()
    print(f"{truth:<6} taken for {label.decode():<6} {score:.2f}")

# %% [markdown]
# ## Back to timm
#
# `python -m vit_tf.to_timm --bundle=out/finetune/tuned --out=out/finetune/back` writes
# what timm opens; again its function is called here. The weights that timm then has are
# those of the bundle, bit for bit.

# %%
print(timm_directory.write(OUT / "tuned", OUT / "back", overwrite=True))

# %%
back = timm.create_model(f"local-dir:{OUT / 'back'}", pretrained=True).state_dict()
ours = mapping.extract(vit_tf.load(OUT / "tuned"))
assert set(back) == set(ours)
assert all(np.array_equal(back[name].numpy(), ours[name]) for name in ours)
print(f"{len(ours)} tensors in timm, bitwise those of the bundle")
