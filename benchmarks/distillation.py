"""Distillation on real data: what a student gains of a teacher, and of its own token.

    python benchmarks/distillation.py
    python benchmarks/distillation.py --on=validation

scikit-learn's digits, few of them: 200 images to train on, of the 1,437 that
`examples/digits` trains on; the other 1,237 are for validation, and the held-out 360
are what is reported. The teacher is a small convolutional network, trained here on the
same 200 images. The students are small DeiTs, in three ways that differ in nothing
else:

* no teacher: a class token, and labels;
* no token: the one head learns from labels and teacher ("usual distillation" in the
  DeiT paper);
* token: the class head learns from labels, the distillation head from the teacher.

Images are moved by up to a pixel, and labels smoothed. Distillation is soft, at the
paper's temperature. Each student is trained from three seeds, and with each seed a
teacher of its own. All that was chosen was chosen with --on=validation; with
--distillation_type=hard, or with mixup and CutMix, the token's student was worse there.

It ends with an error if the student with the token is not above both others, on
average.
"""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import measure
import numpy as np
from absl import app, flags
from tqdm import tqdm

from vit_tf import quiet

HEADER = ("held-out top-1, %", "seed 0", "seed 1", "seed 2", "mean", "spread")
TEACHER, ALONE, USUAL, TOKEN = "teacher", "no teacher", "no token", "token"
SEEDS = (0, 1, 2)
MODEL_ARGS = dict(
    img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=48, depth=2,
    num_heads=3,
)  # fmt: skip
CLASSES, TRAINING_IMAGES, BATCH, STEPS, RATE = 10, 200, 25, 2000, 2e-3
_ON = flags.DEFINE_enum(
    "on", "test", ["test", "validation"], "which images top-1 is measured on"
)
_KIND = flags.DEFINE_enum(
    "distillation_type", "soft", ["soft", "hard"], "what is learnt of the teacher"
)
Split = tuple[np.ndarray, np.ndarray]  # images and labels


def splits(on: str) -> tuple[Split, Split]:
    """(images, labels) to train on, and to be measured on."""
    from sklearn.model_selection import train_test_split

    sys.path.append(str(Path(__file__).parents[1] / "examples" / "digits"))
    import digits

    known, held_out = digits.splits()
    images, others, labels, other_labels = train_test_split(
        *known, train_size=TRAINING_IMAGES, random_state=0, stratify=known[1]
    )
    measured = held_out if on == "test" else (others, other_labels)
    return (images, labels), measured


def shifted(image, seed):
    """A digit moved by up to a pixel along each axis."""
    import tensorflow as tf

    padded = tf.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=image[0, 0, 0])
    return tf.image.stateless_random_crop(padded, image.shape, seed)


def batches(training: Split, seed: int):
    """What a run is trained on: images, moved, with smoothed targets."""
    import tensorflow as tf

    def moved(number, sample):
        image, label = sample
        target = tf.one_hot(label, CLASSES, 0.9 + 0.1 / CLASSES, 0.1 / CLASSES)
        return shifted(image, (seed, number)), target

    images = tf.data.Dataset.from_tensor_slices(training)
    images = images.shuffle(TRAINING_IMAGES, seed=seed).repeat().enumerate()
    return images.map(moved).batch(BATCH).take(STEPS).prefetch(2)


def trained(model, samples):
    """`model` after the recipe that all of them share."""
    import keras

    warmup = STEPS // 20
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, STEPS - warmup, warmup_target=RATE, warmup_steps=warmup
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.05),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=False,
        steps_per_execution=20,
    )
    model.fit(samples, shuffle=False, verbose=0)
    return model


def convolutional_network():
    """The teacher: three convolutions, 10 logits."""
    import keras

    layers = [keras.Input((8, 8, 1))]
    for width in (32, 64, 64):
        layers.append(keras.layers.Conv2D(width, 3, padding="same", use_bias=False))
        layers += [keras.layers.BatchNormalization(), keras.layers.ReLU()]
        layers.append(keras.layers.MaxPooling2D(2))
    layers += [keras.layers.Flatten(), keras.layers.Dropout(0.5)]
    return keras.Sequential([*layers, keras.layers.Dense(10)])


def contenders(seed: int, training: Split, step: Callable[[], None]) -> dict:
    """Each student of a seed, and its teacher, trained."""
    import keras

    import vit_tf
    from vit_tf.training import Distiller

    def student(name: str):
        keras.utils.set_random_seed(seed)
        return vit_tf.create_model(name, **MODEL_ARGS)

    def done(model):
        trained(model, batches(training, seed))
        step()
        return model

    def distiller(student):
        return Distiller(student, teacher, distillation_type=_KIND.value, tau=3.0)

    keras.utils.set_random_seed(seed)
    teacher = done(convolutional_network())
    plain, distilled = "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"
    return {
        TEACHER: teacher,
        ALONE: done(student(plain)),
        USUAL: done(distiller(student(plain))).student,
        TOKEN: done(distiller(student(distilled))).student,
    }


def top1(model, measured: Split) -> float:
    """Percent of the images that are classified right."""
    images, labels = measured
    decided = np.argmax(model(images, training=False), axis=1)
    return 100 * float(np.mean(decided == labels))


def main(argv: list[str]) -> None:
    quiet.drop_notes()
    training, measured = splits(_ON.value)
    found: dict[str, list[float]] = {}
    with measure.conditions():
        with tqdm(total=4 * len(SEEDS), unit="model") as progress:
            for seed in SEEDS:
                for name, model in contenders(seed, training, progress.update).items():
                    found.setdefault(name, []).append(top1(model, measured))
        print(f"{len(training[0])} images to train on, {len(measured[0])} measured on")
        rows = [
            (name, *values, statistics.mean(values), statistics.stdev(values))
            for name, values in found.items()
        ]
        print(measure.table(HEADER, rows))
    means = {name: statistics.mean(values) for name, values in found.items()}
    if better := [name for name in (ALONE, USUAL) if means[name] >= means[TOKEN]]:
        sys.exit(f"distillation: error: the token gains nothing over {better}")


if __name__ == "__main__":
    quiet.import_tensorflow()
    app.run(main)
