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
# # What a model looks at
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/vit-tf/vit_tf/blob/main/notebooks/attention.ipynb)
#
# Every picture that `vit_tf.explain` makes: attention maps, rollout, gradient-weighted
# attention, attention distances, position embeddings and filters of a DeiT; class
# attention and class saliency of a CaiT; the windows of a Swin, put back onto the
# photograph.

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

import vit_tf
from vit_tf import checkpoints, explain, mapping, training
from vit_tf.explain import plots

sys.path += ["../examples/digits", "../examples/faces"]
import digits
import scenes

NETWORK = os.environ.get("VIT_TF_NETWORK") == "1"
plt.switch_backend(plt.get_backend())  # from here on a notebook shows figures
plt.rcParams["figure.dpi"] = 70

# %% [markdown]
# ## Three models
#
# With `VIT_TF_NETWORK=1`: timm's pretrained DeiT-Ti, CaiT-XXS and Swin-T, which are
# converted here, and a photograph of scikit-image.
#
# Without a network the models are small, and know little:
#
# * a **DeiT** that timm trained on 1,437 of scikit-learn's handwritten digits
#   (`examples/digits`): 8 x 8 pixels, patches of 2 x 2;
# * a **CaiT**, trained here on the same digits for some seconds, patches as large;
# * a **Swin**, trained here for some seconds to tell scenes with a face from scenes
#   without (`examples/faces`: photographs of scikit-image, 40 x 40 pixels, patches of
#   5 x 5).
#
# What is said below under "Seen" is said of these.
# [docs/explain.md](../docs/explain.md) shows the same pictures of models that were
# trained for longer.


