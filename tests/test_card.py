"""What cards say, and that their code runs as pasted."""

import dataclasses
import json
import re
from pathlib import Path

import forked
import pytest
import yaml
from huggingface_hub import ModelCard
from kagglesdk.models.types.model_api_service import (
    ApiCreateModelInstanceRequestBody,
    ApiCreateModelRequest,
)
from micro import micro_config
from test_i1k_results import PORTED, PREDICTIONS, prediction

import vit_tf
from i1k_eval import results
from vit_tf import pipeline
from vit_tf.export import accuracy, bundle, card
from vit_tf.source import Source

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

CLASSIFIER = dict(formats=("keras", "weights_h5", "timm", "litert_float32", "onnx"))
KINDS = {
    "classifier": ({}, CLASSIFIER),
    "features": (dict(num_classes=0), {}),
    "any_size": (dict(dynamic_img_size=True), {}),
}
HANDLES = {"org/one": "classifier", "me/vit/tensorFlow2/tiny": "classifier"}
# Runs each block of code from stdin in a clean namespace, and says what failed.
RUNS = """
import json, sys
sys.path.insert(0, sys.argv[1])
import huggingface_hub, kagglehub
from vit_tf import reference  # timm, without what torchvision lacks here
huggingface_hub.snapshot_download = json.loads(sys.argv[2]).__getitem__
kagglehub.model_download = json.loads(sys.argv[2]).__getitem__
for code in json.load(sys.stdin):
    exec(compile(code, code, "exec"), {})
"""
TAG = {
    "architecture": "vit_tiny_patch16_224",
    "tag": "augreg_in21k_ft_in1k",
    "license": "apache-2.0",
    "origin": {
        "hf_hub_id": "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "paper_ids": "arXiv:2106.10270",
        "origin_url": "https://github.com/google-research/vision_transformer",
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cards")
    for name, (arguments, options) in KINDS.items():
        config = micro_config(**arguments)
        pipeline.convert(config, folder / name, checkpoint="random:0", **options)
    return folder


@pytest.fixture(scope="module")
def cards(folder):
    return {name: card.of_bundle(folder / name) for name in KINDS}


@pytest.fixture
def pretrained(cards):
    """As if it were timm's."""
    known = cards["classifier"]
    source = {**known.source, "uri": "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k"}
    described = {**known.described, **TAG}
    return dataclasses.replace(known, described=described, source=source)


def blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_code_runs_as_pasted(folder, cards):
    code = [block for one in cards.values() for block in blocks(card.tf_hub(one))]
    assert len(code) == 3 * 4 + 5  # TensorFlow, Hub, Keras, vit_tf; and five formats
    one = cards["classifier"]
    code.append(blocks(card.hugging_face(one, "org/one"))[0])
    code.append(blocks(card.kaggle(one, "me/vit/tensorFlow2/tiny")["usage"])[0])
    root = Path(vit_tf.__file__).parent.parent
    pasted, handles = json.dumps(code), json.dumps(HANDLES)
    arguments = ["-c", RUNS, root, handles]
    forked.run(*arguments, input=pasted, cwd=folder, as_traced=True, check=True)


def test_every_rendering_has_the_same_code(cards):
    """But for where the bundle is."""

    def code(text: str) -> list[list[str]]:
        return [
            [
                line
                for line in block.splitlines()
                if not line.startswith(("path = ", "import kagg", "import huggingface"))
            ]
            for block in blocks(text)
        ]

    for one in cards.values():
        expected = code(card.tf_hub(one))
        assert code(card.hugging_face(one, "org/one")) == expected
        assert code(card.hugging_face(one)) == expected
        assert code(card.kaggle(one, "me/a/b/c")["usage"]) == expected


def test_the_bundle_has_its_card(folder, cards):
    """It was written in a folder of another name, which was then moved."""
    for name in KINDS:
        assert (folder / name / "README.md").read_text() == card.tf_hub(cards[name])
    assert "`model.onnx`" in (folder / "classifier/README.md").read_text()


def test_what_comes_later_is_in_the_card_that_is_written_again(folder, cards):
    said, later = folder / "features/README.md", folder / "features/model.onnx"
    assert "`model.onnx`" not in said.read_text()
    later.write_bytes(b"")
    card.write(folder / "features")
    assert "`model.onnx`" in said.read_text()
    later.unlink()
    card.write(folder / "features")
    assert said.read_text() == card.tf_hub(cards["features"])


def test_what_goes_in_and_what_comes_out(cards):
    said = card.tf_hub(cards["classifier"])
    assert "Float images, (batch, 32, 32, 3), channels last" in said
    assert "mean [0.485, 0.456, 0.406]" in said
    row = (
        "| `serving_default` | `images` (batch, 32, 32, 3) float32 | `logits` (batch, "
    )
    assert f"{row}7) float32 |" in said
    assert "`labels` (batch, 5) string" in said
    assert "`pixels` (values) uint8, `sizes` (batch, 2) int32" in said
    assert "`blocks.0.attn.attn_drop` (batch, 3, 5, 5) float32" in said
    said = card.tf_hub(cards["any_size"])
    assert "(batch, 32, 32, 3) or any size" in said
    assert "`images` (batch, any, any, 3) float32" in said
    said = card.tf_hub(cards["features"])
    assert "a feature extractor" in said
    assert "`serving_bytes` | `images` (batch) string | `features` (batch, 24)" in said


def test_what_was_compared(cards):
    said = card.tf_hub(cards["classifier"])
    assert "compared every layer with the original" in said
    for report in cards["classifier"].reports:
        worst = f"{report['worst']['error'] / report['worst']['scale']:.1e}"
        assert f"* {report['title']}: worst relative error {worst}" in said
    assert "* pixels of image files: 0 of 6,144 values of 2 images differ" in said
    counted = {**cards["classifier"].reports[-1], "top1": {"agree": 9, "images": 10}}
    said = card.tf_hub(dataclasses.replace(cards["classifier"], reports=(counted,)))
    assert "; top-1 agrees on 9 of 10 images" in said


def test_tensorflow_hub_wants_comments(cards, pretrained):
    said = card.tf_hub(pretrained, "me/vit/1", "https://host/vit.tar.gz").splitlines()
    assert said[0] == "# Module me/vit/1"
    assert [line for line in said if line.startswith("<!--")] == [
        "<!-- asset-path: https://host/vit.tar.gz -->",
        "<!-- task: image-classification -->",
        "<!-- fine-tunable: true -->",
        "<!-- format: saved_model_2 -->",
        "<!-- network-architecture: vit -->",
        "<!-- dataset: imagenet-ilsvrc-2012-cls -->",
        "<!-- dataset: imagenet-21k -->",
        "<!-- license: apache-2.0 -->",
    ]
    said = card.tf_hub(cards["features"])
    assert said.startswith("# deit_tiny_patch16_224 for TensorFlow\n")
    assert "<!-- task: image-feature-vector -->" in said
    assert "<!-- license: custom -->" in said  # none would mean Apache 2.0
    assert "asset-path" not in said


def test_hugging_face_wants_metadata(cards, pretrained):
    text = card.hugging_face(pretrained, "org/one")
    assert yaml.safe_load(text.split("---\n")[1]) == {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "license": "apache-2.0",
        "base_model": "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "datasets": ["imagenet-1k", "imagenet-21k"],
        "model_name": "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "tags": ["tensorflow", "vision-transformer", "vit_tf"],
    }
    assert 'huggingface_hub.snapshot_download("org/one")' in text
    for line in (
        "* Source: `timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k`",
        "* Licence of the weights: apache-2.0",
        "* Trained on: imagenet-1k, imagenet-21k",
        "* https://arxiv.org/abs/2106.10270",
        "* https://github.com/google-research/vision_transformer",
    ):
        assert f"\n{line}\n" in text
    data = ModelCard(card.hugging_face(cards["features"])).data
    assert data.pipeline_tag == "image-feature-extraction"
    assert (data.license, data.license_name) == ("other", "not-stated")
    assert data.library_name is data.base_model is data.datasets is None


def test_weights_of_a_hub_are_those_of_its_repository(cards):
    file = Path("hub/models--org--vit/snapshots/34ab/model.safetensors")
    read = Source("hf-hub:org/vit@abc", {}, {}, file).to_json("float32")
    source = {**cards["features"].source, **read, "sha256": "12"}
    one = dataclasses.replace(cards["features"], source=source)
    assert ModelCard(card.hugging_face(one)).data.base_model == "org/vit"
    said = "* Source: `hf-hub:org/vit@abc`, commit `34ab`, sha256 `12`\n"
    assert said in card.tf_hub(one)


def test_kaggle_wants_fields_that_it_has(cards, pretrained):
    found = card.kaggle(pretrained, "me/vit/tensorFlow2/tiny")
    model, variation = ApiCreateModelRequest(), ApiCreateModelInstanceRequestBody()
    for name, value in found.items():
        setattr(model if hasattr(model, name) else variation, name, value)
    assert model.title == "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert variation.license_name == "Apache 2.0"
    assert variation.training_data == ["imagenet-1k", "imagenet-21k"]
    assert variation.external_base_model_url.endswith("/timm/" + found["title"])
    assert "## Parity" in model.description
    assert "```python" not in model.description
    assert card.kaggle(cards["features"])["license_name"] is None


def test_accuracy_gets_into_the_card(folder, cards):
    place = folder / "features"
    entry = {"dataset": "imagenet-1k", "split": "validation", "images": 50_000}
    entry |= {"top1": 0.72134, "top5": 0.91, "disagreements": 0}
    entry["original"] = {"images": 50_000, "top1": 0.72134, "top5": 0.91}
    one = dataclasses.replace(cards["features"], accuracy=(entry,))
    row = "| imagenet-1k validation | 50,000 |" + " 72.134 % | 91.000 % |" * 2 + " 0 |"
    assert row in card.tf_hub(one)
    results = ModelCard(card.hugging_face(one)).data.eval_results
    assert [(r.metric_name, r.metric_value) for r in results] == [
        ("top-1", 0.72134),
        ("top-5", 0.91),
    ]
    assert {(r.dataset_name, r.dataset_split) for r in results} == {
        ("imagenet-1k", "validation")
    }
    assert "## Accuracy" not in (place / "README.md").read_text()


def measured(place: Path, predictions=PREDICTIONS) -> dict:
    """What i1k_eval writes of a bundle."""
    digest = bundle.digest(bundle.computing_hashes(place))
    return results.summary({"bundle": digest}, PORTED, predictions, {}, label_names={})


def test_what_was_measured_is_kept_in_the_bundle(folder):
    place = folder / "any_size"
    accuracy.write(place, measured(place), dataset="imagenet-1k", split="validation")
    accuracy.write(place, measured(place), dataset="imagenet-v2")
    again = measured(place, [prediction("a", [0], 0)])
    accuracy.write(place, again, dataset="imagenet-1k", split="validation")
    found = [tuple(entry.values()) for entry in card.of_bundle(place).accuracy]
    assert found == [
        ("imagenet-v2", "", 7, 3 / 7, 3 / 7, None, None),
        ("imagenet-1k", "validation", 1, 1.0, 1.0, None, None),
    ]
    row = "| imagenet-v2 | 7 | 42.857 % | 42.857 % | - | - | - |"
    assert row in card.tf_hub(card.of_bundle(place))
    (place / accuracy.ACCURACY).unlink()


def test_what_was_measured_of_others_is_not_kept(folder):
    place = folder / "features"
    with pytest.raises(bundle.BundleError, match=r"another bundle found \(out/micro\)"):
        accuracy.write(place, measured(folder / "any_size"), dataset="imagenet-1k")
    unlabelled = measured(place, [prediction("a", [], 0)])
    with pytest.raises(bundle.BundleError, match="without labelled images found"):
        accuracy.write(place, unlabelled, dataset="imagenet-1k")
    assert not (place / accuracy.ACCURACY).exists()


def test_a_folder_that_is_no_bundle_has_no_card(tmp_path, folder):
    with pytest.raises(bundle.BundleError, match=r"saved_model\.pb"):
        card.of_bundle(tmp_path)
    (tmp_path / "assets.extra").mkdir()
    for file in ("saved_model.pb", bundle.CONFIG):
        (tmp_path / file).write_bytes((folder / "features" / file).read_bytes())
    with pytest.raises(bundle.BundleError, match=r"parity\.json expected"):
        card.of_bundle(tmp_path)
