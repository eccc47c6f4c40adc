"""Export: convert a model, run the file, and publish it only if it agrees."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from ilk.errors import GateError, UsageError
from ilk.exporting.publish import hidden_folder, output_path, publish, writing
from ilk.exporting.receipt import Receipt
from ilk.exporting.reference import ReferenceModel
from ilk.exporting.verify import check_stamped, verify
from ilk.folder import digest_of, size_of
from ilk.formats import FORMATS, format_named
from ilk.formats.base import Format
from ilk.formats.graphs import MIN_CALIBRATION
from ilk.formats.options import ExportOptions
from ilk.inference.classifier import model_file
from ilk.library_warnings import quiet_libraries
from ilk.models.metadata import RECEIPT_KEY, to_metadata
from ilk.progress import ProgressOption, progress_of

log = logging.getLogger("ilk")


@quiet_libraries()
def export(
    model: str | PathLike[str],
    format: str,
    *,
    output: str | PathLike[str] | None = None,
    data: Any = None,
    split: str | None = None,
    max_drop: float = 0.01,
    workers: int | None = None,
    opset: int | None = None,
    half: bool = False,
    imgsz: int | None = None,
    progress: ProgressOption = None,
) -> Receipt:
    """Export a model, verify the file in its own runtime, and publish it if it agrees.

    Parameters
    ----------
    model : str or Path
        A ``model.safetensors``, or the run folder that holds it.
    format : str
        ``onnx``, ``openvino-int8``, …: a name in `ilk.formats.FORMATS`. For the fastest on this
        machine, see `export_fastest`.
    output : str or Path, optional
        The file or folder to write; default: beside the model, under its name.
    data : optional
        Pictures to calibrate with and to verify on, as for `evaluate`. Default: those of the
        training if they are still there, else the ones that its run kept.
    split : {"train", "val", "test", "all"}, optional
        Which of them to verify on; default as for `evaluate`.
    max_drop : float
        How much accuracy a reduced-precision format (int8, bf16) may lose on these pictures.
    workers : int, optional
        Decoding threads.
    opset : int, optional
        The opset of an ONNX file, 18 to 23; default 20.
    half : bool
        ONNX in float16: half the size. It is verified like other reduced precision.
    imgsz : int, optional
        The side of the input in pixels, if it is to be another than in training. The file is
        compared with the model at that size; the detector of out-of-distribution pictures and
        the thresholds were made for the other one.
    progress : bool or Progress, optional
        Whether to show progress on stderr. Default: bars, in terminals and notebooks only. True:
        elsewhere lines, every few seconds.

    Returns
    -------
    Receipt
        What was measured; also in the file's metadata, and beside the file as JSON.

    Raises
    ------
    UsageError
        An option does not apply to the format, or the backbone takes one size only.
    GateError
        The file disagrees with the model, or lost too much accuracy; it is not published.
    ExportError, EngineError
        The format cannot represent this network, or a library is missing.
    OutputError
        The file cannot be written.
    """
    form = format_named(format)
    options = ExportOptions(opset, half, imgsz)
    check_options(form, options)
    check_max_drop(max_drop)
    path = model_file(Path(model))
    target = output_path(Path(output) if output else None, path, form)
    form.check_requirements()
    shown = progress_of(progress)
    with (
        hidden_folder(target.parent) as folder,
        shown(f"exporting to {form.name}", 0),
    ):  # first: without it, all work would be lost
        reference = ReferenceModel.open(path, data, split, workers, max_drop, options)
        return publish(*convert_and_verify(reference, form, folder, max_drop), target)


def check_options(form: Format, options: ExportOptions) -> None:
    """Refuse options that do not apply to a format."""
    for name in options.given():
        if name not in form.options:
            fitting = [other.name for other in FORMATS if name in other.options]
            raise UsageError(
                f"--{name} does not apply to --format {form.name}, only to {', '.join(fitting)}."
            )


def check_max_drop(max_drop: float) -> None:
    """Refuse a drop in accuracy outside of 0 to 1."""
    if not 0 <= max_drop <= 1:
        raise UsageError(
            f"max_drop = {max_drop:g}: give a share from 0 to 1; 0.01 is one percentage point."
        )


def convert_and_verify(
    reference: ReferenceModel, form: Format, folder: Path, max_drop: float
) -> tuple[Receipt, Path]:
    """Write a format into a private folder, and verify it.

    Returns
    -------
    Path
        The file, with the receipt in its metadata.

    Raises
    ------
    GateError
        It does not run, or does not agree.
    """
    form.check_requirements()
    number = len(reference.pictures.calibration)
    if form.calibrated and number < MIN_CALIBRATION:
        raise UsageError(
            f"{form.name} is calibrated with training pictures and needs at least "
            f"{MIN_CALIBRATION}; there are {number}. Give more with --data."
        )
    log.info("%s: converting", form.name)
    converted = form.convert(reference.job)
    metadata = to_metadata(reference.bundle, public=form.public)
    bare, stamped = (folder / f"{stage}-model{form.suffix}" for stage in ("bare", "stamped"))
    with writing(folder):
        form.save(converted, bare, metadata)
    log.info("%s: comparing it with the model", form.name)
    receipt = verify(reference, form, bare)
    if span := reference.bundle.spec.preprocess.conversion.range:
        log.warning(
            "%s takes pixels of 8 bits: of pictures with more, %g to %g become 0 to 255 first, as "
            "'ilk predict' and ilk.load do.", form.name, *span,
        )  # fmt: skip
    failed = receipt.failed_gate(form.exact and not reference.options.half, max_drop)
    if failed:
        raise GateError(f"{form.name} is not exported: {failed}.")
    # What depends on the finished file cannot be part of it.
    record = receipt.to_dict()
    stamp = {k: v for k, v in record.items() if k not in {"path", "sha256", "size_bytes"}}
    with writing(folder):
        form.save(converted, stamped, metadata | {RECEIPT_KEY: json.dumps(stamp)})
    check_stamped(reference, form, stamped, receipt)
    return replace(receipt, sha256=digest_of(stamped), size_bytes=size_of(stamped)), stamped
