"""One checkpoint in, one proven bundle out."""

import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ml_collections import ConfigDict

from vit_tf import checkpoints, jax_function, proof
from vit_tf.configs import common
from vit_tf.export import bundle, card, data_config, representative, verify
from vit_tf.export.formats import FORMATS as BESIDE
from vit_tf.export.formats import (
    Converted,
    check_formats,
    compare_format,
    in_parts,
    write_format,
)
from vit_tf.export.samples import Samples, preprocessed, sample_files
from vit_tf.export.staging import staged
from vit_tf.find_config import check_said, find_config
from vit_tf.parity import Report, compared_with_timm
from vit_tf.parity.disk import temporary_disk
from vit_tf.parity.pixels import PixelReport, compare_pixels
from vit_tf.preprocessing import DataConfig
from vit_tf.reference import pillow_version, preprocess
from vit_tf.source import Source, read
from vit_tf.workbench import Workbench

FORMATS = ("saved_model", *BESIDE)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        directory: The bundle.
        source: uri, sha256, and the numbers of tensors and parameters.
        reports: What was compared: layers and gradients with timm's, and every
            written format with the model.
        function: "timm" or "jax", whose constants the model has (they are the same
            but for original JAX files), and how far apart the two are, if known.
        files: What the bundle holds: relative path -> bytes.
        pixels: What the SavedModel makes of image files, compared with timm's; None
            where it takes none.
        unknown: Why it takes none: what is not known of preprocessing.
    """

    directory: Path
    source: Mapping[str, Any]
    reports: tuple[Report, ...]
    function: Mapping[str, Any]
    files: Mapping[str, int]
    pixels: PixelReport | None = None
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        source, total = self.source, sum(self.files.values())
        digest = f" (sha256 {source['sha256'][:12]}...)" if source["sha256"] else ""
        lines = [str(report) + "\n" for report in self.reports]
        if not compared_with_timm(self.reports):
            lines.insert(0, "parity was turned off: not compared with timm\n")
        lines += [
            f"source    {source['uri']}{digest}",
            *(f"          {note}" for note in source["notes"]),
            f"tensors   {source['tensors']:,}, {source['parameters']:,} parameters",
        ]
        if apart := self.function.get("apart"):
            lines.append(
                f"function  {self.function['reference']}'s: logits of timm's and JAX's "
                f"are {apart:.1e} apart, relative to the largest"
            )
        lines += [
            f"parity    {report.title}: worst {report.worst.relative:.1e} relative, "
            f"{report.worst.name} (tolerance {report.tolerance:.0e})"
            + (f", {report.top1}" if report.top1 else "")
            for report in self.reports
        ]
        lines.append(f"pixels    {self.pixels or self._no_pixels()}")
        lines.append(f"written   {self.directory}, {total / 1e6:.1f} MB")
        lines += [f"          {size:>14,}  {name}" for name, size in self.files.items()]
        return "\n".join(lines)

    def _no_pixels(self) -> str:
        return (
            f"not compared, no signature takes files: {'; '.join(self.unknown)}; "
            "--config.preprocessing.NAME=VALUE says it"
        )


def convert(
    config: ConfigDict | str,
    directory: str | Path,
    *,
    checkpoint: str | Path = "",
    checkpoint_key: str = "",
    dialect: str = "",
    formats: Sequence[str] = ("saved_model",),
    notes: Sequence[str] = (),
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda step: None,
    bench: Workbench | None = None,
) -> Conversion:
    """Converts a checkpoint, proves that the result is the same model, writes it.

    Args:
        config: From `vit_tf.get_config`, or timm's name of a model, or "" where the
            checkpoint tells which model it is.
        directory: Where to write the bundle. It appears there whole or not at all.
        checkpoint: A file (.safetensors, .pth, .pt, .bin, .ckpt, .npz, .keras), a
            folder of timm or transformers, "hf-hub:org/name", "https://...",
            "gs://...", "random:SEED"; or "" for timm's pretrained weights.
        checkpoint_key: Where a file holds several models, which of them.
        dialect: Whose names its tensors have, where they do not tell it themselves.
        formats: Of `FORMATS`: "saved_model", which a bundle always is, and what it is
            to hold beside, "keras", "timm", "litert_float32" ...
        notes: What was done to the checkpoint before, for the bundle to say.
        overwrite: Whether a bundle that is there may be replaced.
        progress: Called with the name of each step as it begins.
        bench: What earlier conversions left, where there are to be several.

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
        family, variant = find_config(
            config, checkpoint, checkpoint_key=checkpoint_key, dialect=dialect
        )
        config = importlib.import_module(f"vit_tf.configs.{family}").get_config(variant)
    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    _check(config, formats)
    timm_config, config = config, jax_function.configured(config)
    bench = bench or Workbench()
    replaceable = bundle.is_bundle if overwrite else None
    with (
        staged(directory, replaceable=replaceable) as folder,
        _background() as background,
    ):
        progress("read the checkpoint")
        source = read(
            timm_config, checkpoint, checkpoint_key=checkpoint_key, dialect=dialect
        )
        source = dataclasses.replace(source, notes=(*notes, *source.notes))
        source_hash = background.submit(source.hash)
        checkpoints.check_finite(source.tensors, source.uri)
        described = bundle.describe(config, source.facts)
        data = data_config.data_config(described["data"])
        real = _representative(config, formats, described)
        images = proof.random_images(config)
        function = _function(timm_config, source, images)
        model, reports, expected = _compared(config, source, images, bench, progress)
        reports += proof.prove_in_float64(config, source.tensors, images, progress)

        progress("write the SavedModel")
        if config.dtype != "float32":
            del model
            model = bench.model(config, source.tensors, config.dtype)
            in_float32 = expected
            expected = verify.expected_outputs(model, images[: verify.BATCH], first=1)
            reports += _compare_dtype(in_float32, expected, config.dtype)
        samples = _samples(config, data, described["label_names"])
        bench.save(model, folder, data, described["label_names"])
        bundle.write_json(folder / bundle.CONFIG, described)
        origin = source.to_json(config.dtype) | {"sha256": source_hash.result()}
        beside = [name for name in BESIDE if name in formats]
        trials = _trials(config, source, model, beside, images, real, progress)
        converted = Converted(folder, described, origin["dtypes"], real)
        _write(beside, dataclasses.replace(converted, model=model), progress)
        del model
        bench.collect()  # what comes takes its memory
        _write(beside, converted, progress)
        progress("read back what was written")
        result_hashes = background.submit(bundle.hashes, folder)
        loaded = bench.load(folder)
        read_back, pixels = _read_back(config, loaded, images, expected, samples)
        reports += read_back
        for name in beside:
            progress(f"read back {BESIDE[name].title}")
            reports.append(compare_format(name, converted, *trials[name]))
            reports[-1].check()

        progress("describe it")
        proven = _proven(origin, result_hashes.result(), reports, function, pixels)
        bundle.write_json(folder / bundle.PARITY, proven)
        card.write(folder, Path(directory).name)
    files = bundle.files(Path(directory))
    unknown = tuple(data_config.problems(described["data"]))
    return Conversion(
        Path(directory), origin, tuple(reports), function, files, pixels, unknown
    )


