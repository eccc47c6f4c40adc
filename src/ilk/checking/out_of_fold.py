"""Out of fold: predictions by models that were not trained on the picture."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats, Indices, Targets, numbered
from ilk.inference.hellinger import hellinger
from ilk.runtime import cores

FOLDS = 5
# L2 regularisation relative to the mean square of a feature. A finer grid changes little.
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
SAMPLE = 5_000  # pictures on which the strength is chosen
FLOOR = 0.01  # divided by K: the lowest probability
BLOCK = 8_192  # pictures multiplied at a time, for memory


def out_of_fold(
    features: Floats,
    targets: Targets,
    classes: int,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Floats | None:
    """Return class probabilities of each picture by a model that was not trained on it.

    Parameters
    ----------
    features : float32 array [N, D]
    targets : int64 array [N]
        Classes 0..K-1; -1 for pictures without a label.
    classes : int
        K.
    groups : sequence of str, optional
        Pictures of one group, such as copies, go into the same fold.
    seed : int
        Seed of the assignment to folds.

    Returns
    -------
    float32 array [N, K], optional
        NaN for pictures without a label, and for those of a class with a single group, which no
        model could learn without it. None if fewer than two classes are left.

    Notes
    -----
    Ridge regression on one-hot targets ("Regularized least-squares classification", Rifkin et al.
    2003) of `hellinger` features, its strength chosen by out-of-fold squared error. The minimiser
    of squared error is the class probability, so scores are clipped at zero and normalised. A fold
    is left out by subtracting its part of the normal equations: all folds and strengths together
    take one pass over the features. Squared error is robust to wrong labels: on CIFAR-10 with a
    fifth of the labels wrong, it ranks them better than logistic regression (AUROC 0.971 against
    0.966) in a fifth of the time.
    """
    from threadpoolctl import threadpool_limits

    names = np.arange(len(targets)) if groups is None else numbered(groups)
    fold = assign_folds(targets, names, seed)
    used = np.flatnonzero(fold >= 0)
    if len(np.unique(targets[used])) < 2:
        return None
    result = np.full((len(targets), classes), np.nan, np.float32)
    # Folds run in parallel without synchronisation, unlike the threads of BLAS.
    with threadpool_limits(1), ThreadPoolExecutor(cores()) as pool:
        result[used] = _fit_predict(
            _inputs(features, used), targets[used], fold[used], classes, seed, pool
        )
    return result


def _fit_predict(
    inputs: Floats, targets: Targets, fold: Targets, classes: int, seed: int, pool: Executor
) -> Floats:
    """Return the out-of-fold probabilities of all pictures."""
    parts = list(
        pool.map(lambda f: _normal_equations(inputs, targets, fold == f, classes), range(FOLDS))
    )
    sample = np.random.default_rng(seed).permutation(len(targets))[:SAMPLE]
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


def assign_folds(targets: Targets, groups: NDArray[np.generic], seed: int) -> Targets:
    """Return the fold of each picture, -1 if it is not used; each class is spread evenly."""
    fold = np.full(len(targets), -1, np.int64)
    labelled = np.flatnonzero(targets >= 0)
    _, first, member = np.unique(groups[labelled], return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    label = targets[labelled][first][order]  # a group with several counts as its first
    next_fold = 0
    of_group = np.empty(len(first), np.int64)
    for target in np.unique(label):
        mine = order[label == target]
        of_group[mine] = (next_fold + np.arange(len(mine))) % FOLDS
        next_fold += len(mine)
    fold[labelled] = of_group[member]
    for target in np.unique(targets[labelled]):
        mine = np.flatnonzero(targets == target)
        if len(np.unique(fold[mine])) < 2:
            fold[mine] = -1
    return fold


def _inputs(features: Floats, used: Indices) -> Floats:
    """Return the `hellinger` features of some pictures, centred, with a constant for the bias."""
    inputs = np.ones((len(used), features.shape[1] + 1), np.float32)
    for start in range(0, len(used), BLOCK):
        inputs[start : start + BLOCK, :-1] = hellinger(features[used[start : start + BLOCK]])
    inputs[:, :-1] -= inputs[:, :-1].mean(axis=0)
    return inputs


class NormalEquations(NamedTuple):
    """The normal equations of one fold: ``gram [D, D]`` and ``moments [D, K]``, float64."""

    gram: NDArray[np.float64]
    moments: NDArray[np.float64]


def _normal_equations(
    inputs: Floats, targets: Targets, mine: NDArray[np.bool_], classes: int
) -> NormalEquations:
    members, width = np.flatnonzero(mine), inputs.shape[1]
    gram, moments = np.zeros((width, width)), np.zeros((width, classes))
    for start in range(0, len(members), BLOCK):
        block = members[start : start + BLOCK]
        indicators = np.full((len(block), classes), -1 / classes, np.float32)
        indicators[np.arange(len(block)), targets[block]] += 1
        gram += inputs[block].T @ inputs[block]
        moments += inputs[block].T @ indicators
    return NormalEquations(gram, moments)


def _layers(parts: Sequence[NormalEquations], strength: float, pool: Executor) -> list[Floats]:
    """Return for each fold the weights [D, K] fitted on the others."""
    gram, moments = (np.sum(terms, axis=0) for terms in zip(*parts, strict=True))
    return list(
        pool.map(
            lambda p: _solved(NormalEquations(gram - p.gram, moments - p.moments), strength), parts
        )
    )


def _solved(others: NormalEquations, strength: float) -> Floats:
    from scipy.linalg import cho_factor, cho_solve

    gram = others.gram
    gram[np.diag_indices(len(gram))] += strength * np.trace(gram) / len(gram)
    layer: Floats = cho_solve(cho_factor(gram, overwrite_a=True), others.moments).astype(np.float32)
    return layer


def _scores(inputs: Floats, fold: Targets, layers: Sequence[Floats]) -> Floats:
    """Return the scores of each picture by the weights for its fold: roughly probabilities."""
    classes = layers[0].shape[1]
    scores = np.empty((len(inputs), classes), np.float32)
    for number, layer in enumerate(layers):
        scores[fold == number] = inputs[fold == number] @ layer + 1 / classes
    return scores
