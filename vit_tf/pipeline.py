"""One checkpoint in, one proven bundle out."""

import dataclasses
import gc
import importlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ml_collections import ConfigDict

from vit_tf import activations, checkpoints, mapping, models
from vit_tf.checkpoints.local_dir import check_architecture, read_config
from vit_tf.checkpoints.random import RandomTensors
from vit_tf.configs import common, local_dir
from vit_tf.export import bundle, card, saved_model, verify
from vit_tf.export.staging import staged
from vit_tf.gradients import gradients
from vit_tf.layers.initializers import skip_init
from vit_tf.parity import Report, layer_diff, report
from vit_tf.reference import Reference, pretrained_cfg, pretrained_tensors

FORMATS = ("saved_model", "keras")
TOLERANCES = {"float32": 1e-5, "float64": 1e-10}  # relative to a layer's largest value
GRADIENT_TOLERANCE = 1e-8  # in float64, relative to a gradient's largest value
RANDOM = "random:"


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the tensors come from."""

    uri: str
    tensors: checkpoints.Tensors
    facts: Mapping[str, Any]  # timm's pretrained_cfg: preprocessing, licence
    file: Path | None = None

    def hash(self) -> str:
        """The file's sha256, or "" where there is no file."""
        return bundle.sha256(self.file) if self.file else ""

    def to_json(self) -> dict[str, Any]:
        parameters = sum(int(np.prod(t.shape)) for t in self.tensors.values())
        return {
            "uri": self.uri,
            "tensors": len(self.tensors),
            "parameters": parameters,
        }


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        directory: The bundle.
        source: uri, sha256, and the numbers of tensors and parameters.
        reports: What was compared: layers and gradients with timm's, and every
            written format with the model.
        files: What the bundle holds: relative path -> bytes.
    """

    directory: Path
    source: Mapping[str, Any]
    reports: tuple[Report, ...]
    files: Mapping[str, int]

    def __str__(self) -> str:
        source, total = self.source, sum(self.files.values())
        digest = f" (sha256 {source['sha256'][:12]}...)" if source["sha256"] else ""
        lines = [str(report) + "\n" for report in self.reports]
        if not any(report.title.startswith("layers") for report in self.reports):
            lines.insert(0, "parity was turned off: not compared with timm\n")
        lines += [
            f"source    {source['uri']}{digest}",
            f"tensors   {source['tensors']:,}, {source['parameters']:,} parameters",
        ]
        lines += [
            f"parity    {report.title}: worst {report.worst.relative:.1e} relative, "
            f"{report.worst.name} (tolerance {report.tolerance:.0e})"
            for report in self.reports
        ]
        lines.append(f"written   {self.directory}, {total / 1e6:.1f} MB")
        lines += [f"          {size:>14,}  {name}" for name, size in self.files.items()]
        return "\n".join(lines)


def convert(
    config: ConfigDict | str,
    directory: str | Path,
    *,
    checkpoint: str | Path = "",
    formats: Sequence[str] = ("saved_model",),
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Conversion:
    """Converts a checkpoint, proves that the result is the same model, writes it.

    Args:
        config: From `vit_tf.get_config`, or timm's name of a model, or "" where the
            checkpoint is a timm local directory.
        directory: Where to write the bundle. It appears there whole or not at all.
        checkpoint: A .safetensors, .pth, .pt or .bin file; a timm local directory;
            "random:SEED"; or "" for timm's pretrained weights.
        formats: "saved_model", which a bundle always is, and "keras".
        overwrite: Whether a bundle that is there may be replaced.
        progress: Called with the name of each step as it begins.

    Raises:
        UnknownModelError: if there is no such model.
        ValueError: if a field of the configuration, or a format, is none of those
            expected.
        CheckpointError: if the checkpoint cannot be used.
        MappingError: if its tensors are not the model's weights.
        ParityError: if the result is not the same model, or reads back differently.
        FileExistsError: if something is at `directory` that may not be replaced.
    """
    if isinstance(config, str):
        family, variant = find_config(config, checkpoint)
        config = importlib.import_module(f"vit_tf.configs.{family}").get_config(variant)
    _check(config, formats)
    replaceable = bundle.is_bundle if overwrite else None
    with staged(directory, replaceable=replaceable) as folder, _beside() as beside:
        progress("read the checkpoint")
        source = read(config, checkpoint)
        source_hash = beside.submit(source.hash)
        checkpoints.check_finite(source.tensors, source.uri)
        images = random_images(config)
        progress("run the original in timm")
        reference = timm_outputs(config, source.tensors, images, "float32")
        progress("build and fill the model")
        model = filled(config, source.tensors, "float32")
        progress("compare every layer")
        reports = compare_with_timm(config, reference, model, images, "float32")
        del reference  # before more memory is needed
        reports += prove_in_float64(config, source.tensors, images, progress)

        progress("write the SavedModel")
        image = images[:1]
        expected = verify.expected_outputs(model, image)
        saved_model.save(model, folder)
        if "keras" in formats:
            progress("write the .keras file")
            model.save(folder / bundle.KERAS)
        del model
        gc.collect()  # what is read back takes its memory
        progress("read back what was written")
        result_hashes = beside.submit(bundle.hashes, folder)
        reports += _read_back(folder, image, expected, formats)

        origin = source.to_json() | {"sha256": source_hash.result()}
        proof = _proof(origin, result_hashes.result(), reports)
        described = bundle.describe(config, source.facts)
        bundle.write_json(folder / bundle.CONFIG, described)
        bundle.write_json(folder / bundle.PARITY, proof)
        text = card.render(described, origin, reports, Path(directory).name)
        (folder / "README.md").write_text(text)
    files = bundle.files(Path(directory))
    return Conversion(Path(directory), origin, tuple(reports), files)


def find_config(model: str, checkpoint: str | Path = "") -> tuple[str, str]:
    """Which configuration says how to build `model` for `checkpoint`.

    A timm local directory states its own; `model` must then agree, and may be "".
    Otherwise `model` names it; where nothing else is asked for than timm's pretrained
    weights, "name" stands for timm's default tag of it, as it does in timm.

    Returns:
        A module of `configs/`, and what to call its `get_config` with.

    Raises:
        UnknownModelError: if there is no such model or tag.
        CheckpointError: if the checkpoint is not there, or states another model.
        ValueError: if nothing says which model it is.
    """
    uri = str(checkpoint)
    if uri and not uri.startswith(RANDOM):
        checkpoints.locate(uri)
        if Path(uri).is_dir():
            local_dir.get_config(uri, architecture=model.partition(".")[0])
            return "local_dir", uri
    if not model:
        what = f"{uri} does not say which model it is" if uri else "no model is named"
        raise ValueError(
            f"{what}; expected: --model=NAME, --config=configs/FAMILY.py:NAME, or as "
            "--checkpoint a timm local directory, which says it itself"
        )
    config = models.get_config(model)
    if not uri and not config.tag:
        tag = pretrained_cfg(model).get("tag", "")
        return config.family, f"{model}.{tag}".rstrip(".")
    return config.family, model


def read(config: ConfigDict, checkpoint: str | Path = "") -> Source:
    """The tensors that `checkpoint` names, and what is known about them.

    Raises:
        CheckpointError: if they cannot be had, or were made for another model than
            `config` describes.
    """
    uri = str(checkpoint)
    if not uri:
        return _pretrained(config)
    facts = _facts(config)
    if uri.startswith(RANDOM):
        tensors = RandomTensors(parameter_shapes(config), _seed(uri))
        return Source(uri, tensors, facts)
    path = checkpoints.locate(uri)
    if Path(uri).is_dir():
        stated = read_config(uri)
        _check_stated(config, stated, uri)
        facts |= stated["pretrained_cfg"] | {"label_names": stated["label_names"]}
    return Source(uri, checkpoints.read(path), facts, path)


def timm_outputs(
    config: ConfigDict, tensors: checkpoints.Tensors, images: np.ndarray, dtype: str
) -> dict[str, np.ndarray]:
    """What every layer of timm's model computes, or nothing if parity is off."""
    if not config.parity.enabled:
        return {}
    return original(config, tensors, dtype).record(images.astype(dtype))


