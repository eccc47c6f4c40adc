"""The public functions, one verb a file. Each reads like the sentence it is."""

from ilk.api.checking import check
from ilk.api.comparing import compare
from ilk.api.evaluation import evaluate, load
from ilk.api.training import find_rate, train

__all__ = ["check", "compare", "evaluate", "find_rate", "load", "train"]
