"""Fine-tuning on real data: against the frozen backbone, and against the same in timm.

    python benchmarks/finetune.py
    python benchmarks/finetune.py --epochs=5

The model is that of `examples/digits`, trained on 1,437 of scikit-learn's digits. What
it is to learn is to read them turned by a quarter: 300 of those that it knows, written
as PNG files, turned; top-1 is that of the held-out 360, turned. The head is drawn anew.
Each has three seeds:

* frozen: `vit_tf.finetune` with --config.train_only=head;
* vit_tf: `vit_tf.finetune`, all of it trains;
* timm: a PyTorch loop over timm's model, transform, loss, schedule and optimizer, with
  the same recipe.

It ends with an error if each seed of vit_tf is not above each of the frozen one, or if
the means of vit_tf and timm are farther apart than the larger of their ranges.
"""

import importlib
import io
import statistics
import sys
import tempfile
from pathlib import Path

import measure
import numpy as np
from absl import app, flags
from tqdm import tqdm

from vit_tf import quiet

CHECKPOINT = Path(__file__).parents[1] / "examples" / "digits"
FROZEN, OURS, TIMM = "frozen backbone", "vit_tf", "timm"
HEADER = ("held-out top-1, %", "seed 0", "seed 1", "seed 2", "mean", "range")
SEEDS = (0, 1, 2)
CLASSES, TRAINING_IMAGES = 10, 300
RECIPE = dict(
    batch_size=32, lr=1e-3, weight_decay=0.05, layer_decay=0.75, warmup_epochs=2,
    warmup_lr=1e-5, min_lr=1e-5, smoothing=0.1, drop_path=0.05, scale=(0.7, 1.0),
    hflip=0.0, color_jitter=0.0,
)  # fmt: skip
_EPOCHS = flags.DEFINE_integer("epochs", 30, "how many", lower_bound=1)


def write_data(folder: Path) -> None:
    """Digits turned by a quarter, as folder/train/turned_N and folder/test/turned_N."""
    from PIL import Image
    from sklearn.model_selection import train_test_split

    sys.path.append(str(CHECKPOINT))
    import digits

    (images, labels), held_out = digits.splits()
    images, _, labels, _ = train_test_split(
        images, labels, train_size=TRAINING_IMAGES, random_state=0, stratify=labels
    )
    for split, part in (("train", (images, labels)), ("test", held_out)):
        for number, (image, label) in enumerate(zip(*part, strict=True)):
            pixels = np.round(255 * (image[..., 0] * digits.STD + digits.MEAN))
            turned = Image.fromarray(np.rot90(pixels).astype(np.uint8))
            place = folder / split / f"turned_{label}"
            place.mkdir(parents=True, exist_ok=True)
            turned.save(place / f"{number:04}.png")


def recipe(seed: int, **fields):
    from vit_tf.configs import finetune

    config = finetune.get_config()
    config.update(RECIPE | {"epochs": _EPOCHS.value, "seed": seed} | fields)
    return config


def ours(bundle: Path, data: Path, out: Path, recipe) -> float:
    """Top-1 of the bundle that is written, in percent."""
    from vit_tf.finetune.run import finetune

    return 100 * finetune(bundle, str(data), out, recipe).history[-1]["val_top1"]


def timms(data: Path, recipe) -> float:
    """Top-1 of timm's model, trained by timm's parts, in percent."""
    from vit_tf.finetune.labelled_images import open_data
    from vit_tf.preprocessing import DataConfig
    from vit_tf.reference import preprocess, timm, torch

    torch.manual_seed(recipe.seed)
    options = dict(drop_rate=recipe.drop, drop_path_rate=recipe.drop_path)
    model = timm.create_model(f"local-dir:{CHECKPOINT}", pretrained=True, **options)
    model.reset_classifier(CLASSES)
    told = timm.data.resolve_data_config({}, model=model)
    config = DataConfig.from_json(told)
    images = open_data(str(data))
    _train(model, images.train, _train_transform(told, recipe), recipe)
    files = [Path(name).read_bytes() for name in images.evaluation.names]
    pixels = preprocess(config, files).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        logits = model.eval()(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()
    return 100 * float(np.mean(logits.argmax(1) == images.evaluation.labels))


def _train_transform(told, recipe):
    from vit_tf.reference import timm

    return timm.data.create_transform(
        told["input_size"],
        is_training=True,
        mean=told["mean"],
        std=told["std"],
        interpolation=told["interpolation"],
        scale=tuple(recipe.scale),
        ratio=tuple(recipe.ratio),
        hflip=recipe.hflip,
        color_jitter=None,
    )


def _train(model, images, transform, recipe) -> None:
    """As timm's train.py does, an epoch after the other."""
    from PIL import Image

    from vit_tf.reference import torch  # before timm's parts are imported

    optimizer = importlib.import_module("timm.optim").create_optimizer_v2(
        model,
        recipe.opt,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        layer_decay=recipe.layer_decay,
    )
    schedule, _ = importlib.import_module("timm.scheduler").create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=recipe.epochs,
        warmup_epochs=recipe.warmup_epochs,
        warmup_lr=recipe.warmup_lr,
        min_lr=recipe.min_lr,
    )
    losses = importlib.import_module("timm.loss")
    loss = losses.LabelSmoothingCrossEntropy(recipe.smoothing)
    files = [Path(name).read_bytes() for name in images.names]
    pictures = [Image.open(io.BytesIO(file)).convert("L") for file in files]
    labels = torch.from_numpy(images.labels)
    model.train()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(pictures))
        for batch in order.split(recipe.batch_size)[: len(order) // recipe.batch_size]:
            pixels = torch.stack([transform(pictures[index]) for index in batch])
            optimizer.zero_grad()
            loss(model(pixels), labels[batch]).backward()
            optimizer.step()
        schedule.step(epoch + 1)


def main(argv: list[str]) -> None:
    quiet.drop_notes()
    from vit_tf.configs import checkpoint

    from vit_tf.pipeline import convert

    found: dict[str, list[float]] = {FROZEN: [], OURS: [], TIMM: []}
    with tempfile.TemporaryDirectory() as name, measure.conditions():
        folder, data = Path(name), Path(name) / "data"
        write_data(data)
        bundle = folder / "digits"
        convert(
            checkpoint.get_config(f"uri={CHECKPOINT}"), bundle, checkpoint=CHECKPOINT
        )
        with tqdm(total=3 * len(SEEDS), unit="model") as progress:
            for seed in SEEDS:
                frozen = recipe(seed, train_only="head")
                out = folder / f"frozen_{seed}"
                found[FROZEN].append(ours(bundle, data, out, frozen))
                progress.update()
                out = folder / f"tuned_{seed}"
                found[OURS].append(ours(bundle, data, out, recipe(seed)))
                progress.update()
                found[TIMM].append(timms(data, recipe(seed)))
                progress.update()
    print(f"{TRAINING_IMAGES} images to train on, {_EPOCHS.value} epochs")
    ranges = {name: max(values) - min(values) for name, values in found.items()}
    means = {name: statistics.mean(values) for name, values in found.items()}
    rows = [(n, *values, means[n], ranges[n]) for n, values in found.items()]
    print(measure.table(HEADER, rows))
    if min(found[OURS]) <= max(found[FROZEN]):
        sys.exit("finetune: error: fine-tuning does not beat the frozen backbone")
    if abs(means[OURS] - means[TIMM]) > max(ranges[OURS], ranges[TIMM]):
        sys.exit("finetune: error: vit_tf and timm are farther apart than their seeds")


if __name__ == "__main__":
    quiet.import_tensorflow()
    app.run(main)
