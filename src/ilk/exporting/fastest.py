"""Fastest: try the forms that this machine can run, and keep the best that holds its accuracy."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from ilk.engines.files import KINDS
from ilk.errors import ExportError, GateError, IlkError, OutputError, UsageError
from ilk.exporting.benchmark import in_memory
from ilk.exporting.export import handed_over, made, refuse_bad_drop
from ilk.exporting.formats import FORMATS
from ilk.exporting.place import hidden_folder, target_of
from ilk.exporting.receipt import Receipt
from ilk.exporting.reference import Original
from ilk.exporting.timing import Speed, race
from ilk.inference import model_file
from ilk.inference.loading import load
from ilk.runtime import installed
from ilk.text import escaped

Goal = Literal["latency", "throughput", "size"]
FORMS = (  # the likeliest first
    "tensorrt",
    "openvino-int8",
    "openvino-bf16",
    "openvino",
    "onnx-int8",
    "onnx",
    "torch-aot",
    "executorch-int8",
)
SMALL = ("onnx-int8", "openvino-int8", "executorch-int8")  # of these one is always the smallest
SPECIAL = {"tensorrt": "tensorrt", "executorch-int8": "executorch"}  # tried where these are
LATE = "no time was left"
log = logging.getLogger("ilk")
BUDGET = 75.0  # seconds
RACE = 22.0  # of them, kept back for timing what was made
ROUNDS, FILES = 4, 16  # that suffice to choose by


@dataclass(frozen=True, eq=False)
class Candidate:
    """A form that was tried.

    Attributes
    ----------
    name : str
    receipt : Receipt or None
        None where it was not made, or did not pass.
    part : Path or None
        Where it lies until one is chosen.
    speed : Speed or None
        None where it was not timed.
    reason : str
        Why it was not.
    refused : bool
        Whether it did not pass the gate.
    """

    name: str
    receipt: Receipt | None = None
    part: Path | None = None
    speed: Speed | None = None
    reason: str = ""
    refused: bool = False

    @property
    def late(self) -> bool:
        """Whether there was no time to try it."""
        return self.reason == LATE

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
    """What was chosen, and from what.

    Attributes
    ----------
    receipt : Receipt
    chosen : Candidate
    candidates : tuple of Candidate
        All that were tried.
    reference : Speed
        Of the model in PyTorch, in float32.
    current : Speed
        Of the model as ilk runs it unexported.
    """

    receipt: Receipt
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    reference: Speed
    current: Speed

    def to_dict(self) -> dict[str, Any]:
        """Return the receipt of what was chosen, with the table."""
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


def export_fastest(
    model: str | PathLike[str],
    *,
    goal: Goal = "latency",
    output: str | PathLike[str] | None = None,
    data: Any = None,
    split: str | None = None,
    max_drop: float = 0.01,
    budget: float = BUDGET,
    workers: int | None = None,
) -> Choice:
    """Export a model in several forms, time them, and keep the best whose accuracy holds.

    Parameters
    ----------
    goal : {"latency", "throughput", "size"}
        The least time for one picture, the most pictures a second, or the fewest bytes.
    budget : float
        Seconds that trying and timing may take, about, once the model itself has been run: no
        further form is begun that would not fit, going by the slowest so far; the first always is.
    model, output, data, split, max_drop, workers
        As for `export`.

    Raises
    ------
    GateError
        None of them holds its accuracy.
    ExportError
        None of them can be had here.
    """
    if goal not in get_args(Goal):
        raise UsageError(f"--for {goal}: give latency, throughput or size.")
    refuse_bad_drop(max_drop)
    path = model_file(Path(model))
    wanted = Path(output) if output else None
    if wanted is not None and wanted.suffix in KINDS:
        raise UsageError(
            f"--output {escaped(wanted)}: auto may choose a folder or another kind of file; give a "
            "name without ending, or the --format."
        )
    names = forms_here(goal)
    targets = {name: target_of(wanted, path, FORMATS[name]) for name in names}
    with hidden_folder((wanted or path).parent) as folder:
        original = Original.open(path, data, split, workers)
        ends = time.perf_counter() + budget - RACE
        tried = _all_tried(original, names, folder, max_drop, ends)
        log.info("Timing what was made")
        tried, reference, current = _timed(original, tried)
        ready = [candidate for candidate in tried if candidate.speed]
        if not ready:
            reasons = " ".join(f"{c.name}: {c.reason.rstrip('.')}." for c in tried)
            kind = GateError if any(c.refused for c in tried) else ExportError
            raise kind(f"No form is both to be had here and true to the model. {reasons}")
        best = min(ready, key=_cost(goal))
        assert best.receipt is not None
        assert best.part is not None
        receipt = handed_over(best.receipt, best.part, targets[best.name])
    return Choice(receipt, best, tuple(tried), reference, current)


def forms_here(goal: Goal) -> tuple[str, ...]:
    """Return the forms that are tried on this machine, the likeliest first."""
    names = SMALL if goal == "size" else FORMS
    return tuple(name for name in names if name not in SPECIAL or installed(SPECIAL[name]))


def _all_tried(
    original: Original, names: Sequence[str], folder: Path, max_drop: float, ends: float
) -> list[Candidate]:
    tried: list[Candidate] = []
    slowest = 0.0
    for name in names:
        began = time.perf_counter()
        if tried and began + slowest > ends:
            tried.append(Candidate(name, reason=LATE))
            continue
        place = folder / name
        place.mkdir()
        tried.append(_tried(original, name, place, max_drop))
        slowest = max(slowest, time.perf_counter() - began)
    return tried


def _tried(original: Original, name: str, folder: Path, max_drop: float) -> Candidate:
    try:
        receipt, part = made(original, FORMATS[name], folder, max_drop)
    except OutputError:
        raise
    except IlkError as error:
        return Candidate(name, reason=str(error), refused=isinstance(error, GateError))
    if not receipt.executed:
        return Candidate(name, reason=receipt.reason)
    return Candidate(name, receipt, part)


def _timed(original: Original, tried: list[Candidate]) -> tuple[list[Candidate], Speed, Speed]:
    """Time what was made, and the model itself: in PyTorch, and as ilk runs it unexported."""
    ready = {c.name: load(c.part, trust=True) for c in tried if c.part}
    files = in_memory(original.pictures.files[:FILES])
    *speeds, reference, current = race(
        [*ready.values(), original.classifier, load(original.path)],
        original.pictures.pixels,
        files,
        ROUNDS,
    )
    found = dict(zip(ready, speeds, strict=True))
    return [replace(c, speed=found.get(c.name)) for c in tried], reference, current


def _cost(goal: Goal) -> Callable[[Candidate], float]:
    def cost(candidate: Candidate) -> float:
        assert candidate.speed is not None
        assert candidate.receipt is not None
        if goal == "size":
            return candidate.receipt.size_bytes
        if goal == "throughput":
            return -candidate.speed.throughput
        return candidate.speed.latency_ms()["p50"]

    return cost
