"""scikit-learn's handwritten digits: 1,797 real images of 8 x 8 pixels."""

import dataclasses
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

MEAN, STD = 0.305, 0.376  # of the training split's pixels, scaled to 0..1
Split = tuple[np.ndarray, np.ndarray]  # images and labels


def splits() -> tuple[Split, Split]:
    """(images, labels) for training, and held out: 1,437 and 360 images.

    Images are (N, 8, 8, 1) float32, normalised; labels are (N,) int64.
    """
    digits = load_digits()
    images = ((digits.images / 16 - MEAN) / STD).astype(np.float32)[..., None]
    labels = digits.target.astype(np.int64)
    train_images, images, train_labels, labels = train_test_split(
        images, labels, test_size=0.2, random_state=0, stratify=labels
    )
    return (train_images, train_labels), (images, labels)


@dataclasses.dataclass(frozen=True)
class Top1:
    """Predictions of the original and of the SavedModel, and the truth: (N,) each."""

    original: np.ndarray
    saved_model: np.ndarray
    labels: np.ndarray

    @property
    def disagreements(self) -> int:
        return int(np.sum(self.original != self.saved_model))

    def __str__(self) -> str:
        original = np.mean(self.original == self.labels)
        saved_model = np.mean(self.saved_model == self.labels)
        return (
            f"held-out digits: {len(self.labels)}\n"
            f"top-1, original in PyTorch:  {original:.4f}\n"
            f"top-1, SavedModel from disk: {saved_model:.4f}\n"
            f"images on which they disagree: {self.disagreements}"
        )


def compare_top1(checkpoint: str | Path, bundle: str | Path) -> Top1:
    """Classifies the held-out digits with timm's model and with the SavedModel.

    Args:
        checkpoint: The timm local directory.
        bundle: The SavedModel's folder.
    """
    import tensorflow as tf

    from vit_tf.reference import timm, torch

    images, labels = splits()[1]
    original = timm.create_model(f"local-dir:{checkpoint}", pretrained=True).eval()
    with torch.inference_mode():
        channels_first = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        original_logits = original(channels_first).numpy()
    logits = tf.saved_model.load(str(bundle))(tf.constant(images)).numpy()
    return Top1(original_logits.argmax(1), logits.argmax(1), labels)
