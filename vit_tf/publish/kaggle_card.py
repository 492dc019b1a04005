"""What Kaggle says of a model and of a variation of it, beside their files."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kagglesdk.models.services.model_api_service import ModelApiClient
    from kagglesdk.models.types.model_api_service import ApiModel, ApiModelInstance

# Of what `vit_tf.export.card.kaggle` gives; the names are kagglesdk's.
OF_MODEL = ("title", "subtitle", "description", "provenance_sources")
OF_VARIATION = (
    "overview",
    "usage",
    "license_name",
    "fine_tunable",
    "training_data",
    "external_base_model_url",
)


def said_anew(
    told: Mapping[str, Any],
    model: "ApiModel | None",
    variation: "ApiModelInstance | None",
) -> dict[str, Any]:
    """What of a card is not said yet. What the card does not know is left as it is.

    A model's words are about all its variations: where there are others, only what is
    still empty is written.

    Args:
        told: Name -> value.
        model: As Kaggle has it; None where there is none.
        variation: Likewise.
    """
    others = [i for i in model.instances if not _same(i, variation)] if model else []
    shared = {
        name: told[name] for name in OF_MODEL if not others or _empty(model, name)
    }
    own = {name: told[name] for name in OF_VARIATION}
    return {
        name: value
        for values, found in ((shared, model), (own, variation))
        for name, value in values.items()
        if value and _trimmed(value) != _said(found, name)
    }


def requests(
    client: "ModelApiClient", described: Mapping[str, Any]
) -> Iterator[tuple[Callable, Any]]:
    """The requests that say it, each with the call that takes it."""
    from google.protobuf.field_mask_pb2 import FieldMask
    from kagglesdk.models.types import model_api_service as api

    for names, call, kind in (  # first what says which bundle was sent
        (OF_VARIATION, client.update_model_instance, api.ApiUpdateModelInstanceRequest),
        (OF_MODEL, client.update_model, api.ApiUpdateModelRequest),
    ):
        if fields := [name for name in names if name in described]:
            request = kind()
            request.update_mask = FieldMask(paths=fields)
            for name in fields:
                setattr(request, name, described[name])
            yield call, request


def _same(one: "ApiModelInstance", other: "ApiModelInstance | None") -> bool:
    return other is not None and one.id == other.id


def _empty(model: "ApiModel", name: str) -> bool:
    said = _said(model, name)
    return not said or (name == "title" and said == model.slug)  # as kagglehub makes it


def _said(found: Any, name: str) -> Any:
    return _trimmed(getattr(found, name, None))


def _trimmed(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value