def compare_with_timm(
    config: ConfigDict,
    reference: Mapping[str, np.ndarray],
    model: keras.Model,
    images: np.ndarray,
    dtype: str,
) -> list[Report]:
    """Every layer's output, ours against timm's, unless parity is off.

    Ours are compared as they come: only timm's are kept.

    Raises:
        ParityError: if a layer differs.
    """
    if not config.parity.enabled:
        return []
    diffs = activations.record(
        model,
        images.astype(dtype),
        each=lambda name, output: layer_diff(name, reference, output),
    )
    layers = report(reference, diffs, TOLERANCES[dtype], f"layers in {dtype}")
    layers.check()
    return [layers]


def prove_in_float64(
    config: ConfigDict,
    tensors: checkpoints.Tensors,
    images: np.ndarray,
    progress: Callable[[str], None] = lambda step: None,
) -> list[Report]:
    """The same model in double precision: layers and gradients, as far as asked for.

    Raises:
        ParityError: if a layer or a gradient differs.
    """
    reports: list[Report] = []
    layers = config.parity.enabled and config.parity.dtype == "float64"
    if not (layers or config.parity.gradients):
        return reports
    model = filled(config, tensors, "float64")
    if layers:
        progress("compare every layer in float64")
        reference = timm_outputs(config, tensors, images, "float64")
        reports += compare_with_timm(config, reference, model, images, "float64")
    if config.parity.gradients:
        progress("compare every gradient in float64")
        reports.append(compare_gradients(config, tensors, model, images))
        reports[-1].check()
    return reports


