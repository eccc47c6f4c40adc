"""Fastest: try the formats that this machine can run, and keep the best one that is accurate."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from ilk import formats
from ilk.errors import ExportError, GateError, IlkError, OutputError, UsageError
from ilk.exporting.benchmark import in_memory
from ilk.exporting.export import check_max_drop, convert_and_verify
from ilk.exporting.publish import hidden_folder, output_path, publish
from ilk.exporting.receipt import Receipt
from ilk.exporting.reference import ReferenceModel
from ilk.exporting.timing import Speed, benchmark_interleaved
from ilk.formats.base import Format
from ilk.inference.classifier import Classifier, load, model_file
from ilk.library_warnings import quiet_libraries
from ilk.progress import ProgressOption, progress_of
from ilk.text import escaped

Goal = Literal["latency", "throughput", "size"]
OUT_OF_TIME = "no time was left"
BUDGET_S = 75.0
TIMING_S = 22.0  # of the budget, reserved for timing the candidates
ROUNDS, FILES = 4, 16  # enough to choose by
log = logging.getLogger("ilk")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A format that was tried.

    Attributes
    ----------
    receipt : Receipt or None
        None if the export failed.
    path : Path or None
        The file: in a temporary folder until it is chosen; None if it was not.
    speed : Speed or None
        None if it was not timed.
    reason : str
        Why it was not.
    failed_gate : bool
        Whether it disagreed with the model or lost too much accuracy.
    """

    name: str
    receipt: Receipt | None = None
    path: Path | None = None
    speed: Speed | None = None
    reason: str = ""
    failed_gate: bool = False

    @property
    def out_of_time(self) -> bool:
        """Whether there was no time to try it."""
        return self.reason == OUT_OF_TIME

    def to_dict(self) -> dict[str, Any]:
        """Return a row of the table that ``ilk export --json`` prints."""
        receipt = self.receipt
        return {
            "format": self.name,
            **_figures(self.speed),
            "size_bytes": receipt.size_bytes if receipt else None,
            "accuracy": receipt.accuracy.to_dict() if receipt and receipt.accuracy else None,
            "reason": self.reason,
        }


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen format, and what it was chosen from.

    Attributes
    ----------
    candidates : tuple of Candidate
        All that were tried.
    reference : Speed
        The model in PyTorch, in float32.
    current : Speed
        The model as ilk runs it unexported.
    """

    receipt: Receipt
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    reference: Speed
    current: Speed

    def to_dict(self) -> dict[str, Any]:
        """Return the receipt of the chosen format, with the table of candidates."""
        tried = [candidate.to_dict() for candidate in self.candidates]
        return self.receipt.to_dict() | {
            "tried": tried,
            "pytorch": _figures(self.reference),
            "unexported": _figures(self.current),
        }


def _figures(speed: Speed | None) -> dict[str, Any]:
    return {
        "latency_ms": speed.latency_ms() if speed else None,
        "throughput": speed.throughput if speed else None,
        "end_to_end_throughput": speed.end_to_end if speed else None,
    }


@quiet_libraries()
def export_fastest(
    model: str | PathLike[str],
    *,
    goal: Goal = "latency",
    output: str | PathLike[str] | None = None,
    data: Any = None,
    split: str | None = None,
    max_drop: float = 0.01,
    budget: float = BUDGET_S,
    workers: int | None = None,
    progress: ProgressOption = None,
) -> Choice:
    """Export a model in several formats, time them, and keep the best that is accurate.

    Parameters
    ----------
    goal : {"latency", "throughput", "size"}
        The lowest latency of one picture, the most pictures a second, or the fewest bytes.
    budget : float
        Approximate seconds for converting and timing, not counting the run of the model itself. A
        format is not begun if, going by the slowest so far, it would not fit; the first always is.
    model, output, data, split, max_drop, workers, progress
        As for `export`.

    Returns
    -------
    Choice

    Raises
    ------
    GateError
        None of them is accurate enough.
    ExportError
        None of them can be exported on this machine.
    """
    if goal not in get_args(Goal):
        raise UsageError(f"--for {goal}: give latency, throughput or size.")
    check_max_drop(max_drop)
    path = model_file(Path(model))
    wanted = Path(output) if output else None
    if wanted is not None and wanted.suffix in formats.extensions():
        raise UsageError(
            f"--output {escaped(wanted)}: auto may choose a folder or another extension; give a "
            "name without extension, or name the --format."
        )
    forms = formats.search_order(goal)
    targets = {form.name: output_path(wanted, path, form) for form in forms}
    shown = progress_of(progress)
    with hidden_folder((wanted or path).parent) as folder, shown("exporting", 0):
        reference = ReferenceModel.open(path, data, split, workers)
        deadline = time.perf_counter() + budget - TIMING_S
        tried = _try_all(reference, forms, folder, max_drop, deadline)
        log.info("Timing the candidates")
        tried, eager, current = _timed(reference, tried)
        ready = [candidate for candidate in tried if candidate.speed]
        if not ready:
            reasons = " ".join(f"{c.name}: {c.reason.rstrip('.')}." for c in tried)
            kind = GateError if any(c.failed_gate for c in tried) else ExportError
            raise kind(f"No format can be exported here and agrees with the model. {reasons}")
        best = min(ready, key=lambda candidate: _cost(candidate, goal))
        assert best.receipt is not None
        assert best.path is not None
        receipt = publish(best.receipt, best.path, targets[best.name])
    final = {c.name: _final(c, receipt if c is best else None) for c in tried}
    return Choice(receipt, final[best.name], tuple(final.values()), eager, current)


def _final(candidate: Candidate, published: Receipt | None) -> Candidate:
    """Return a candidate without the paths of its temporary files."""
    if published is not None:
        return replace(candidate, receipt=published, path=Path(published.path))
    receipt = candidate.receipt and replace(candidate.receipt, path="")
    return replace(candidate, receipt=receipt, path=None)


def _try_all(
    reference: ReferenceModel,
    forms: Sequence[Format],
    folder: Path,
    max_drop: float,
    deadline: float,
) -> list[Candidate]:
    tried: list[Candidate] = []
    slowest = 0.0
    for form in forms:
        began = time.perf_counter()
        if tried and began + slowest > deadline:
            tried.append(Candidate(form.name, reason=OUT_OF_TIME))
            continue
        subfolder = folder / form.name
        subfolder.mkdir()
        tried.append(_try(reference, form, subfolder, max_drop))
        slowest = max(slowest, time.perf_counter() - began)
    return tried


def _try(reference: ReferenceModel, form: Format, folder: Path, max_drop: float) -> Candidate:
    try:
        receipt, path = convert_and_verify(reference, form, folder, max_drop)
    except OutputError:
        raise
    except IlkError as error:
        return Candidate(form.name, reason=str(error), failed_gate=isinstance(error, GateError))
    if not receipt.executed:
        return Candidate(form.name, reason=receipt.reason)
    return Candidate(form.name, receipt, path)


def _timed(
    reference: ReferenceModel, tried: list[Candidate]
) -> tuple[list[Candidate], Speed, Speed]:
    """Time the candidates and the model itself: in PyTorch, and as ilk runs it unexported."""
    with ExitStack() as opened:

        def loaded(path: Path) -> Classifier:
            return opened.enter_context(closing(load(path, trust=True)))

        ready = {c.name: loaded(c.path) for c in tried if c.path}
        *speeds, eager, current = benchmark_interleaved(
            [*ready.values(), reference.classifier, loaded(reference.path)],
            reference.pictures.pixels,
            in_memory(reference.pictures.files[:FILES]),
            ROUNDS,
        )
    found = dict(zip(ready, speeds, strict=True))
    return [replace(c, speed=found.get(c.name)) for c in tried], eager, current


def _cost(candidate: Candidate, goal: Goal) -> float:
    assert candidate.speed is not None
    assert candidate.receipt is not None
    if goal == "size":
        return candidate.receipt.size_bytes
    if goal == "throughput":
        return -candidate.speed.throughput
    return candidate.speed.latency_ms()["p50"]
