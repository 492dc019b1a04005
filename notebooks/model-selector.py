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
# # Model selector: AugReg
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/vit-tf/vit_tf/blob/main/notebooks/model-selector.ipynb)
#
# "How to train your ViT?" released 50,000 checkpoints, and an index that says of each
# how it was trained and how accurate it is. Here one is chosen by what it may cost and
# what it is for, and converted.

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
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import vit_tf
from vit_tf import checkpoints
from vit_tf.augreg import checkpoint, index, selection
from vit_tf.augreg.table import table

NETWORK = os.environ.get("VIT_TF_NETWORK") == "1"
OUT = Path("out/model-selector")
OUT.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## The index
#
# With `VIT_TF_NETWORK=1`, the release's own `index.csv`. Without a network, an excerpt:
# the 25 fine-tuned checkpoints that timm uses, with the top-1 that timm measured on
# ImageNet ([where its figures are from](../examples/augreg/README.md)).

# %%
INDEX = "../examples/augreg/index.csv"
if NETWORK:
    INDEX = checkpoints.fetch(f"{index.FOLDER}/index.csv")

rows = index.read_index(INDEX)
print(f"{len(rows):,} rows, {len({row.filename for row in rows}):,} pre-trained models")
for column in ("name", "ds", "aug", "adapt_ds", "adapt_resolution"):
    values = sorted({getattr(row, column) for row in rows})
    print(f"{column:<18}", *values)

# %% [markdown]
# ## Choose
#
# By values of columns, and by bounds. The best of what fits comes first. (`-` is what
# the index does not say.)

# %%
fitting = selection.select(
    rows, {"adapt_ds": ["imagenet2012"], "ds": ["i21k"]}, {"max_params": 30e6}
)
ranked = selection.ranked(fitting, "adapt_final_test")
print(table(ranked[:8], "finetuned"))
best = selection.best(ranked, "adapt_final_test")
assert best.params <= 30e6
assert best.adapt_final_test == max(row.adapt_final_test for row in fitting)

# %% [markdown]
# The same from a shell: `python -m vit_tf.augreg --max_params=30e6 --ds=i21k
# --adapt_ds=imagenet2012 --best`, and with `--convert --out=DIR` it is converted.
#
# What is in no row, and what no row can fulfil, is said with what there is:

# %%
for choices, bounds in (
    ({"name": ["B/61"], "adapt_resolution": ["256"]}, {}),
    ({"name": ["Ti/16"], "adapt_ds": ["imagenet2012"]}, {"min_accuracy": 0.85}),
):
    try:
        selection.select(rows, choices, bounds)
    except index.AugRegError as error:
        print(f"AugRegError: {error}")

# %% [markdown]
# ## What accuracy costs, and what the pre-training gives
#
# The best fine-tuning of each architecture and image size on ImageNet. Left: by number
# of parameters. Right: pre-trained on the 1.3 million images of ImageNet itself, and on
# the 14 million of ImageNet-21k, where the index has both.

# %%
of_imagenet = selection.ranked(
    selection.select(
        rows, {"adapt_ds": ["imagenet2012"], "ds": ["i1k", "i21k"]}, {"min_accuracy": 0}
    ),
    "adapt_final_test",
    ascending=True,
)
top = {(row.name, row.adapt_resolution, row.ds): row for row in of_imagenet}  # the last
pairs = [
    (top[name, pixels, "i1k"], row)
    for (name, pixels, ds), row in top.items()
    if ds == "i21k" and (name, pixels, "i1k") in top
]

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), dpi=70)
for ds, color in (("i1k", "tab:orange"), ("i21k", "tab:blue")):
    for pixels, marker in ((224, "o"), (384, "s")):
        some = [row for key, row in top.items() if key[1:] == (pixels, ds)]
        left.scatter(
            [row.params / 1e6 for row in some],
            [row.adapt_final_test for row in some],
            color=color, marker=marker, s=25, label=f"{ds}, {pixels} pixels",
        )  # fmt: skip
for (name, pixels, ds), row in top.items():
    if (pixels, ds) == (384, "i21k"):
        at = (row.params / 1e6, row.adapt_final_test)
        left.annotate(name, at, xytext=(5, -9), textcoords="offset points", fontsize=8)
left.axvline(30, color="black", linestyle=":", linewidth=1)
left.set(xscale="log", xlabel="parameters, millions", ylabel="top-1 on ImageNet")
left.set(xlim=(4, 900), ylim=(left.get_ylim()[0] - 0.03, None))
left.legend(fontsize=8, loc="lower right")
for small, large in pairs:
    at = (small.adapt_final_test, large.adapt_final_test)
    right.plot(*at, "o" if large.adapt_resolution == 224 else "s", color="tab:blue")
    text = f"{large.name}, {large.adapt_resolution:g}"
    right.annotate(text, at, xytext=(6, -3), textcoords="offset points", fontsize=8)
low, high = right.get_xlim()
right.plot((low, high), (low, high), "k:", linewidth=1, label="no difference")
right.set(xlim=(low, high + 0.02), xlabel="pre-trained on i1k", ylabel="on i21k")
right.legend(fontsize=8)
figure.tight_layout()
plt.show()
gains = [large.adapt_final_test - small.adapt_final_test for small, large in pairs]
print(f"i21k is better for {sum(gain > 0 for gain in gains)} of {len(gains)} pairs")
print(f"by {min(gains):.3f} to {max(gains):.3f}")

# %% [markdown]
# More parameters help, and so does a larger image: of the same model, the square is
# above the circle. The dotted line on the left is the bound from above; on the right,
# all pairs are above the line of no difference.
#
# ## Convert the chosen one
#
# The row tells the file and timm's name of the model; the image size is read from the
# file.

# %%
print(checkpoint.architecture(best, "finetuned"))
print(checkpoint.uri(best, "finetuned"))

# %% [markdown]
# Without a network there is no such file. So one is made that has the names and the
# layout of the release's files, **with random numbers in it**: of the smallest
# architecture, Ti/16, with four of its twelve blocks. It has no accuracy, but all that
# a conversion does is done: JAX's names are translated, q, k and v are joined, layers
# are compared with timm's, and how far timm's function is from JAX's is measured.

# %%
if NETWORK:
    row = best
    conversion = checkpoint.convert(
        row, OUT / "bundle", stage="finetuned", overwrite=True
    )
else:
    sys.path.insert(0, "../tests")
    import flax_vit

    row = selection.select(rows, {"name": ["Ti/16"], "adapt_resolution": ["224"]}, {})[
        0
    ]
    kind = flax_vit.Kind(
        image=224, patch=16, width=192, depth=4, heads=3, hidden=768, classes=1000
    )
    np.savez(OUT / "random.npz", **flax_vit.random_parameters(kind))
    conversion = vit_tf.convert(
        checkpoint.architecture(row, "finetuned"),
        OUT / "bundle",
        checkpoint=OUT / "random.npz",
        overwrite=True,
    )
text = str(conversion)
print(text[text.index("source    ") :])
assert all(report.passed for report in conversion.reports)

# %% [markdown]
# The function that is converted is timm's, whose GELU is exact where JAX's is by tanh;
# with `--config.parity.reference=jax` it is JAX's. What comes out is a SavedModel as
# any other; `serving` shows what can be done with it.

# %%
loaded = tf.saved_model.load(str(OUT / "bundle"))
outputs = loaded.signatures["serving_bytes"].structured_outputs
for key, spec in sorted(outputs.items()):
    print(f"{key:<14} {spec.shape}")