def _compared(
    config: ConfigDict,
    source: Source,
    images: np.ndarray,
    bench: Workbench,
    progress: Callable[[str], None],
) -> tuple[keras.Model, list[Report], verify.Outputs]:
    """The model in float32, how its layers compare with timm's, and what it gives.

    That is, for the first of the images, what each signature must give, and logits for
    the second.

    Raises:
        ParityError: if one differs.
    """
    runs: Counter[str] = Counter()  # some layers run twice: `head_drop`, for two heads

    with temporary_disk(proof.IN_MEMORY) as disk:

        def keep(name: str, output: np.ndarray) -> np.ndarray:
            runs[name] += 1
            return disk.keep(name, output)

        def let_go(name: str) -> None:
            """Once a layer was compared as often as it ran, timm's output may go."""
            runs[name] -= 1
            if runs[name] == 0:
                del reference[name]

        progress("run the original in timm")
        reference = proof.timm_outputs(config, source.tensors, images, "float32", keep)
        progress("build and fill the model")
        model = bench.model(config, source.tensors, "float32")
        progress("compare every layer")
        with verify.collected(model) as expected:
            reports = proof.compare_with_timm(
                config, reference, model, images, "float32", let_go
            )
    if not expected:  # it did not run
        expected = verify.expected_outputs(model, images[: verify.BATCH], first=1)
    return model, reports, expected


def _representative(
    config: ConfigDict, formats: Sequence[str], described: Mapping[str, Any]
) -> np.ndarray | None:
    """The real images that a format needs; None where none does.

    Raises:
        ValueError: if one cannot be read, or it is not known how they are prepared.
    """
    if not any(BESIDE[name].represented for name in formats if name in BESIDE):
        return None
    data = data_config.data_config(described["data"])
    if data is None:
        unknown = "; ".join(data_config.problems(described["data"]))
        raise ValueError(
            f"config.export.representative: how images are prepared is not known "
            f"({unknown}); --config.preprocessing.NAME=VALUE says it"
        )
    folder, count = config.export.representative, config.export.images
    return representative.read_images(representative.image_files(folder, count), data)


Trial = tuple[np.ndarray, np.ndarray]  # images, and what the original gives for them


def _trials(
    config: ConfigDict,
    source: Source,
    model: keras.Model,
    formats: Sequence[str],
    images: np.ndarray,
    representative: np.ndarray | None,
    progress: Callable[[str], None],
) -> dict[str, Trial]:
    """On what each format is tried: random images, or real ones.

    The original is timm's model; ours, where parity is off.
    """
    if not formats:
        return {}
    progress("run the original on the images of the formats")
    original = functools.partial(verify.outputs, model)
    if config.parity.enabled:
        dtype = "float64" if config.dtype == "float64" else "float32"
        original = proof.original(config, source.tensors, dtype).logits
    sets = [x for x in (images, representative) if x is not None]
    trials = [(x, in_parts(original, x)) for x in sets]
    return {name: trials[BESIDE[name].represented] for name in formats}


