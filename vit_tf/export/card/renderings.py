"""A card as TensorFlow Hub, Hugging Face and Kaggle have it."""

from typing import TYPE_CHECKING, Any

from vit_tf.export.bundle import KERAS
from vit_tf.export.card.facts import Card
from vit_tf.export.card.text import sections, summary, title
from vit_tf.export.card.usage import usage

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

# What tfhub.dev calls data sets, licences and networks: its `tags/*.yaml`.
HUB_DATASETS = {
    "imagenet-1k": "imagenet-ilsvrc-2012-cls",
    "imagenet-21k": "imagenet-21k",
    "imagenet-22k": "imagenet-21k",  # Microsoft's name for it
}
HUB_LICENSES = ("apache-2.0", "mit", "cc-by-nc-4.0")
# What Hugging Face calls licences that timm's weights have; others are "other".
FACE_LICENSES = ("apache-2.0", "mit", "cc-by-nc-4.0", "apple-ascl", "apple-amlr")
# What Kaggle calls licences: models_metadata.md of its command line.
KAGGLE_LICENSES = {
    "apache-2.0": "Apache 2.0",
    "mit": "MIT",
    "cc-by-nc-4.0": "Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)",
}
KAGGLE_TITLE, KAGGLE_SUBTITLE = 50, 80  # letters


def tf_hub(card: Card, handle: str = "", asset_path: str = "") -> str:
    """TensorFlow Hub's Markdown, which is also the bundle's own README.md.

    Args:
        card: What is told.
        handle: "publisher/model/version", which its first line must name there.
        asset_path: Where the archive can be fetched, which it must name there too.
    """
    task = "image-classification" if card.num_classes else "image-feature-vector"
    swin = card.described["family"].startswith("swin")
    properties = [
        ("asset-path", asset_path),
        ("task", task),
        ("fine-tunable", "true"),
        ("format", "saved_model_2"),
        ("network-architecture", "swin-transformer" if swin else "vit"),
        *dict.fromkeys(
            ("dataset", HUB_DATASETS.get(name, "other")) for name in card.datasets
        ),
        ("license", card.license if card.license in HUB_LICENSES else "custom"),
    ]
    comments = [f"<!-- {name}: {value} -->" for name, value in properties if value]
    first = f"# Module {handle}" if handle else f"# {title(card)}"
    text = sections(card, Usage=usage(card))
    return "\n".join([first, "", summary(card), "", *comments, "", text, ""])


def hugging_face(card: Card, repo_id: str = "") -> str:
    """Hugging Face's README.md: metadata in YAML, then Markdown.

    Args:
        card: What is told.
        repo_id: Where it is published, which its code then fetches.
    """
    path, imports = "", ""
    if repo_id:
        path = f'huggingface_hub.snapshot_download("{repo_id}")'
        imports = "import huggingface_hub"
    text = sections(card, Usage=usage(card, path, imports))
    metadata = _metadata(card).to_yaml()
    first = f"# {title(card)}"
    return "\n".join(
        ["---", metadata, "---", "", first, "", summary(card), "", text, ""]
    )


def kaggle(card: Card, handle: str = "") -> dict[str, Any]:
    """Kaggle's metadata, by the names that kagglesdk has for them.

    A model has `title`, `subtitle`, `description` and `provenance_sources`; a variation
    of it has `overview`, `usage`, `license_name` (None where Kaggle knows no such
    licence), `fine_tunable`, `training_data`, and `external_base_model_url`.

    Args:
        card: What is told.
        handle: "owner/model/tensorFlow2/variation", which its code then fetches.
    """
    path, imports = "", ""
    if handle:
        path, imports = f'kagglehub.model_download("{handle}")', "import kagglehub"
    return {
        "title": card.model[:KAGGLE_TITLE],
        "subtitle": f"{card.described['architecture']} for TensorFlow"[
            :KAGGLE_SUBTITLE
        ],
        "description": f"{summary(card)}\n\n{sections(card)}\n",
        "provenance_sources": card.source["uri"],
        "overview": summary(card),
        "usage": usage(card, path, imports),
        "license_name": KAGGLE_LICENSES.get(card.license or ""),
        "fine_tunable": True,
        "training_data": card.datasets,
        "external_base_model_url": f"https://huggingface.co/{card.base_model}"
        if card.base_model
        else "",
    }


def _metadata(card: Card) -> "ModelCardData":
    from huggingface_hub import EvalResult, ModelCardData  # not all who convert need it

    task = "image-classification" if card.num_classes else "image-feature-extraction"
    known = card.license in FACE_LICENSES
    return ModelCardData(
        model_name=card.model,
        library_name="keras" if str(KERAS) in card.files else None,
        pipeline_tag=task,
        base_model=card.base_model or None,
        license=card.license if known else "other",
        license_name=None if known else card.license or "not-stated",
        datasets=card.datasets or None,
        tags=["tensorflow", "vision-transformer", "vit_tf"],
        eval_results=[
            EvalResult(
                task_type=task,
                dataset_type=entry["dataset"],
                dataset_name=entry["dataset"],
                dataset_split=entry["split"] or None,
                metric_type="accuracy",
                metric_name=name,
                metric_value=entry[field],
            )
            for entry in card.accuracy
            for name, field in (("top-1", "top1"), ("top-5", "top5"))
        ]
        or None,
    )
