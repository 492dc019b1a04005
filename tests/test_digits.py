"""The main job on real input: what `make convert` does."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import vit_tf
from vit_tf import models, pipeline

DIGITS = Path(__file__).parent.parent / "examples" / "digits"
sys.path.insert(0, str(DIGITS))

from digits import MEAN, STD, compare_top1, splits  # noqa: E402


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    from vit_tf.configs import checkpoint

    config = checkpoint.get_config(f"uri={DIGITS}")
    directory = tmp_path_factory.mktemp("digits") / "bundle"
    return pipeline.convert(config, directory, checkpoint=DIGITS)


def test_the_directory_says_which_model_it_holds():
    from vit_tf.configs import checkpoint

    config = checkpoint.get_config(f"uri={DIGITS}")
    assert config.architecture == "deit_tiny_patch16_224"
    assert config.model.img_size == 8
    assert config.model.in_chans == 1
    assert config.model.num_classes == 10
    assert config.architecture in models.list_models()


def test_every_layer_of_the_trained_model_is_timms(converted):
    assert [report.title for report in converted.reports] == [
        "layers in float32",
        "SavedModel read back",
    ]
    assert all(report.passed for report in converted.reports)


def test_no_held_out_digit_is_classified_differently(converted):
    top1 = compare_top1(DIGITS, converted.directory)
    assert len(top1.labels) == 360
    assert top1.disagreements == 0
    assert np.mean(top1.saved_model == top1.labels) > 0.95
    assert "images on which they disagree: 0" in str(top1)


def test_the_files_of_held_out_digits_are_seen_and_classified_as_timm_does(converted):
    from vit_tf import reference

    images = np.round((splits()[1][0] * STD + MEAN) * 255).astype(np.uint8)
    files = [tf.io.encode_png(image).numpy() for image in images]
    data = vit_tf.resolve_data_config(converted.directory)
    pixels = reference.preprocess(data, files)
    loaded = tf.saved_model.load(str(converted.directory))
    np.testing.assert_array_equal(loaded.preprocess(tf.constant(files)), pixels)
    np.testing.assert_array_equal(loaded.preprocess(images), pixels)
    found = loaded.signatures["serving_bytes"](images=tf.constant(files))
    original = reference.timm.create_model(f"local-dir:{DIGITS}", pretrained=True)
    with reference.torch.inference_mode():
        tensor = reference.torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
        classes = original.eval()(tensor).argmax(1).numpy()
    np.testing.assert_array_equal(found["classes"][:, 0], classes)
    np.testing.assert_array_equal(
        found["labels"][:, 0], [str(digit).encode() for digit in classes]
    )


def test_the_held_out_digits_are_not_those_of_training():
    (train_images, _), (images, labels) = splits()
    assert len(train_images) + len(images) == 1797
    assert set(labels) == set(range(10))
    seen = {image.tobytes() for image in train_images}
    assert sum(image.tobytes() in seen for image in images) == 0


def test_the_bundle_carries_preprocessing_and_labels(converted):
    import json

    from vit_tf.export.bundle import CONFIG

    described = json.loads((converted.directory / CONFIG).read_text())
    assert described["data"]["mean"] == [0.305]
    assert described["data"]["input_size"] == [1, 8, 8]
    assert described["label_names"] == [str(digit) for digit in range(10)]
    assert described["license"] == "bsd-3-clause"