# %%
def trained(name, data, *, steps, lr, **arguments):
    """A model of vit_tf behind a short training: no augmentation, batches of 32."""
    keras.utils.set_random_seed(0)
    model = vit_tf.create_model(name, in_chans=1, **arguments)
    schedule = training.CosineSchedule(
        lr, 10, steps // 10, warmup_epochs=1, step_on_epochs=False
    )
    model.compile(
        training.create_optimizer(model, lr=schedule, weight_decay=0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
        steps_per_execution=10,
    )
    batches = tf.data.Dataset.from_tensor_slices(data).shuffle(len(data[0]), seed=0)
    model.fit(batches.repeat().batch(32).take(steps), shuffle=False, verbose=0)
    return model


def top1(model, data):
    images, labels = data
    return np.mean(np.argmax(model(images), axis=1) == labels)


def pretrained(name):
    """timm's weights, proven to be the same model."""
    vit_tf.convert(name, f"out/attention/{name}", overwrite=True)
    return vit_tf.load(f"out/attention/{name}")


def seen(images, model):
    """What a model sees, as it is before its normalisation."""
    data = model.data_config
    return np.clip(images[0] * data.std + data.mean, 0, 1)


# %%
if NETWORK:
    vit = pretrained("deit_tiny_patch16_224.fb_in1k")
    cait = pretrained("cait_xxs24_224.fb_dist_in1k")
    swin = pretrained("swin_tiny_patch4_window7_224.ms_in1k")
    vit_images, cait_images, swin_images = (
        np.array(vit_tf.preprocess_input([skimage.data.astronaut()], model))
        for model in (vit, cait, swin)
    )
    vit_pixels, cait_pixels, swin_pixels = map(
        seen, (vit_images, cait_images, swin_images), (vit, cait, swin)
    )
    token = (20, 26)
else:
    folder = Path("../examples/digits")
    config = json.loads((folder / "config.json").read_text())
    vit = vit_tf.create_model(config["architecture"], **config["model_args"])
    mapping.assign(vit, checkpoints.read(folder))
    known, held_out = digits.splits()
    cait = trained(
        "cait_xxs24_224",
        known,
        steps=500,
        lr=5e-3,
        img_size=8,
        patch_size=2,
        num_classes=10,
        embed_dim=32,
        depth=1,
        num_heads=4,
        init_values=1.0,
    )
    swin = trained(
        "swin_tiny_patch4_window7_224",
        scenes.scenes(4096, seed=0),
        steps=200,
        lr=4e-3,
        img_size=scenes.SIZE,
        patch_size=scenes.PATCH,
        num_classes=2,
        embed_dim=24,
        depths=(2,),
        num_heads=(3,),
        window_size=4,
        drop_path_rate=0.0,
        dynamic_img_size=True,
    )
    of_scenes = scenes.scenes(500, seed=1, held_out=True)
    right = top1(vit, held_out), top1(cait, held_out), top1(swin, of_scenes)
    print(f"DeiT: {right[0]:.3f} of 360 held-out digits")
    print(f"CaiT: {right[1]:.3f} of 360 held-out digits")
    print(f"Swin: {right[2]:.3f} of 500 scenes with faces not trained on")
    assert right[0] > 0.95
    assert min(right[1:]) > 0.65
    vit_images = cait_images = held_out[0][212:213]
    vit_pixels = cait_pixels = held_out[0][212] * digits.STD + digits.MEAN
    swin_pixels = scenes.astronaut()
    swin_images = scenes.normalised(swin_pixels)[None]
    token = (6, 11)


# %%
def probabilities(model, images):
    """The two likeliest classes, and how likely the model has them."""
    found = tf.nn.softmax(model(images), axis=-1)[0].numpy()
    return {int(label): float(found[label]) for label in np.argsort(-found)[:2]}


shown = dict(DeiT=(vit, vit_images), CaiT=(cait, cait_images), Swin=(swin, swin_images))
for name, (model, images) in shown.items():
    found = probabilities(model, images).items()
    print(f"{name}:", ", ".join(f"class {label} {p:.2f}" for label, p in found))

# %% [markdown]
# Seen: a five that is not easy. The DeiT has it for a five, and nearly as much for a
# three; the CaiT errs, and has it for a nine. The Swin sees a face (class 1) in the
# photograph.

# %% [markdown]
# ## Attention maps
#
# With which probabilities the class token attends to the patches, in each head of each
# block (DINO, https://arxiv.org/abs/2104.14294, figures 1 and 3). `block` is any block,
# `query` may also be a patch, `(row, column)`. Bright is where a map is largest, each
# on its own scale.

# %%
maps = [explain.attention_maps(vit, vit_images, block)[0] for block in range(vit.depth)]
assert all(heads.sum(axis=(1, 2)).max() < 1 for heads in maps)
plots.plot_attention_maps(
    vit_pixels,
    np.stack(maps),
    row_titles=[f"block {block}" for block in range(vit.depth)],
    column_titles=[f"head {head}" for head in range(vit.num_heads)],
)

# %% [markdown]
# Seen: most heads have one or two patches. In blocks 1 and 2 these are the right end of
# the upper bar and the turn of the stroke below it, which gets 0.91 in head 1 of block
# 2, or the lower end of the stroke. Two heads look at what is empty: head 0 of block 2
# at both sides, head 2 of block 3 at the upper right corner.

# %%
patch = explain.attention_maps(vit, vit_images, block=0, query=(0, 2))[0]
plots.plot_saliency(
    vit_pixels, patch, titles=[f"patch (0, 2), head {i}" for i in range(len(patch))]
)

# %% [markdown]
# Seen: in block 0 the patch at the right end of the upper bar attends to more than the
# class token does. Head 2 has the patch's own row, the empty corner on the left most of
# all; head 0 the middle; head 1 the patch itself and the lower right corner.

# %% [markdown]
# ## Attention rollout
#
# Attention followed through all blocks (Abnar & Zuidema,
# https://arxiv.org/abs/2005.00928): the heads of a block are fused, half of the
# identity is added for the residual connection, and the matrices are multiplied.

# %%
rollouts = {
    "mean of the heads": dict(),
    "max, 0.9 discarded": dict(head_fusion="max", discard_ratio=0.9),
    "min": dict(head_fusion="min"),
}
plots.plot_saliency(
    vit_pixels,
    np.concatenate(
        [explain.attention_rollout(vit, vit_images, **how) for how in rollouts.values()]
    ),
    titles=list(rollouts),
)

# %% [markdown]
# Seen: after four blocks the mean is nearly even: on its own scale the right end of the
# bar, the turn and the middle are bright, but each is 0.07 where others are 0.05. With
# the largest of the heads and nine tenths discarded, the turn, the middle, and an empty
# corner have 0.13 each. What all heads agree on is the empty patch left of the stroke.

# %% [markdown]
# ## Gradient-weighted attention
#
# Which patches speak for a class (Chefer et al., https://arxiv.org/abs/2103.15679,
# equations 5 and 6): attention times its gradient, what is positive of it, the mean
# over heads, followed through the blocks. Here for the two likeliest classes.

# %%
relevance = {
    f"for class {label}": explain.gradient_attention(vit, vit_images, label)[0]
    for label in probabilities(vit, vit_images)
}
plots.plot_saliency(
    vit_pixels, np.stack(list(relevance.values())), titles=list(relevance)
)

# %% [markdown]
# Seen: this is the picture that tells the classes apart. For a five speaks the right
# end of the upper bar, and the patches left of it and below it less. For a three speak
# the turn of the stroke and the patch right of it, then the two below. Of the digits
# that it was trained on, threes have more ink at the turn than fives (0.65 and 0.25 on
# average). Attention itself (above) has both, without saying which is which.

# %% [markdown]
# ## Class attention and class saliency
#
# A CaiT's last blocks have attention of the class token alone. Its maps are a row for
# each of these blocks, a column for each head (https://arxiv.org/abs/2103.17239, figure
# 6); the saliency is the mean over the heads of the first one (figure 7).

# %%
maps = explain.class_attention_maps(cait, cait_images)[0]
plots.plot_attention_maps(
    cait_pixels,
    maps,
    row_titles=[f"class block {block}" for block in range(len(maps))],
    column_titles=[f"head {head}" for head in range(maps.shape[1])],
)

# %%
saliency = explain.class_saliency(cait, cait_images)
assert np.allclose(saliency[0], maps[0].mean(axis=0))
relevance = {
    f"gradient, class {label}": explain.gradient_attention(cait, cait_images, label)
    for label in probabilities(cait, cait_images)
}
plots.plot_saliency(
    cait_pixels,
    np.concatenate([saliency, *relevance.values()]),
    titles=["class saliency", *relevance],
)

# %% [markdown]
# Seen: most heads of both blocks have the empty patches left of the stroke beside a
# patch or two of the stroke itself; head 2 of the second block has the turn. The
# saliency is at the left and in the middle, and does not say for which class. The
# gradient does: for a nine, as which this CaiT errs, speak the bottom of the stroke,
# its middle and the upper left corner; for a five, which it is, the gap on the left
# between the two parts of the stroke and the one on the right.

# %% [markdown]
# ## Windows
#
# A Swin attends within windows, every second block with windows that are shifted
# (https://arxiv.org/abs/2103.14030). `explain.window_attention_maps` puts each token's
# value back to where the token is from. Above, what each patch receives of its whole
# window (one where attention is even); below, the attention of one patch, which is zero
# outside its window.

# %%
rows = {
    "windows": dict(block=0),
    "shifted": dict(block=1),
    "one patch": dict(block=0, query=token),
    "shifted, one": dict(block=1, query=token),
}
maps = np.concatenate(
    [
        explain.window_attention_maps(swin, swin_images, 0, **how)
        for how in rows.values()
    ]
)
of_window = swin.window_size**2
assert all(0 < np.count_nonzero(heads) <= of_window for heads in maps[2:, 0])
plots.plot_attention_maps(
    swin_pixels,
    maps,
    row_titles=list(rows),
    column_titles=[f"head {head}" for head in range(maps.shape[1])],
)

# %% [markdown]
# Seen: what a patch receives is mostly even, with single patches that get much more: in
# head 2 at edges, of the flag, the hair and the rocket. Head 0 of the shifted block has
# what is bright, the wall and the face; less goes to dark places, such as the flag and
# the collar. For the patch at (6, 11), on the cheek, the window without a shift is rows
# 4 to 7 and columns 8 to 11, which is the face; with the shift by two patches it is
# rows 6 to 9 and columns 10 to 13. All the rest is zero.

# %% [markdown]
# ## Mean attention distance
#
# How far each head looks, in pixels, with attention as the weights (ViT,
# https://arxiv.org/abs/2010.11929, figure 11), here over several images.

# %%
several = vit_images if NETWORK else held_out[0][:64]
distances = explain.mean_attention_distance(vit, several)
assert distances.shape == (len(several), vit.depth, vit.num_heads)
plots.plot_attention_distance(distances)

# %% [markdown]
# Seen: all heads are between 3.5 and 4.5 pixels; attention that is even over 4 x 4
# patches of 2 x 2 pixels would have 4.0. No head looks near by only, as some of the
# first blocks do in the paper's ViT-L.

# %% [markdown]
# ## Position embeddings
#
# The cosine similarity of each patch's position embedding with all others (ViT, figure
# 7, centre): an image for each patch, where the patch is. It needs no image.

# %%
similarity = explain.pos_embed_similarity(vit)
assert np.allclose(np.einsum("ijij->ij", similarity), 1, atol=1e-5)
plots.plot_pos_embed_similarity(similarity)

# %% [markdown]
# Seen: each patch is like its neighbours in its own row (0.62 on average), hardly like
# those above and below it (0.15), and unlike the rows two away (-0.41). So this model
# knows rows better than columns.

# %% [markdown]
# ## Filters
#
# The filters of the patch projection, as probing-vits plots them, and their principal
# components (ViT, figure 7, left). A filter of this DeiT is 2 x 2 pixels, so there are
# four components.

# %%
plots.plot_patch_filters(explain.patch_filters(vit), columns=16)

# %%
components = min(28, np.prod(explain.patch_filters(vit).shape[1:]))
plots.plot_patch_filters(explain.patch_filters(vit, components), columns=14)

# %% [markdown]
# Seen: among the 48 filters are level and upright edges, corners and diagonals. The
# components are a basis of 2 x 2 pixels: lower row against upper row, one diagonal
# against the other, the right column, the left column.
