"""Common: what several families of findings share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ilk.arrays import Reals
from ilk.checking.findings.kinds import Severity
from ilk.checking.findings.records import Finding

COMMON_NUMBER, COMMON_SHARE = 20, 0.5
MAD_TO_SIGMA = 1.4826  # of a normal distribution (Hampel 1974)


def is_common(number: int, total: int) -> bool:
    """Return whether a trait of so many pictures is too common to be unusual."""
    return number > max(COMMON_NUMBER, COMMON_SHARE * total)


def per_file(
    kind: str, severity: Severity, paths: Sequence[str], remark: str, action: str, total: int
) -> Iterator[Finding]:
    """Yield a finding for each file, or a single one of severity info if the trait is common."""
    if is_common(len(paths), total):
        detail = f"{len(paths):,} of {total:,} pictures: each {remark}"
        yield Finding(kind, "info", (), detail, action)
        return
    for path in paths:
        yield Finding(kind, severity, (path,), remark, action)


def median_and_spread(values: Reals) -> tuple[float, float]:
    """Return the median of ``values [N]`` and a robust estimate of their standard deviation.

    The latter is the median absolute deviation, scaled to that of a normal distribution: unlike the
    standard deviation, it is not inflated by outliers (Leys et al. 2013).
    """
    middle = float(np.median(values))
    return middle, float(MAD_TO_SIGMA * np.median(np.abs(values - middle)))
