"""Intervals: 95 % intervals of scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Mask
from ilk.evaluation.units import Units

Z95 = 1.959963984540054
RESAMPLES = 1000
# The time of a draw grows with the square of the number of classes: 20 ms for 1,000.
MANY_CLASSES, RESAMPLES_OF_MANY = 200, 200
VALUES_TOGETHER = 1 << 20  # of resampled matrices that are scored in one go: 8 MB


@dataclass(frozen=True)
class Measured:
    """A quantity with its 95 % interval, and the number of independent pictures behind it.

    Copies, and pictures of a group, count as one: see `ilk.evaluation.units`.
    """

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Return the record that scripts rely on; ``value`` is None without pictures."""
        return {**asdict(self), "value": None if math.isnan(self.value) else self.value}

    def __str__(self) -> str:
        if self.n == 0:
            return "not measured (n = 0)"
        return (
            f"{100 * self.value:.1f} % (95 % interval {100 * self.low:.1f} to "
            f"{100 * self.high:.1f}, n = {self.n:,})"
        )


def wilson(successes: float, n: float) -> Measured:
    """Return a proportion with its Wilson score interval (Wilson 1927; Brown et al. 2001).

    ``n`` is not a whole number if it is an effective one.
    """
    if n == 0:
        return Measured(math.nan, 0.0, 1.0, 0)
    rate = successes / n
    centre = rate + Z95**2 / (2 * n)
    spread = Z95 * math.sqrt(rate * (1 - rate) / n + Z95**2 / (4 * n * n))
    scale = 1 + Z95**2 / n
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return Measured(rate, max(0.0, min(low, rate)), min(1.0, max(high, rate)), round(n))


def share(flags: Mask, units: Units | None = None) -> Measured:
    """Return the share of flags that are set, ``bool [n]``, with its Wilson score interval.

    With ``units`` the interval is that of the effective number of pictures, as for survey data
    (Korn & Graubard 1998), and ``n`` the number of units.
    """
    hits = int(flags.sum())
    if units is None or not len(flags):
        return wilson(hits, len(flags))
    number = units.effective_number(flags)
    return replace(
        wilson(hits / len(flags) * number, number), value=hits / len(flags), n=len(units)
    )


def around(value: float, draws: Sequence[float] | NDArray[np.float64], n: int) -> Measured:
    """Return a score within 0 to 1 with the spread of biased ``draws`` of it as its interval."""
    low, middle, high = np.quantile(draws, [0.025, 0.5, 0.975])
    below, above = value - (middle - low), value + (high - middle)
    return Measured(value, max(0.0, float(below)), min(1.0, float(above)), n)


def resamples(
    n: int, seed: int = 0, number: int = 500, units: Units | None = None
) -> Iterator[NDArray[np.float64]]:
    """Yield how often each picture is drawn in a bootstrap resample, ``float64 [n]`` (Efron 1979).

    With ``units``, whole units are drawn (Davison & Hinkley 1997, section 3.8), and the numbers
    scaled to a sum of n.
    """
    draw = np.random.default_rng(seed)
    group = np.arange(n) if units is None else np.unique(units.group, return_inverse=True)[1]
    groups = n if units is None else len(units)
    for _ in range(number):
        drawn = np.bincount(draw.integers(groups, size=groups), minlength=groups)[group]
        yield drawn * (n / max(1, drawn.sum()))


def mean(values: NDArray[np.floating[Any]], seed: int = 0, units: Units | None = None) -> Measured:
    """Return the mean of values ``[n]`` with its interval by a bootstrap over units."""
    n = len(values)
    if n == 0:
        return Measured(math.nan, -math.inf, math.inf, 0)
    means = [float(values @ weights) / n for weights in resamples(n, seed, units=units)]
    low, high = np.quantile(means, [0.025, 0.975])
    number = n if units is None else len(units)
    return Measured(float(values.mean()), float(low), float(high), number)


def bootstrap(
    confusion: NDArray[np.int64],
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    seed: int = 0,
    effective: NDArray[np.float64] | None = None,
) -> Measured:
    """Return a score of a confusion matrix with its interval by a stratified Bayesian bootstrap.

    The pictures of each true class get random Dirichlet weights (Rubin 1981), i.e. each row of the
    matrix is sampled. Jeffreys' prior, half a hit and half a miss in each class, keeps the interval
    from collapsing where a class has few or no mistakes (Brown et al. 2001).

    Parameters
    ----------
    confusion : int array [K, K]
        Rows are true classes, columns predicted ones.
    score : callable
        Maps matrices ``[..., K, K]`` to scores ``[...]``.
    effective : float array [K], optional
        The effective number of pictures of each true class, if they are not independent.
    """
    rows = confusion.sum(axis=1)
    present = rows > 0
    number = len(confusion)
    prior = np.full((number, number), 0.5 / max(1, number - 1))
    np.fill_diagonal(prior, 0.5)
    shrink = 1.0 if effective is None else (effective / np.maximum(rows, 1))[:, None]
    posterior = (confusion * shrink + prior)[present]
    rng = np.random.default_rng(seed)
    draws = np.empty(RESAMPLES if number <= MANY_CLASSES else RESAMPLES_OF_MANY)
    together = max(1, VALUES_TOGETHER // max(1, confusion.size))
    for start in range(0, len(draws), together):
        some = draws[start : start + together]
        weights = rng.standard_gamma(posterior, size=(len(some), *posterior.shape))
        samples = np.zeros((len(some), *confusion.shape))
        scale = rows[present] / weights.sum(axis=-1)
        samples[:, present] = weights * scale[..., None]
        some[:] = score(samples)
    value = float(score(confusion.astype(np.float64)))
    return around(value, draws, int(rows.sum()))  # the prior biases the draws