def compare_gradients(
    config: ConfigDict,
    tensors: checkpoints.Tensors,
    model: keras.Model,
    images: np.ndarray,
) -> Report:
    """Every parameter's gradient, ours against timm's, both in float64."""
    images = images.astype("float64")
    rng = np.random.default_rng(config.parity.seed)
    outputs = config.model.num_classes or config.model.embed_dim
    labels = rng.integers(0, outputs, len(images))
    reference = original(config, tensors, "float64").gradients(images, labels)
    found = gradients(model, images, labels)
    diffs = {name: layer_diff(name, reference, found[name]) for name in found}
    return report(reference, diffs, GRADIENT_TOLERANCE, "gradients in float64")


def random_images(config: ConfigDict) -> np.ndarray:
    """(parity.images, height, width, in_chans) float32, unit normal."""
    size = config.model.img_size
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng(config.parity.seed)
    shape = (config.parity.images, height, width, config.model.in_chans)
    return rng.standard_normal(shape, np.float32)


def filled(config: ConfigDict, tensors: checkpoints.Tensors, dtype: str) -> keras.Model:
    """The model that `config` describes, with `tensors` as its weights.

    Raises:
        MappingError: if they are not, all and only, its weights.
    """
    with skip_init():
        model = models.build(config, dtype=dtype)
    mapping.assign(model, tensors)
    return model


def original(config: ConfigDict, tensors: checkpoints.Tensors, dtype: str) -> Reference:
    """timm's model that `config` describes, with `tensors` as its weights.

    Raises:
        MappingError: if they are not, all and only, its weights.
    """
    arguments = config.model.to_dict()
    try:
        return Reference(config.architecture, tensors, arguments, dtype=dtype)
    except Exception:
        filled(config, tensors, dtype)  # our error lists what does not fit, on a line
        raise


def _read_back(
    folder: Path, images: np.ndarray, expected: verify.Outputs, formats: Sequence[str]
) -> list[Report]:
    reports = [verify.verify_saved_model(folder, images, expected)]
    if "keras" in formats:
        reports.append(verify.verify_keras(folder / bundle.KERAS, images, expected))
    for read_back in reports:
        read_back.check()
    return reports


def _beside() -> ThreadPoolExecutor:
    """Where files are hashed: on another core, while the work goes on."""
    return ThreadPoolExecutor(max_workers=1)


