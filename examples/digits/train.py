"""Trains the small DeiT of this folder with timm: `python examples/digits/train.py`.

It takes about a minute on two cores, and writes `config.json` and
`model.safetensors` beside itself, in timm's own local-directory form.
"""

from pathlib import Path

import numpy as np
import torch
from digits import MEAN, STD, splits

from vit_tf.reference import timm  # imports timm where torchvision has no operators

ARCHITECTURE = "deit_tiny_patch16_224"
MODEL_ARGS = dict(
    img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=48, depth=4,
    num_heads=3,
)  # fmt: skip
EPOCHS, BATCH = 150, 32


def main() -> None:
    torch.manual_seed(0)
    (images, labels), held_out = splits()
    model = timm.create_model(ARCHITECTURE, drop_path_rate=0.05, **MODEL_ARGS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    for _ in range(EPOCHS):
        order = np.random.default_rng(int(schedule.last_epoch)).permutation(len(images))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            loss = torch.nn.functional.cross_entropy(
                model.train()(_torch_images(_shift(images[batch]))),
                torch.from_numpy(labels[batch]),
                label_smoothing=0.1,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.inference_mode():
        predictions = model.eval()(_torch_images(held_out[0])).argmax(1).numpy()
    print(f"held-out top-1: {np.mean(predictions == held_out[1]):.4f}")
    _save(model)


def _torch_images(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _shift(images: np.ndarray) -> np.ndarray:
    """Moves the batch by up to one pixel, so that 1,437 images go further."""
    dy, dx = torch.randint(-1, 2, (2,)).tolist()
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return padded[:, 1 + dy : 9 + dy, 1 + dx : 9 + dx]


def _save(model: torch.nn.Module) -> None:
    facts = dict(tag="digits", license="bsd-3-clause", origin_url="scikit-learn")
    preprocessing = dict(
        input_size=(1, 8, 8), mean=(MEAN,), std=(STD,), crop_pct=1.0,
        interpolation="bilinear",
    )  # fmt: skip
    model.pretrained_cfg.update(facts | preprocessing)
    timm.models.save_for_hf(
        model,
        str(Path(__file__).parent),
        model_config=dict(label_names=[str(digit) for digit in range(10)]),
        model_args=MODEL_ARGS,
        data_config=preprocessing,
        safe_serialization=True,
    )


if __name__ == "__main__":
    main()
