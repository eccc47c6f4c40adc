"""The public functions, one verb a file. Each reads like the sentence it is."""

from ilk.api.benchmarking import benchmark
from ilk.api.checking import check
from ilk.api.comparing import compare
from ilk.api.evaluation import evaluate, load
from ilk.api.explaining import explain, explained_mistakes
from ilk.api.exporting import export
from ilk.api.fastest import export_fastest
from ilk.api.rate import find_rate
from ilk.api.remote import Remote
from ilk.api.serving import export_feedback, serve
from ilk.api.thresholds import (
    choose_threshold,
    refuse_read_only,
    store_threshold,
    with_threshold,
)
from ilk.api.training import train

__all__ = [
    "Remote",
    "benchmark",
    "check",
    "choose_threshold",
    "compare",
    "evaluate",
    "explain",
    "explained_mistakes",
    "export",
    "export_fastest",
    "export_feedback",
    "find_rate",
    "load",
    "refuse_read_only",
    "serve",
    "store_threshold",
    "train",
    "with_threshold",
]
