"""Verify: run an exported file on the same pictures as its model, and compare the outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.data.decode import size_of as picture_size
from ilk.data.limits import too_many
from ilk.engines.base import ChunkedEngine
from ilk.errors import EngineError, GateError, ModelError
from ilk.evaluation.comparison import compared
from ilk.evaluation.intervals import share
from ilk.exporting.plain_pillow import by_pillow, is_jpeg
from ilk.exporting.receipt import FromJpeg, Receipt
from ilk.exporting.reference import ReferenceModel
from ilk.folder import size_of
from ilk.formats import receipt_packages
from ilk.formats.base import Format
from ilk.models.metadata import from_metadata
from ilk.runtime import versions
from ilk.text import escaped

BATCH_SIZES = (1, 2, 7, 32)  # the last one runs all pictures


class OutputDifference(NamedTuple):
    """The outputs of an exported file, and how far they are from its model's.

    Attributes
    ----------
    probabilities : float32 array [N, K]
    logits : float32 array [N, K]
    features : float32 array [N, D]
    largest : float
        The largest difference in probability, at any batch size; nan if any output is not finite.
    batch_sizes : tuple of int
        The batch sizes that were tried.
    """

    probabilities: Floats
    logits: Floats
    features: Floats
    largest: float
    batch_sizes: tuple[int, ...]


def verify(reference: ReferenceModel, form: Format, path: Path) -> Receipt:
    """Compare an exported file with its model; if nothing can run it, the receipt says why."""
    receipt = Receipt(
        form.name,
        str(path),
        size_of(path),
        pictures=reference.pictures.description,
        versions=versions(*receipt_packages()),
        options=reference.options.given(),
    )
    try:
        engine = _open(form, path)
    except EngineError as error:
        return replace(receipt, reason=str(error).rstrip("."))
    pictures, expected = reference.pictures, reference.probabilities
    try:
        found = compare_outputs(engine, pictures.pixels, expected)
        from_jpeg = compare_from_jpeg(engine, found, reference)
    finally:
        engine.close()
    predicted, wanted = found.probabilities.argmax(axis=1), expected.argmax(axis=1)
    correct, reference_correct = predicted == pictures.targets, wanted == pictures.targets
    unknown = reference.unknown(found.features, found.logits)
    expected_unknown = reference.unknown(reference.features, reference.logits)
    return replace(
        receipt,
        executed=True,
        runs_in=engine.name,
        batches=found.batch_sizes,
        max_probability_difference=found.largest,
        top1_agreement=share(predicted == wanted),
        unknown_agreement=None if unknown is None else share(unknown == expected_unknown),
        accuracy=share(correct),
        reference_accuracy=share(reference_correct),
        drop=compared(reference_correct, correct),
        from_jpeg=from_jpeg,
    )


def compare_outputs(engine: ChunkedEngine, pixels: Pixels, expected: Floats) -> OutputDifference:
    """Run pictures in batches of 1, 2, 7 and 32, and in the chunks that the engine prefers.

    Batch sizes above the number of pictures, or above what the file accepts, are cut to that.

    Parameters
    ----------
    engine : ChunkedEngine
        Runs the exported file.
    pixels : uint8 array [N, S, S, 3]
        N is at least 1.
    expected : float32 array [N, K]
        The model's probabilities.
    """
    most = min(len(pixels), engine.max_batch or len(pixels))
    *small, largest = dict.fromkeys(min(size, most) for size in BATCH_SIZES)
    outputs = engine.run_in_chunks(pixels, largest)
    gaps = [np.abs(outputs[0] - expected).max()]
    for size in small:
        some = pixels[: 2 * size]
        gaps.append(np.abs(engine.run_in_chunks(some, size)[0] - expected[: len(some)]).max())
    some = pixels[:largest]
    gaps.append(np.abs(engine.run_fastest(some)[0] - expected[:largest]).max())
    finite = all(bool(np.isfinite(output).all()) for output in outputs)
    gap = float(np.max(gaps)) if finite else float("nan")  # max() would pass over a nan
    probabilities, logits, features = outputs
    return OutputDifference(probabilities, logits, features, gap, (*small, largest))


def compare_from_jpeg(
    engine: ChunkedEngine, found: OutputDifference, reference: ReferenceModel
) -> FromJpeg | None:
    """Compare what the file says of JPEGs that Pillow decoded with what the model says of them.

    Those beyond Pillow's limit of pixels are left out. Only pixels that differ are run again;
    usually there are none.
    """
    pictures, preprocess = reference.pictures, reference.bundle.spec.preprocess
    encoded = ((i, picture.read()) for i, picture in enumerate(pictures.files))
    jpegs = (
        (i, data) for i, data in encoded if is_jpeg(data) and not too_many(*picture_size(data))
    )
    pixels = {i: by_pillow(data, preprocess) for i, data in jpegs}
    if not pixels:
        return None
    probabilities = found.probabilities.copy()
    other = [i for i in pixels if not np.array_equal(pixels[i], pictures.pixels[i])]
    if other:
        again = np.stack([pixels[i] for i in other])
        probabilities[other] = engine.run_in_chunks(again, found.batch_sizes[-1])[0]
    rows = list(pixels)
    mine, expected = probabilities[rows], reference.probabilities[rows]
    agree = mine.argmax(axis=1) == expected.argmax(axis=1)
    return FromJpeg(share(agree), float(np.abs(mine - expected).max()))


def check_stamped(reference: ReferenceModel, form: Format, path: Path, receipt: Receipt) -> None:
    """Run a few pictures through the file with the receipt: it must be the one verified."""
    if not receipt.executed:
        return
    engine = _open(form, path)
    try:
        few = reference.pictures.pixels[:2]
        found = engine.run_in_chunks(few, 1)[0]
        gap = float(np.abs(found - reference.probabilities[: len(few)]).max())
    finally:
        engine.close()
    verified_gap = receipt.max_probability_difference
    if verified_gap is None or not gap <= verified_gap + 1e-6:
        raise GateError(
            f"{form.name} is not exported: with the receipt in it, the file gives other outputs."
        )


def _open(form: Format, path: Path) -> ChunkedEngine:
    """Open a file that was just written, and so is trusted.

    Raises
    ------
    EngineError
        Nothing on this machine runs it; its metadata could be read back.
    GateError
        It does not run.
    """
    try:
        if form.runs_elsewhere:
            from_metadata(form.metadata_of(path), escaped(path))
            raise EngineError(f"{form.runs_elsewhere}; its inputs and class names were read back")
        return form.load(path, trust=True)[1]
    except ModelError as error:
        reason = str(error).replace(escaped(path), "the file")
        raise GateError(f"{form.name} is not exported: {reason}") from None
