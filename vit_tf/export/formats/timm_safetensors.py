"""The way back: timm's folder, which timm itself opens."""

from pathlib import Path

import numpy as np


def run(directory: Path, images: np.ndarray) -> np.ndarray:
    """What timm's model of a folder gives for (B, H, W, C) float32 images."""
    from vit_tf.reference import timm, torch

    model = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    with torch.inference_mode():
        return model(torch.from_numpy(channels_first)).numpy()
