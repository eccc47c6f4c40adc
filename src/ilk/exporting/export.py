"""Export: write a model in another format, run it, and hand it over only if it agrees."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ilk.engines.files import digest_of, kind_of, open_file, size_of
from ilk.engines.pieces import PieceEngine
from ilk.errors import EngineError, GateError, ModelError, UsageError
from ilk.evaluation.comparison import compared
from ilk.evaluation.intervals import wilson
from ilk.exporting.formats import FORMATS, Format
from ilk.exporting.job import FEWEST
from ilk.exporting.place import hidden_folder, put, target_of, writing
from ilk.exporting.receipt import Receipt
from ilk.exporting.reference import Original
from ilk.exporting.verify import beside
from ilk.folder import write_json
from ilk.inference import model_file
from ilk.models.metadata import RECEIPT_KEY, from_metadata, to_metadata
from ilk.runtime import versions
from ilk.text import escaped

ALSO_KNOWN = {
    "tflite": "litert", "engine": "tensorrt", "int8": "openvino-int8", "pt": "torchscript",
    "torch.export": "torch", "pte": "executorch", "mlmodel": "coreml",
}  # fmt: skip
log = logging.getLogger("ilk")
RUNTIMES = (
    "onnx", "onnxruntime", "nncf", "torchao", "executorch", "coremltools", "litert-torch",
    "ai-edge-litert", "tensorrt",
)  # fmt: skip


def export(
    model: str | PathLike[str],
    format: str,
    *,
    output: str | PathLike[str] | None = None,
    data: Any = None,
    split: str | None = None,
    max_drop: float = 0.01,
    workers: int | None = None,
) -> Receipt:
    """Export a model, verify the file in its own runtime, and hand it over if it agrees.

    Parameters
    ----------
    model : str or Path
        A ``model.safetensors``, or the run folder that holds it.
    format : str
        ``onnx``, ``openvino-int8``, …: see `ilk.exporting.formats.FORMATS`. For the fastest on this
        machine, see `export_fastest`.
    output : str or Path, optional
        The file or folder to write; default: beside the model, named as it is.
    data : optional
        Pictures to calibrate by and to verify on, as for `evaluate`. Default: those that the model
        was trained with, where they still are, else some that its run kept.
    split : {"train", "val", "test", "all"}, optional
        Which of them to verify on; default as for `evaluate`.
    max_drop : float
        How much of the accuracy a format that rounds (int8, bf16) may lose on these pictures.
    workers : int, optional
        Threads that decode.

    Returns
    -------
    Receipt
        What was found; it stands in the file's metadata too, and beside it as JSON.

    Raises
    ------
    GateError
        The file disagrees with the model, or lost too much; it is not handed over.
    ExportError, EngineError
        The format cannot take this network, or something is not installed.
    OutputError
        It cannot be written.
    """
    refuse_unknown(format)
    refuse_bad_drop(max_drop)
    chosen, path = FORMATS[format], model_file(Path(model))
    target = target_of(Path(output) if output else None, path, chosen)
    chosen.refuse_missing()
    with hidden_folder(target.parent) as folder:  # first: nothing is worth doing if it fails
        original = Original.open(path, data, split, workers, max_drop)
        return handed_over(*made(original, chosen, folder, max_drop), target)


def refuse_unknown(format: str) -> None:
    """Refuse a format that is none, and name the nearest.

    Raises
    ------
    UsageError
    """
    if format in FORMATS:
        return
    near = ALSO_KNOWN.get(format.lower(), format.lower())
    close = get_close_matches(near, FORMATS, n=1)
    meant = f" Do you mean {close[0]}?" if close else ""
    raise UsageError(f"No format '{format}'.{meant} There is auto, {', '.join(FORMATS)}.")


def refuse_bad_drop(max_drop: float) -> None:
    """Refuse what is no share."""
    if not 0 <= max_drop <= 1:
        raise UsageError(f"max_drop = {max_drop:g}: give a share of 0 to 1; 0.01 is one point.")


def made(original: Original, chosen: Format, folder: Path, max_drop: float) -> tuple[Receipt, Path]:
    """Write a format into a folder that nobody else looks at, and verify it.

    Returns
    -------
    Receipt
    Path
        The file, with the receipt in it.

    Raises
    ------
    GateError
        It does not run, or does not agree.
    """
    number = len(original.pictures.calibrating)
    if chosen.calibrated and number < FEWEST:
        raise UsageError(
            f"{chosen.name} is calibrated by training pictures, {FEWEST} at least; there are "
            f"{number}. Give more with --data."
        )
    log.info("%s: converting", chosen.name)
    converted = chosen.convert(original.job)
    metadata = to_metadata(original.bundle, public=chosen.public)
    bare, stamped = (folder / f"{stage}-model{chosen.ending}" for stage in ("bare", "stamped"))
    with writing(folder):
        chosen.save(converted, bare, metadata)
    log.info("%s: running it beside the model", chosen.name)
    receipt = verified(original, chosen, bare)
    trouble = receipt.trouble(chosen.exact, max_drop)
    if trouble:
        raise GateError(f"{chosen.name} is not handed over: {trouble}.")
    # What is only known of the finished file cannot stand in it.
    record = receipt.to_dict()
    stamp = {k: v for k, v in record.items() if k not in {"path", "sha256", "size_bytes"}}
    with writing(folder):
        chosen.save(converted, stamped, metadata | {RECEIPT_KEY: json.dumps(stamp)})
    _refuse_other(original, chosen, stamped, receipt)
    return replace(receipt, sha256=digest_of(stamped), size_bytes=size_of(stamped)), stamped


def handed_over(receipt: Receipt, part: Path, target: Path) -> Receipt:
    """Give a file that was made its name, and lay its receipt beside it."""
    receipt = replace(receipt, path=str(target))
    record = part.with_name("receipt.json")
    with writing(target):
        write_json(record, receipt.to_dict())
        put(part, target)
        put(record, target.with_name(f"{target.name}.receipt.json"))
    return receipt


def verified(original: Original, chosen: Format, path: Path) -> Receipt:
    """Run an exported file beside its model; say why where nothing can run it."""
    receipt = Receipt(
        chosen.name,
        str(path),
        size_of(path),
        pictures=original.pictures.words,
        versions=versions(*RUNTIMES),
    )
    try:
        engine = _running(chosen, path)
    except EngineError as error:
        return replace(receipt, reason=str(error).rstrip("."))
    pictures, expected = original.pictures, original.probabilities
    try:
        found = beside(engine, pictures.pixels, expected)
    finally:
        engine.close()
    answers, wanted = found.probabilities.argmax(axis=1), expected.argmax(axis=1)
    right, reference = answers == pictures.targets, wanted == pictures.targets
    number = len(right)
    unknown = original.unknown(found.features, found.logits)
    expected_unknown = original.unknown(original.features, original.logits)
    return replace(
        receipt,
        executed=True,
        runs_in=engine.name,
        batches=found.sizes,
        max_probability_difference=found.difference,
        top1_agreement=wilson(int((answers == wanted).sum()), number),
        unknown_agreement=None
        if unknown is None
        else wilson(int((unknown == expected_unknown).sum()), number),
        accuracy=wilson(int(right.sum()), number),
        reference_accuracy=wilson(int(reference.sum()), number),
        drop=compared(reference, right),
    )


def _running(chosen: Format, path: Path) -> PieceEngine:
    """Start what runs an exported file; it was written here, and is trusted.

    Raises
    ------
    EngineError
        Nothing here runs it; its metadata was read back, if what reads it is there.
    GateError
        It does not run.
    """
    kind = kind_of(path)
    assert kind is not None, path
    try:
        if kind.elsewhere:
            from_metadata(kind.metadata_of(path), escaped(path))
            raise EngineError(f"{kind.elsewhere}; what it takes and names was read back")
        engine = open_file(path, kind, "auto", trust=True)[1]
    except ModelError as error:
        told = str(error).replace(escaped(path), "it")
        raise GateError(f"{chosen.name} is not handed over: {told}") from None
    assert isinstance(engine, PieceEngine)
    return engine


def _refuse_other(original: Original, chosen: Format, path: Path, receipt: Receipt) -> None:
    """Run a few pictures through the finished file: it must be the one that was verified."""
    if not receipt.executed:
        return
    engine = _running(chosen, path)
    try:
        few = original.pictures.pixels[:2]
        found = engine.run_in(few, 1)[0]
        gap = float(np.abs(found - original.probabilities[: len(few)]).max())
    finally:
        engine.close()
    verified_gap = receipt.max_probability_difference
    if verified_gap is None or not gap <= verified_gap + 1e-6:
        raise GateError(f"{chosen.name} is not handed over: saved again, it answers otherwise.")
