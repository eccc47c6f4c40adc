"""Novelty: whether a picture is like nothing that the model has learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats
from ilk.inference.hellinger import mean_distances, roots
from ilk.spec import Novelty, Spread

NEIGHBOURS = 10
FEWEST = 20  # held-out pictures by which a threshold can be chosen
MISTAKEN = 0.02  # share of pictures of the kind that was learned that may be called unknown
MOST = 1.5  # spreads: chosen on classes of CIFAR-10's training pictures left out of the training


@dataclass(frozen=True, eq=False)
class NoveltyDetector:
    """Scores how unlike all that was learned pictures are.

    Two scores are added, each by its spread over held-out pictures. The mean distance to the
    nearest of the ``known`` pictures, in the space of `roots` of features ("Out-of-distribution
    detection with deep nearest neighbors", Sun et al. 2022), sees what the classes have nothing to
    do with. The entropy of the probabilities ("A baseline for detecting misclassified and
    out-of-distribution examples", Hendrycks & Gimpel 2017) sees what lies between them. Neither
    wins everywhere (OpenOOD: Yang et al. 2022, Zhang et al. 2023). A distance may be many spreads
    beyond the usual; an entropy counts as no more than ``MOST``, since pictures of the classes that
    are hard to name have high ones too. The energy of the logits (Liu et al. 2020), which is better
    than entropy after a probe, turns over where labels were smoothed in training.

    Attributes
    ----------
    spec : Novelty
    known : float array [L, D]
        The `roots` of features of pictures that were learned.
    """

    spec: Novelty
    known: NDArray[np.floating]

    @cached_property
    def index(self) -> Floats:
        """The known pictures as float32."""
        return self.known.astype(np.float32)

    def distances(self, features: Floats) -> Floats:
        """Return how far pictures are from the nearest known ones, ``float32 [N]``."""
        nobody, known = np.full(len(features), -1), np.arange(len(self.index))
        return mean_distances(roots(features), self.index, self.spec.neighbours, nobody, known)

    def scores(self, features: Floats, logits: Floats) -> Floats:
        """Return the novelty ``float32 [N]`` of pictures: 0 is usual, more is stranger."""
        distance = self.distances(features)
        return _combined(self.spec, distance, entropies(logits))


def fit(
    known: Floats,
    known_keys: Sequence[str],
    features: Floats,
    keys: Sequence[str],
    logits: Floats,
) -> Novelty | None:
    """Measure how the scores are spread, and from where on a picture counts as unknown.

    Parameters
    ----------
    known : float32 array [L, D]
        Features of pictures that were learned.
    known_keys, keys : sequences of str
        What copies of a picture have in common: none is its own neighbour.
    features, logits : float32 arrays [M, D] and [M, K]
        Of pictures that were held out.

    Returns
    -------
    Novelty or None
        None if too few pictures were held out.
    """
    if len(features) < FEWEST or len(known) < 2:
        return None
    neighbours = max(1, min(NEIGHBOURS, len(known) // 2))
    distance = mean_distances(roots(features), roots(known), neighbours, *_keyed(keys, known_keys))
    entropy = entropies(logits)
    novelty = Novelty(
        neighbours=neighbours, distance=_spread(distance), entropy=_spread(entropy), threshold=0.0
    )
    usual = _combined(novelty, distance, entropy)
    return novelty.model_copy(update={"threshold": float(np.quantile(usual, 1 - MISTAKEN))})


def _spread(values: Floats) -> Spread:
    return Spread(mean=float(values.mean()), std=max(1e-6, float(values.std())))


def _combined(spec: Novelty, distance: Floats, entropy: Floats) -> Floats:
    far = (distance - spec.distance.mean) / spec.distance.std
    between = (entropy - spec.entropy.mean) / spec.entropy.std
    result: Floats = (far + between.clip(-MOST, MOST)).astype(np.float32)
    return result


def entropies(logits: Floats) -> Floats:
    """Return the entropy ``[N]``, in nats, of what logits ``[N, K]`` give as probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    total = powers.sum(axis=1)
    result: Floats = np.log(total) - (powers * shifted).sum(axis=1) / total
    return result


def _keyed(*names: Sequence[str]) -> list[NDArray[np.int64]]:
    """Return numbers for names, the same for the same name in every sequence."""
    whole = np.concatenate([np.array(part, str) for part in names])
    _, keys = np.unique(whole, return_inverse=True)
    return np.split(keys, np.cumsum([len(part) for part in names])[:-1])
