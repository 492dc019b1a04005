"""Makes the pictures of docs/explain.md: `python examples/faces/make_pictures.py`.

Three small models learn to tell scenes with a face from scenes without; then each
function of `vit_tf.explain` is shown on a photograph that none of the scenes is of. It
takes some minutes on two cores, and gives the same pictures each time.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags
from scenes import PATCH, SIZE, astronaut, normalised, scenes

from vit_tf import command, quiet

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

FLAGS = flags.FlagValues()  # of this command, beside those of others
flags.DEFINE_string(
    "out", "docs/pictures", "the folder for the pictures", flag_values=FLAGS
)
flags.DEFINE_bool("debug", False, "show where an error comes from", flag_values=FLAGS)
flags.DEFINE_bool("help", False, "show this", flag_values=FLAGS)
DIGITS = Path(__file__).parent.parent / "digits"
TRAINING, BATCH, EPOCHS, WARM_UP, LEARNING_RATE = 8192, 64, 6, 50, 2e-3
IMAGES = dict(img_size=SIZE, patch_size=PATCH, in_chans=1, num_classes=2)
MODELS = {
    "vit_tiny_patch16_224": dict(
        embed_dim=48, depth=4, num_heads=3, dynamic_img_size=True
    ),
    "cait_xxs24_224": dict(
        embed_dim=48, depth=2, num_heads=4, init_values=0.1, dynamic_img_size=True
    ),
    "swin_tiny_patch4_window7_224": dict(
        embed_dim=24, depths=(2, 2), num_heads=(3, 6), window_size=4,
        dynamic_img_size=True, drop_path_rate=0.0,
    ),
}  # fmt: skip


def main(argv: list[str]) -> None:
    others = command.parse(FLAGS, argv, __doc__)
    command.check_given(FLAGS, ("out",), others)
    quiet.import_tensorflow()
    quiet.drop_notes()
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    folder = Path(FLAGS.out)
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out = scenes(TRAINING, 0), scenes(1000, 1, held_out=True)
    vit, cait, swin = (trained(name, training, held_out) for name in MODELS)
    figures = of_vit(vit) | of_cait(cait) | of_swin(swin) | of_digits()
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=72, bbox_inches="tight", metadata={"Software": None})
        print(f"{path}: {path.stat().st_size:,} bytes")


def trained(
    name: str, training: tuple[np.ndarray, ...], held_out: tuple[np.ndarray, ...]
) -> "keras.Model":
    """A model that tells a face from none; what it makes of new ones is printed."""
    import keras
    import tensorflow as tf

    import vit_tf

    keras.utils.set_random_seed(0)
    model = vit_tf.create_model(name, **IMAGES, **MODELS[name])
    steps = EPOCHS * (TRAINING // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - WARM_UP, warmup_target=LEARNING_RATE, warmup_steps=WARM_UP
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(*training, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    _, accuracy = model.evaluate(*held_out, verbose=0)
    face = tf.nn.softmax(model(normalised(astronaut())[None]))[0, 1]
    print(
        f"{name}: {accuracy:.3f} of 1,000 scenes with new faces told right; "
        f"the photograph has a face with probability {face:.3f}"
    )
    return model


def of_vit(model: "keras.Model") -> dict[str, "Figure"]:
    """The pictures for which any Vision Transformer will do."""
    from vit_tf import explain
    from vit_tf.explain import plots

    photo = astronaut()
    images = normalised(photo)[None]
    maps = [explain.attention_maps(model, images, i)[0] for i in range(model.depth)]
    rollouts = {
        "mean": dict(),
        "max, 0.9 discarded": dict(head_fusion="max", discard_ratio=0.9),
        "min": dict(head_fusion="min"),
    }
    relevance = {"for a face": 1, "for none": 0}
    return {
        "attention_maps": plots.plot_attention_maps(
            photo,
            np.stack(maps),
            row_titles=[f"block {i}" for i in range(len(maps))],
            column_titles=[f"head {i}" for i in range(model.num_heads)],
        ),
        "attention_rollout": plots.plot_saliency(
            photo,
            [
                explain.attention_rollout(model, images, **options)[0]
                for options in rollouts.values()
            ],
            titles=list(rollouts),
        ),
        "gradient_attention": plots.plot_saliency(
            photo,
            [
                explain.gradient_attention(model, images, label)[0]
                for label in relevance.values()
            ],
            titles=list(relevance),
        ),
        "attention_distance": plots.plot_attention_distance(
            explain.mean_attention_distance(model, images)
        ),
        "pos_embed_similarity": plots.plot_pos_embed_similarity(
            explain.pos_embed_similarity(model)
        ),
        "patch_filters": plots.plot_patch_filters(
            explain.patch_filters(model), columns=16
        ),
        "patch_components": plots.plot_patch_filters(
            explain.patch_filters(model, 24), columns=12
        ),
    }


def of_cait(model: "keras.Model") -> dict[str, "Figure"]:
    """Figures 6 and 7 of CaiT's paper."""
    from vit_tf import explain
    from vit_tf.explain import plots

    photo = astronaut()
    images = normalised(photo)[None]
    return {
        "class_attention_maps": plots.plot_attention_maps(
            photo,
            explain.class_attention_maps(model, images)[0],
            row_titles=["class block 0", "class block 1"],
            column_titles=[f"head {i}" for i in range(model.num_heads)],
        ),
        "class_saliency": plots.plot_saliency(
            photo,
            np.concatenate(
                [
                    explain.class_saliency(model, images),
                    explain.gradient_attention(model, images, 1),
                ]
            ),
            titles=["class saliency", "gradient, for a face"],
        ),
    }


def of_swin(model: "keras.Model") -> dict[str, "Figure"]:
    """Windows of the first stage, where they are and where they are shifted."""
    from vit_tf import explain
    from vit_tf.explain import plots

    photo = astronaut()
    images = normalised(photo)[None]
    rows = {
        "windows": dict(block=0),
        "shifted": dict(block=1),
        "patch 6, 11": dict(block=0, query=(6, 11)),
        "shifted, 6, 11": dict(block=1, query=(6, 11)),
    }
    maps = [
        explain.window_attention_maps(model, images, 0, **options)[0]
        for options in rows.values()
    ]
    return {
        "window_attention_maps": plots.plot_attention_maps(
            photo,
            np.stack(maps),
            row_titles=list(rows),
            column_titles=[f"head {i}" for i in range(model.num_heads[0])],
        )
    }


def of_digits() -> dict[str, "Figure"]:
    """The DeiT that timm trained on scanned digits (`examples/digits`)."""
    from sklearn.datasets import load_digits

    from vit_tf import explain, find_config, mapping, models
    from vit_tf.checkpoint import read_checkpoint
    from vit_tf.explain import plots

    checkpoint = read_checkpoint(DIGITS)
    model = models.build(find_config.config_of(checkpoint, ""))
    mapping.assign(model, checkpoint.tensors)
    digits = load_digits().images[:10] / 16  # one of each
    mean, std = (checkpoint.facts[name][0] for name in ("mean", "std"))
    images = ((digits - mean) / std).astype(np.float32)[..., None]
    maps = [explain.attention_maps(model, images, i)[6] for i in range(model.depth)]
    return {
        "digits": plots.plot_attention_maps(
            digits[6],
            np.stack(maps),
            row_titles=[f"block {i}" for i in range(len(maps))],
            column_titles=[f"head {i}" for i in range(model.num_heads)],
        )
    }


if __name__ == "__main__":
    command.run("make_pictures", main, sys.argv)
