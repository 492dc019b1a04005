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
# # Your own checkpoint, step by step
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/vit-tf/vit_tf/blob/main/notebooks/conversion.ipynb)
#
# What `python convert.py` does, each step by itself: a fine-tuned `.pth` is read, its
# names are mapped, a model is filled, and every layer is compared with timm's. Then
# layers are broken on purpose, to see how the report finds them. At the end the weights
# go back to timm, bit for bit.

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

import keras
import matplotlib.pyplot as plt
import numpy as np

import vit_tf
from vit_tf import find_config, mapping, models, proof
from vit_tf.checkpoint import read_checkpoint
from vit_tf.export import timm_directory
from vit_tf.mapping import MappingError
from vit_tf.parity import ParityError, compare_layers
from vit_tf.reference import timm, torch

sys.path.insert(0, "../examples/digits")
import digits

OUT = Path("out/conversion")
OUT.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## A checkpoint, as training scripts leave it
#
# Without a network, "your" model is the small DeiT that timm trained on scikit-learn's
# digits; with `VIT_TF_NETWORK=1`, timm's DeiT-Ti with its pretrained weights. Either is
# saved as training on several GPUs saves it: under a key, behind `module.`, beside
# other things, and without a word on what model it is.

# %%
if os.environ.get("VIT_TF_NETWORK") == "1":
    MODEL, ORIGINAL = "deit_tiny_patch16_224", "deit_tiny_patch16_224.fb_in1k"
    PREPROCESSING = {}  # as the model's name tells
    images = np.random.default_rng(0).standard_normal((8, 224, 224, 3), np.float32)
else:
    MODEL, ORIGINAL = "deit_tiny_patch16_224", "local-dir:../examples/digits"
    PREPROCESSING = dict(
        mean=(digits.MEAN,), std=(digits.STD,), interpolation="bilinear", crop_pct=1.0
    )
    images = digits.splits()[1][0]  # all that are held out

original = timm.create_model(ORIGINAL, pretrained=True).eval()
state_dict = {f"module.{name}": t for name, t in original.state_dict().items()}
torch.save({"state_dict": state_dict, "epoch": 149}, OUT / "mine.pth")

# %% [markdown]
# ## Read
#
# As weights only: nothing in the file is ever run. The wrapper is taken off, and whose
# names these are is found out.

# %%
checkpoint = read_checkpoint(OUT / "mine.pth")
print("\n".join(checkpoint.notes))
print(f"{len(checkpoint.tensors)} tensors, among them")
for name in ("cls_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"):
    print(f"    {name:<26}{checkpoint.tensors[name].shape}")
assert checkpoint.dialect == "timm"

# %% [markdown]
# ## Which model it is
#
# Sizes are read off the tensors. No tensor tells the number of heads: it goes with the
# width, and where the width is not the named model's, it has to be said. So has how
# images were prepared for the training, where the model's name does not tell.

# %%
config = find_config.config_of(checkpoint, MODEL)
print(find_config.note_of(config) or f"all as in {MODEL}")
try:
    find_config.check_said(config)
except ValueError as error:
    print(f"\nValueError: {error}")
config.model.num_heads = 3
config.preprocessing.update(PREPROCESSING)

# %% [markdown]
# ## Names and mapping
#
# A Keras layer has the name of timm's module, so a weight's timm name is its path. What
# remains to be said depends on the type of the layer alone: how timm calls the weight,
# and for each of its Keras axes, which of timm's axes it is.

# %%
model = models.build(config)
print(f"{'in the checkpoint':<26}{'shape':<15}{'axes':<14}{'shape in Keras':<16}layer")
layers = {
    id(w): layer for layer, _ in mapping.named_layers(model) for w in layer.weights
}
entries = {entry.name: entry for entry in mapping.entries(model)}
for name in checkpoint.tensors:
    if name.startswith("blocks.") and not name.startswith("blocks.0."):
        continue  # they are like the first
    entry = entries[name]
    axes = entry.layout.axes or "as it is"
    kind = type(layers[id(entry.weight)]).__name__
    shape = tuple(entry.weight.shape)
    print(f"{name:<26}{entry.shape!s:<15}{axes!s:<14}{shape!s:<16}{kind}")

# %% [markdown]
# ## Fill
#
# All weights or none: every tensor must land, and every weight must be filled. The
# inverse gives the checkpoint back, bit for bit.

# %%
mapping.assign(model, checkpoint.tensors)
extracted = mapping.extract(model)
assert extracted.keys() == checkpoint.tensors.keys()
assert all(np.array_equal(extracted[n], checkpoint.tensors[n]) for n in extracted)
print(f"{len(extracted)} tensors, extracted as they were read")

# %% [markdown]
# A file that lacks a tensor, and has one too many, fills nothing:

# %%
damaged = dict(checkpoint.tensors)
damaged["blocks.1.norm2.scale"] = damaged.pop("blocks.1.norm2.weight")
try:
    mapping.assign(model, damaged)
