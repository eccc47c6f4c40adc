"""Out of fold: what models that did not learn from a picture think of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ilk.data.roots import roots
from ilk.engines.base import Floats
from ilk.runtime import cores

Targets = NDArray[np.int64]
Rows = NDArray[np.intp]

FOLDS = 5
# Weight of L2 against the mean square of a feature: much for few pictures, little for many. Between
# these, the log loss hardly changes.
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
ENOUGH = 5_000  # rows by which strength and temperature are chosen
TEMPERATURES = 0.1, 100.0  # inverse, the softest and the sharpest
BLOCK = 8_192  # rows multiplied at a time, for memory


def out_of_fold(
    features: Floats,
    targets: Targets,
    classes: int,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Floats | None:
    """Return class probabilities of each picture by a model that did not learn from it.

    Parameters
    ----------
    features : float32 array [N, D]
    targets : int64 array [N]
        Classes 0..K-1; -1 of pictures without a label.
    classes : int
        K.
    groups : sequence of str, optional
        Pictures of one group, as copies are, come into one fold: else a model would know them.
    seed : int
        Deals the pictures out.

    Returns
    -------
    float32 array [N, K], optional
        Rows of NaN for pictures without a label, and for those of a class that has but one group:
        without it, no model knows that class. None if fewer than two classes are left.

    Notes
    -----
    Ridge regression to the classes' indicators ("Regularized least-squares classification", Rifkin
    et al. 2003) on `roots` of the features. A fold is left out by subtracting its part of the
    normal equations, so that all folds together cost one pass over the features. Squares are
    gentler than log losses on labels that are wrong: on CIFAR-10 with a fifth of its labels wrong
    as on cats_dogs, the suspects are found at least as well as by logistic regression. A softmax
    makes probabilities of the scores; its temperature ("On calibration of modern neural networks",
    Guo et al. 2017) and the strength of L2 are chosen by log loss, out of fold.
    """
    from threadpoolctl import threadpool_limits

    fold = _dealt(targets, np.arange(len(targets)) if groups is None else np.array(groups), seed)
    rows = np.flatnonzero(fold >= 0)
    if len(np.unique(targets[rows])) < 2:
        return None
    result = np.full((len(targets), classes), np.nan, np.float32)
    # Threads of BLAS wait for one another at each step; folds do not.
    with threadpool_limits(1), ThreadPoolExecutor(cores()) as pool:
        result[rows] = _fitted(
            _inputs(features, rows), targets[rows], fold[rows], classes, seed, pool
        )
    return result


def _fitted(
    inputs: Floats, targets: Targets, fold: Targets, classes: int, seed: int, pool: Executor
) -> Floats:
    """Return the probabilities of pictures, all of which take part."""
    from scipy.special import softmax

    sample = np.random.default_rng(seed).permutation(len(targets))[:ENOUGH]
    chosen = inputs[sample], targets[sample], fold[sample]
    parts = list(pool.map(lambda f: _part(inputs, targets, fold == f, classes), range(FOLDS)))
    choices = [_tried(parts, strength, *chosen, pool) for strength in STRENGTHS]
    best = min(choices, key=lambda choice: choice.loss)
    result: Floats = softmax(best.temperature * _scores(inputs, fold, best.layers), axis=1)
    return result


def _dealt(targets: Targets, groups: NDArray[np.generic], seed: int) -> Targets:
    """Return the fold of each picture, -1 of what takes no part; each class is dealt out evenly."""
    fold = np.full(len(targets), -1, np.int64)
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    label = targets[first][order]  # a group with several labels is dealt out with its first
    next_fold = 0
    of_group = np.full(len(first), -1, np.int64)
    for target in np.unique(label[label >= 0]):
        mine = order[label == target]
        of_group[mine] = (next_fold + np.arange(len(mine))) % FOLDS
        next_fold += len(mine)
    labelled = targets >= 0
    fold[labelled] = of_group[member][labelled]
    for target in np.unique(targets[labelled]):
        rows = np.flatnonzero(targets == target)
        if len(np.unique(fold[rows])) < 2:
            fold[rows] = -1
    return fold


def _inputs(features: Floats, rows: Rows) -> Floats:
    """Return the roots of some rows of the features, centred, with a constant for the bias."""
    inputs = np.ones((len(rows), features.shape[1] + 1), np.float32)
    for start in range(0, len(rows), BLOCK):
        inputs[start : start + BLOCK, :-1] = roots(features[rows[start : start + BLOCK]])
    inputs[:, :-1] -= inputs[:, :-1].mean(axis=0)
    return inputs


class Part(NamedTuple):
    """The normal equations of one fold: ``gram [D, D]`` and ``moments [D, K]``, float64."""

    gram: NDArray[np.float64]
    moments: NDArray[np.float64]


def _part(inputs: Floats, targets: Targets, mine: NDArray[np.bool_], classes: int) -> Part:
    rows, width = np.flatnonzero(mine), inputs.shape[1]
    gram, moments = np.zeros((width, width)), np.zeros((width, classes))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        indicators = np.full((len(block), classes), -1 / classes, np.float32)
        indicators[np.arange(len(block)), targets[block]] += 1
        gram += inputs[block].T @ inputs[block]
        moments += inputs[block].T @ indicators
    return Part(gram, moments)


class Choice(NamedTuple):
    """The log loss out of fold at the best inverse temperature, and each fold's layer [D, K]."""

    loss: float
    temperature: float
    layers: list[Floats]


def _tried(
    parts: Sequence[Part],
    strength: float,
    inputs: Floats,
    targets: Targets,
    fold: Targets,
    pool: Executor,
) -> Choice:
    """Solve the folds with one strength of L2, and find the temperature that suits it."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    gram, moments = (np.sum(terms, axis=0) for terms in zip(*parts, strict=True))
    layers = list(
        pool.map(lambda p: _solved(Part(gram - p.gram, moments - p.moments), strength), parts)
    )
    scores = _scores(inputs, fold, layers)

    def loss(logarithm: float) -> float:
        log_p = log_softmax(np.exp(logarithm) * scores, axis=1)
        return -float(log_p[np.arange(len(targets)), targets].mean())

    found = minimize_scalar(
        loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 0.01}
    )
    return Choice(float(found.fun), float(np.exp(found.x)), layers)


def _solved(others: Part, strength: float) -> Floats:
    """Return the layer that the other folds' pictures ask for."""
    from scipy.linalg import cho_factor, cho_solve

    gram = others.gram
    gram[np.diag_indices(len(gram))] += strength * np.trace(gram) / len(gram)
    layer: Floats = cho_solve(cho_factor(gram, overwrite_a=True), others.moments).astype(np.float32)
    return layer


def _scores(inputs: Floats, fold: Targets, layers: Sequence[Floats]) -> Floats:
    scores = np.empty((len(inputs), layers[0].shape[1]), np.float32)
    for number, layer in enumerate(layers):
        scores[fold == number] = inputs[fold == number] @ layer
    return scores
