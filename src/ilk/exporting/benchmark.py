"""Benchmark: load time, latency, throughput, size, memory and accuracy, beside one another."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ilk.data.catalog import Picture
from ilk.engines import Options
from ilk.engines.files import kind_of, size_of
from ilk.errors import EngineError, UsageError
from ilk.evaluation.intervals import Measured, wilson
from ilk.exporting.pictures import Pictures, pictures_for
from ilk.exporting.timing import Speed, race
from ilk.inference import Classifier, fitting
from ilk.inference.loading import load
from ilk.models.metadata import RECEIPT_KEY
from ilk.runtime import cores

FILES = 64  # of which the throughput from bytes to answers is measured


@dataclass(frozen=True, eq=False)
class Benchmarked:
    """What a model takes and gives.

    Attributes
    ----------
    artefact : str
    format : str
        The form that it was exported in; ``safetensors`` where it was not.
    runs_in : str
        What runs it.
    speed : Speed
    size_bytes : int
    load_s : float
        Seconds from the start of a new process to its first answer, imports included.
    memory_bytes : int
        The most that this process used.
    accuracy : Measured
    threads : int
    """

    artefact: str
    format: str
    runs_in: str
    speed: Speed
    size_bytes: int
    load_s: float
    memory_bytes: int
    accuracy: Measured
    threads: int

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``ilk benchmark --json`` prints."""
        speed = self.speed
        return {
            "artefact": self.artefact,
            "format": self.format,
            "runs_in": self.runs_in,
            "latency_ms": speed.latency_ms(),
            "throughput": speed.throughput,
            "batch": speed.best_batch,
            "end_to_end_throughput": speed.end_to_end,
            "size_bytes": self.size_bytes,
            "load_s": self.load_s,
            "memory_bytes": self.memory_bytes,
            "accuracy": self.accuracy.to_dict(),
            "threads": self.threads,
        }


def benchmark(
    models: Sequence[str | PathLike[str]],
    *,
    data: Any = None,
    split: str | None = None,
    options: Options | None = None,
    workers: int | None = None,
) -> list[Benchmarked]:
    """Time models of the same classes and input size, in interleaved rounds on the same pictures.

    Parameters
    ----------
    models : sequence of str or Path
        Trained models, or what was exported of them.
    data, split, workers
        Pictures, as for `export`.
    options : Options, optional
        Where and how those run that are not exported files, which bring their runtime.

    Raises
    ------
    UsageError
        They take pictures of different sizes, or have different classes.
    """
    models = [model for model in models if not str(model).endswith(".receipt.json")]
    if not models:
        raise UsageError("Give one model at least.")
    options = options or Options()
    chosen = [fitting(model, options) for model in models]
    if options not in chosen:
        raise UsageError(
            "Exported files bring their own runtime; drop the flags on what to run in."
        )
    classifiers = [load(m, **asdict(o)) for m, o in zip(models, chosen, strict=True)]
    first = classifiers[0]
    for other in classifiers[1:]:
        _refuse_other_kind(first, other)
    pictures = pictures_for(
        first.spec, first.records.seen, Path(first.source), data, split, workers
    )
    speeds = race(classifiers, pictures.pixels, in_memory(pictures.files[:FILES]))
    return [
        _benchmarked(classifier, speed, pictures, of)
        for classifier, speed, of in zip(classifiers, speeds, chosen, strict=True)
    ]


def _refuse_other_kind(a: Classifier, b: Classifier) -> None:
    if a.spec.preprocess != b.spec.preprocess or a.classes != b.classes:
        raise UsageError(
            f"{a.source} and {b.source} do not take the same pictures or do not name the same "
            "classes; benchmark them apart."
        )


def in_memory(pictures: Sequence[Picture]) -> list[Picture]:
    """Return pictures with their files' bytes: the disk is no part of what is measured."""
    return [Picture(p.path, content=p.read()) for p in pictures]


def _benchmarked(
    classifier: Classifier, speed: Speed, pictures: Pictures, options: Options
) -> Benchmarked:
    answers = classifier.predict(pictures.pixels).probabilities.argmax(axis=1)
    right = int((answers == pictures.targets).sum())
    path = Path(classifier.source)
    load_s, memory = weighed(path, options)
    return Benchmarked(
        classifier.source,
        _format_of(path),
        classifier.engine.name,
        speed,
        size_of(path),
        load_s,
        memory,
        wilson(right, len(answers)),
        cores(),
    )


def _format_of(path: Path) -> str:
    """Return the name of the form that a model was exported in, as its receipt tells it."""
    kind = kind_of(path)
    if kind is None:
        return "safetensors"
    receipt: dict[str, str] = json.loads(kind.metadata_of(path).get(RECEIPT_KEY, "{}"))
    return receipt.get("format", "")


def weighed(path: Path, options: Options) -> tuple[float, int]:
    """Return the seconds and the bytes of memory that a new process takes to its first answer."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "ilk.exporting.startup_probe",
        str(path),
        json.dumps(asdict(options)),
    ]
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"{path} cannot be loaded in a process of its own: {done.stderr[-300:]}")
    answered, memory = json.loads(done.stdout.splitlines()[-1])
    return answered - began, memory
