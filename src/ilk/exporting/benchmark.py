"""Benchmark: load time, latency, throughput, size, memory and accuracy of several models."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ilk.data.catalog import Picture
from ilk.engines import Options
from ilk.errors import EngineError, UsageError
from ilk.evaluation.intervals import Measured, share
from ilk.exporting.pictures import Pictures, pictures_for
from ilk.exporting.timing import Speed, benchmark_interleaved
from ilk.folder import size_of
from ilk.formats import format_of
from ilk.inference.classifier import Classifier, applicable_options, load
from ilk.library_warnings import quiet_libraries
from ilk.models.metadata import RECEIPT_KEY
from ilk.progress import ProgressOption, progress_of
from ilk.runtime import cores

FILES = 64  # to measure the throughput from encoded bytes to predictions


@dataclass(frozen=True, eq=False)
class BenchmarkResult:
    """The cost and the accuracy of one model.

    Attributes
    ----------
    format : str
        The format it was exported in; ``safetensors`` if it was not exported.
    runs_in : str
        The runtime.
    load_s : float
        Seconds from the start of a new process to its first prediction, imports included.
    memory_bytes : int or None
        The peak memory of that process; None where the system does not report it.
    """

    artefact: str
    format: str
    runs_in: str
    speed: Speed
    size_bytes: int
    load_s: float
    memory_bytes: int | None
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


@quiet_libraries()
def benchmark(
    models: Sequence[str | PathLike[str]],
    *,
    data: Any = None,
    split: str | None = None,
    options: Options | None = None,
    workers: int | None = None,
    progress: ProgressOption = None,
) -> list[BenchmarkResult]:
    """Time models of the same classes and input size, in interleaved rounds on the same pictures.

    Parameters
    ----------
    models : sequence of str or Path
        Trained models or exported files.
    data, split, workers, progress
        As for `export`.
    options : Options, optional
        How to run the models that were not exported; exported files bring their runtime.

    Returns
    -------
    list of Benchmarked
        One for each model, in their order.

    Raises
    ------
    UsageError
        They take pictures of different sizes, or have different classes.
    """
    models = [model for model in models if not str(model).endswith(".receipt.json")]
    if not models:
        raise UsageError("Give at least one model.")
    options = options or Options()
    chosen = [applicable_options(model, options) for model in models]
    if options not in chosen:
        raise UsageError(
            "Exported files bring their own runtime; drop the flags on what to run in."
        )
    with ExitStack() as opened:
        opened.enter_context(progress_of(progress)("timing models", 0))
        classifiers = [
            opened.enter_context(closing(load(model, **asdict(its_options))))
            for model, its_options in zip(models, chosen, strict=True)
        ]
        return _benchmarked(classifiers, chosen, data, split, workers)


def _benchmarked(
    classifiers: Sequence[Classifier],
    options: Sequence[Options],
    data: Any,
    split: str | None,
    workers: int | None,
) -> list[BenchmarkResult]:
    """Time classifiers that were loaded with ``options``."""
    first = classifiers[0]
    for other in classifiers[1:]:
        if other.spec.preprocess != first.spec.preprocess or other.classes != first.classes:
            raise UsageError(
                f"{first.source} and {other.source} differ in input size, resize rule or classes; "
                "benchmark them separately."
            )
    pictures = pictures_for(
        first.spec, first.records.split_of, Path(first.source), data, split, workers
    )
    files = in_memory(pictures.files[:FILES])
    speeds = benchmark_interleaved(classifiers, pictures.pixels, files)
    return [
        _result(classifier, speed, pictures, its_options)
        for classifier, speed, its_options in zip(classifiers, speeds, options, strict=True)
    ]


def in_memory(pictures: Sequence[Picture]) -> list[Picture]:
    """Return pictures with their files' bytes, so that the disk is not measured."""
    return [Picture(p.path, content=p.read()) for p in pictures]


def _result(
    classifier: Classifier, speed: Speed, pictures: Pictures, options: Options
) -> BenchmarkResult:
    predicted = classifier.predict(pictures.pixels).probabilities.argmax(axis=1)
    path = Path(classifier.source)
    load_s, memory = measure_startup(path, options)
    return BenchmarkResult(
        classifier.source,
        _format_name(path),
        classifier.engine.name,
        speed,
        size_of(path),
        load_s,
        memory,
        share(predicted == pictures.targets),
        cores(),
    )


def _format_name(path: Path) -> str:
    """Return the name of the format that a model was exported in, by its receipt."""
    form = format_of(path)
    if form is None:
        return "safetensors"
    receipt: dict[str, str] = json.loads(form.metadata_of(path).get(RECEIPT_KEY, "{}"))
    return receipt.get("format", "")


def measure_startup(path: Path, options: Options) -> tuple[float, int | None]:
    """Return a new process's seconds to its first prediction, and its peak memory in bytes."""
    module, record = "ilk.exporting.startup_probe", json.dumps(asdict(options))
    command = [sys.executable, "-P", "-m", module, str(path), record]
    started = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"{path} cannot be loaded in a new process: {done.stderr[-300:]}")
    finished, memory = json.loads(done.stdout.splitlines()[-1])
    return finished - started, memory