def _proof(
    origin: Mapping[str, Any], hashes: Mapping[str, str], reports: Sequence[Report]
) -> dict[str, Any]:
    packages = ("vit_tf", "tensorflow", "keras", "torch", "timm", "numpy")
    return {
        "compared_with_timm": any(r.title.startswith("layers") for r in reports),
        "source": origin,
        "result": hashes,
        "versions": {name: _version(name) for name in packages},
        "reports": [report.to_json() for report in reports],
    }


def _version(package: str) -> str:
    for name in (package, f"{package}-cpu", f"{package}_cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def parameter_shapes(config: ConfigDict) -> dict[str, tuple[int, ...]]:
    """timm name -> shape in timm's layout, of every parameter of the model."""
    with skip_init():
        model = models.build(config)
    return {entry.name: entry.shape for entry in mapping.entries(model)}


def _seed(uri: str) -> int:
    text = uri.removeprefix(RANDOM)
    if not text.isdecimal():
        raise checkpoints.CheckpointError(
            f"checkpoint {uri!r}: {text!r} found, a whole number expected after "
            f"{RANDOM!r}"
        )
    return int(text)


def _pretrained(config: ConfigDict) -> Source:
    name = f"{config.architecture}.{config.tag}".rstrip(".")
    facts = pretrained_cfg(name)
    classes, found = config.model.num_classes, facts["num_classes"]
    if classes not in (found, 0):
        raise checkpoints.CheckpointError(
            f"timm's weights for {name}: {found} classes found, {classes} expected; "
            "timm would draw a random head. num_classes=0 leaves the head out"
        )
    try:
        tensors = pretrained_tensors(name, config.model.to_dict())
    except Exception as error:  # timm, a hub and a reader: each has its own
        raise checkpoints.CheckpointError(
            f"timm's weights for {name} cannot be had: {_reason(error)}. Expected: a "
            "connection, weights in timm's cache, or a file as --checkpoint"
        ) from error
    return Source(f"timm:{name}", tensors, facts)


def _reason(error: BaseException) -> str:
    """An error's first line, with that of what caused it."""
    first = error
    while first.__cause__:
        first = first.__cause__
    said, why = (
        (str(e).strip() or type(e).__name__).splitlines()[0].rstrip(".")
        for e in (error, first)
    )
    return said if why == said else f"{said} ({why})"


def _facts(config: ConfigDict) -> dict[str, Any]:
    """How timm preprocesses for this model; nothing on weights that are not timm's."""
    name = f"{config.architecture}.{config.tag}".rstrip(".")
    facts = pretrained_cfg(name)
    return {k: v for k, v in facts.items() if k not in ("license", "label_names")}


def _check(config: ConfigDict, formats: Sequence[str]) -> None:
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise ValueError(
            f"formats: {', '.join(unknown)} found; expected: {', '.join(FORMATS)}"
        )
    common.check(config)
    if config.parity.dtype not in TOLERANCES:
        raise ValueError(
            f"config.parity.dtype={config.parity.dtype!r} found, "
            f"{' or '.join(TOLERANCES)} expected"
        )
    if config.parity.images < 1:
        raise ValueError(
            f"config.parity.images={config.parity.images} found, 1 or more expected"
        )


def _check_stated(config: ConfigDict, stated: Mapping[str, Any], uri: str) -> None:
    """Weights of one model in another may fit, and be wrong: num_heads has no shape."""
    check_architecture(uri, stated["architecture"], config.architecture)
    asked = config.model.to_dict()
    differing = [
        f"{name}={value!r} found, {asked.get(name)!r} expected"
        for name, value in stated["model_args"].items()
        if not name.endswith("_rate") and _plain(value) != _plain(asked.get(name))
    ]
    if differing:
        raise checkpoints.CheckpointError(
            f"{Path(uri) / 'config.json'}: {'; '.join(differing)}"
        )


def _plain(value: Any) -> Any:
    """A value as another spelling of it has it: 8, (8, 8) and [8, 8] are one size."""
    if not isinstance(value, (list, tuple)):
        return value
    return value[0] if list(value) == [*value[:1]] * len(value) else tuple(value)