except MappingError as error:
    print(f"MappingError: {error}")

# %% [markdown]
# ## Compare every layer
#
# The same tensors fill timm's own model. Both see the same images, and the output of
# every layer is recorded under the same name. Errors are relative to the layer's
# largest value; rows of equal layers of several blocks are folded into one, the worst
# of them.

# %%
reference = proof.original(config, checkpoint.tensors, "float32").record(images)
correct = compare_layers(reference, vit_tf.record(model, images), 1e-5)
print(correct)
assert correct.passed

# %% [markdown]
# What float32 leaves as a doubt (rounding, or a formula that is slightly another?)
# float64 settles, and gradients say whether training would go the same way.

# %%
double = proof.filled(config, checkpoint.tensors, "float64")
eight = images[:8].astype("float64")
in_float64 = compare_layers(
    proof.original(config, checkpoint.tensors, "float64").record(eight),
    vit_tf.record(double, eight),
    1e-10,
    "layers in float64",
)
gradients = proof.compare_gradients(config, checkpoint.tensors, double, eight)
for report in (in_float64, gradients):
    print(str(report).splitlines()[-1])
    report.check()

# %% [markdown]
# ## A layer with a missing transpose
#
# `attn.proj` is square: its kernel fits as well when it is not transposed, and no check
# of names and shapes can see it. The report does. The first layer that differs is the
# broken one; what follows differs because of it.

# %%
proj = model.blocks[2].attn.proj
kernel = proj.kernel.numpy()
proj.kernel.assign(kernel.T)
broken = compare_layers(reference, vit_tf.record(model, images), 1e-5)
print(broken)
assert broken.first_divergence.name == "blocks.2.attn.proj"

# %% [markdown]
# Accuracy is a poor witness: with the wrong kernel in one of its blocks the model still
# gives most digits the class that the original gives them.


# %%
def agreement(outputs: dict[str, np.ndarray]) -> str:
    same = outputs["logits"].argmax(1) == reference["logits"].argmax(1)
    return (
        f"the likeliest class is the original's for {same.sum()} of {len(same)} images"
    )


outputs = vit_tf.record(model, images)
proj.kernel.assign(kernel)  # as it was
print(agreement(outputs))

# %% [markdown]
# ## A layer with almost the right formula
#
# timm's GELU is exact; many ports take its approximation by tanh. No digit's class
# changes, and a tolerance of 1e-3, which is common, lets it pass.

# %%
act = model.blocks[1].mlp.act
exact = act.activation
act.activation = lambda x: keras.ops.gelu(x, approximate=True)
outputs = vit_tf.record(model, images)
act.activation = exact  # as it was

print(agreement(outputs))
print(str(compare_layers(reference, outputs, 1e-3, "tanh GELU")).splitlines()[-1])
approximated = compare_layers(reference, outputs, 1e-5, "tanh GELU")
try:
    approximated.check()
except ParityError as error:
    print(f"ParityError: {error}")
assert approximated.first_divergence.name == "blocks.1.mlp.act"

# %%
figure, axis = plt.subplots(figsize=(8, 3.2), dpi=70)
for label, report in {
    "blocks.2.attn.proj not transposed": broken,
    "tanh GELU in blocks.1.mlp.act": approximated,
    "as converted": correct,
}.items():
    axis.plot([max(diff.relative, 1e-9) for diff in report.layers], ".-", label=label)
axis.axhline(1e-5, color="black", linestyle=":", label="tolerance")
starts = [i for i, diff in enumerate(correct.layers) if diff.name.endswith(".norm1")]
axis.set_xticks(starts, [f"block {i}" for i in range(len(starts))])
axis.set(yscale="log", ylabel="error, relative")
axis.legend(fontsize=8, loc="upper left")
axis.set_title("Every layer, in the order of computation")
plt.show()

# %% [markdown]
# Up to the broken layer all three curves are one (no error at all is drawn as 1e-9).
# Behind it, the two broken models stay above the tolerance to the end.
#
# ## Write, and go back
#
# `convert` is these steps, and the writing: it stops where a report fails, so the
# bundle that is there has passed. `vit_tf.to_timm` turns it into what timm opens.

# %%
conversion = vit_tf.convert(
    config, OUT / "bundle", checkpoint=OUT / "mine.pth", overwrite=True
)
print("\n".join(str(conversion).splitlines()[-15:]))
print(timm_directory.write(OUT / "bundle", OUT / "back", overwrite=True))

# %%
back = timm.create_model(f"local-dir:{OUT / 'back'}", pretrained=True).state_dict()
assert back.keys() == original.state_dict().keys()
assert all(torch.equal(t, back[name]) for name, t in original.state_dict().items())
print(f"{len(back)} tensors in timm's model, bitwise those of {OUT / 'mine.pth'}")
