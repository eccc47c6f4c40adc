"""Check: say what is wrong with the pictures."""

from __future__ import annotations

from typing import Any

from ilk.data.checks import Findings, run_checks
from ilk.data.sources import open_catalog
from ilk.runtime import Progress, silent


def check(data: Any, *, workers: int | None = None, progress: Progress = silent) -> Findings:
    """Read every picture once, and say what is wrong with the data.

    Parameters
    ----------
    data : str, Path, Catalog, or tuple (images, labels)
    workers : int, optional
        Decoding threads; default one a core.
    progress : Progress
        Shows how far the work has come; default: nothing. See `ilk.runtime.silent`.
    """
    return run_checks(open_catalog(data), workers, progress)
