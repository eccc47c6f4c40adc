"""Out of fold: what models that did not learn from a picture think of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats, Indices, Targets
from ilk.inference.hellinger import roots
from ilk.runtime import cores

FOLDS = 5
# Weight of L2 against the mean square of a feature: much for few pictures, little for many. Between
# these, the error hardly changes.
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
ENOUGH = 5_000  # rows by which the strength is chosen
FLOOR = 0.01  # divided by K: the least probability, for nothing is impossible
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
    et al. 2003) on `roots` of the features, its strength chosen by squared error, out of fold. What
    minimises squared error is the probability, so the scores are taken for it, cut off at zero and
    made to add up to one. A fold is left out by subtracting its part of the normal equations: all
    folds and strengths together cost one pass over the features. Squares are gentle on labels that
    are wrong: in CIFAR-10, a fifth of its labels wrong, these rank higher than by a logistic
    regression (AUROC 0.971 against 0.966), in a fifth of the time.
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
    parts = list(pool.map(lambda f: _part(inputs, targets, fold == f, classes), range(FOLDS)))
    sample = np.random.default_rng(seed).permutation(len(targets))[:ENOUGH]
    choices = []
    for strength in STRENGTHS:
        layers = _layers(parts, strength, pool)
        errors = _scores(inputs[sample], fold[sample], layers)
        errors[np.arange(len(sample)), targets[sample]] -= 1
        choices.append((float(np.square(errors).mean()), layers))
    _, layers = min(choices, key=lambda choice: choice[0])
    result = _scores(inputs, fold, layers).clip(FLOOR / classes)
    result /= result.sum(axis=1, keepdims=True)
    return result


def _dealt(targets: Targets, groups: NDArray[np.generic], seed: int) -> Targets:
    """Return the fold of each picture, -1 of what takes no part; each class is dealt out evenly."""
    fold = np.full(len(targets), -1, np.int64)
    labelled = np.flatnonzero(targets >= 0)
    _, first, member = np.unique(groups[labelled], return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    label = targets[labelled][first][order]  # a group with several is dealt out with its first
    next_fold = 0
    of_group = np.empty(len(first), np.int64)
    for target in np.unique(label):
        mine = order[label == target]
        of_group[mine] = (next_fold + np.arange(len(mine))) % FOLDS
        next_fold += len(mine)
    fold[labelled] = of_group[member]
    for target in np.unique(targets[labelled]):
        rows = np.flatnonzero(targets == target)
        if len(np.unique(fold[rows])) < 2:
            fold[rows] = -1
    return fold


def _inputs(features: Floats, rows: Indices) -> Floats:
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


def _layers(parts: Sequence[Part], strength: float, pool: Executor) -> list[Floats]:
    """Return for each fold the layer [D, K] that the pictures of the others ask for."""
    gram, moments = (np.sum(terms, axis=0) for terms in zip(*parts, strict=True))
    return list(
        pool.map(lambda p: _solved(Part(gram - p.gram, moments - p.moments), strength), parts)
    )


def _solved(others: Part, strength: float) -> Floats:
    from scipy.linalg import cho_factor, cho_solve

    gram = others.gram
    gram[np.diag_indices(len(gram))] += strength * np.trace(gram) / len(gram)
    layer: Floats = cho_solve(cho_factor(gram, overwrite_a=True), others.moments).astype(np.float32)
    return layer


def _scores(inputs: Floats, fold: Targets, layers: Sequence[Floats]) -> Floats:
    """Return what the layer of each picture's fold makes of it: about a probability a class."""
    classes = layers[0].shape[1]
    scores = np.empty((len(inputs), classes), np.float32)
    for number, layer in enumerate(layers):
        scores[fold == number] = inputs[fold == number] @ layer + 1 / classes
    return scores