def _write(
    formats: Sequence[str], converted: Converted, progress: Callable[[str], None]
) -> None:
    """Writes those of the formats that the model is needed for, or the others."""
    with contextlib.closing(converted):
        for name in formats:
            if BESIDE[name].of_model == (converted.model is not None):
                progress(f"write {BESIDE[name].title}")
                write_format(name, converted)


def _function(config: ConfigDict, source: Source, images: np.ndarray) -> dict[str, Any]:
    """Whose function the model computes, and of a JAX file how far the other is."""
    reference = config.parity.reference
    function: dict[str, Any] = {"reference": reference}
    if config.parity.enabled and "jax" in (reference, source.trained_by):
        apart = jax_function.distance(config, source.tensors, images)
        function["apart"] = apart.relative
    return function


def _compare_dtype(
    in_float32: verify.Outputs, expected: verify.Outputs, dtype: str
) -> list[Report]:
    if dtype == "float64":  # was compared with timm itself
        return []
    report = verify.compare_dtype(in_float32, expected, dtype)
    report.check()
    return [report]


def _samples(
    config: ConfigDict, data: DataConfig | None, label_names: Sequence[str] | None
) -> Samples | None:
    if data is None:
        return None
    files, pixels = _sample_pixels(data, config.parity.enabled)
    return Samples(files, pixels, data.pillow, label_names)


@functools.lru_cache(maxsize=1)  # for a batch of models with the same preprocessing
def _sample_pixels(
    data: DataConfig, of_timm: bool
) -> tuple[Mapping[str, bytes], Mapping[str, np.ndarray]]:
    """Files, and what timm makes of them; or our own code, before it is saved."""
    files = sample_files(data)
    if not of_timm:
        return files, preprocessed(files, data)
    images = preprocess(data, [*files.values()])
    return files, dict(zip(files, images, strict=True))


def _read_back(
    config: ConfigDict,
    loaded: Any,
    images: np.ndarray,
    expected: verify.Outputs,
    samples: Samples | None,
) -> tuple[list[Report], PixelReport | None]:
    """What a SavedModel gives, now that it was loaded, and what it makes of files."""
    dtype, pixels = config.dtype, None
    served, seen = verify.verify_saved_model(loaded, images, expected, dtype, samples)
    if samples is not None:
        pillow = pillow_version() if config.parity.enabled else ""
        pixels = compare_pixels(samples.pixels, seen, samples.order, pillow)
        pixels.check()  # first: other pixels give other logits
    served.check()
    return [served], pixels


def _background() -> ThreadPoolExecutor:
    """Where files are hashed: on another core, while the work goes on."""
    return ThreadPoolExecutor(max_workers=1)


def _proven(
    origin: Mapping[str, Any],
    hashes: Mapping[str, str],
    reports: Sequence[Report],
    function: Mapping[str, Any],
    pixels: PixelReport | None,
) -> dict[str, Any]:
    return {
        "compared_with_timm": compared_with_timm(reports),
        "function": function,
        "source": origin,
        "result": hashes,
        "versions": _versions(),
        "reports": [report.to_json() for report in reports],
        "pixels": pixels.to_json() if pixels else None,
    }


@functools.cache  # it looks into every package that is installed
def _versions() -> Mapping[str, str]:
    distributions = importlib.metadata.packages_distributions()
    modules = ("tensorflow", "keras", "torch", "timm", "numpy", "PIL")
    found = {m: importlib.metadata.version(distributions[m][0]) for m in modules}
    return {"vit_tf": importlib.metadata.version("vit_tf"), **found}


def _check(config: ConfigDict, formats: Sequence[str]) -> None:
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise ValueError(
            f"formats: {', '.join(unknown)} found; expected: {', '.join(FORMATS)}"
        )
    common.check(config)
    _check_export(config, [name for name in formats if name in BESIDE])
    check_said(config)
    if config.dtype not in verify.TOLERANCES:
        raise ValueError(
            f"config.dtype={config.dtype!r} found, {', '.join(verify.TOLERANCES)} "
            "expected"
        )
    if config.parity.dtype not in proof.TOLERANCES:
        raise ValueError(
            f"config.parity.dtype={config.parity.dtype!r} found, "
            f"{' or '.join(proof.TOLERANCES)} expected"
        )
    if config.parity.images < 1:
        raise ValueError(
            f"config.parity.images={config.parity.images} found, 1 or more expected"
        )


def _check_export(config: ConfigDict, formats: Sequence[str]) -> None:
    folder, count = config.export.representative, config.export.images
    if count < 1:
        raise ValueError(f"config.export.images={count} found, 1 or more expected")
    if config.dtype in verify.TOLERANCES:
        check_formats(formats, config.dtype, folder)
    if folder:
        representative.image_files(folder, count)
