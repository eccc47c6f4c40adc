"""Novelty: whether a picture is out of distribution, unlike all that the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats
from ilk.inference.hellinger import hellinger, mean_distances
from ilk.spec import Novelty, Spread

NEIGHBOURS = 10
MIN_HELD_OUT = 20  # pictures that a threshold needs
FALSE_POSITIVE_RATE = 0.02  # share of held-out pictures above the threshold
ENTROPY_LIMIT = 1.5  # standard deviations: chosen on CIFAR-10 classes left out of training


@dataclass(frozen=True, eq=False)
class NoveltyDetector:
    """Scores how far pictures are from the training distribution.

    The score is the sum of two, each standardised on held-out pictures. The mean distance to the
    nearest ``known`` pictures, between `hellinger` features ("Out-of-distribution detection with
    deep nearest neighbors", Sun et al. 2022), detects what is far from every class. The entropy of
    the probabilities ("A baseline for detecting misclassified and out-of-distribution examples",
    Hendrycks & Gimpel 2017) detects what lies between classes. Neither is best everywhere (OpenOOD:
    Yang et al. 2022, Zhang et al. 2023). The entropy is clipped at ``ENTROPY_LIMIT``, since hard
    pictures of the classes have a high entropy too; the distance is not. The energy of the logits
    (Liu et al. 2020) does better than entropy after a probe, but inverts when the network was
    trained with label smoothing.

    Attributes
    ----------
    known : float array [L, D]
        `hellinger` features of training pictures.
    """

    spec: Novelty
    known: NDArray[np.floating]

    @cached_property
    def index(self) -> Floats:
        """The known pictures as float32."""
        return self.known.astype(np.float32)

    def distances(self, features: Floats) -> Floats:
        """Return the mean distance to the nearest known pictures, ``float32 [N]``."""
        no_copy, known = np.full(len(features), -1), np.arange(len(self.index))
        return mean_distances(hellinger(features), self.index, self.spec.neighbours, no_copy, known)

    def scores(self, features: Floats, logits: Floats) -> Floats:
        """Return the novelty ``float32 [N]``: about 0 in distribution, higher further out."""
        distance = self.distances(features)
        return _combined(self.spec, distance, entropies(logits))


def fit(
    known: Floats, known_keys: Sequence[str], features: Floats, keys: Sequence[str], logits: Floats
) -> Novelty | None:
    """Standardise the scores, and choose the threshold above which a picture is unknown.

    Parameters
    ----------
    known : float32 array [L, D]
        Features of training pictures.
    known_keys, keys : sequences of str
        Copies of a picture have the same key, and do not count as neighbours.
    features, logits : float32 arrays [M, D] and [M, K]
        Of held-out pictures.

    Returns
    -------
    Novelty or None
        None if there are too few held-out pictures.
    """
    if len(features) < MIN_HELD_OUT or len(known) < 2:
        return None
    neighbours = max(1, min(NEIGHBOURS, len(known) // 2))
    distance = mean_distances(
        hellinger(features), hellinger(known), neighbours, *_keyed(keys, known_keys)
    )
    entropy = entropies(logits)
    novelty = Novelty(
        neighbours=neighbours, distance=_spread(distance), entropy=_spread(entropy), threshold=0.0
    )
    scores = _combined(novelty, distance, entropy)
    return novelty.model_copy(
        update={"threshold": float(np.quantile(scores, 1 - FALSE_POSITIVE_RATE))}
    )


def _spread(values: Floats) -> Spread:
    return Spread(mean=float(values.mean()), std=max(1e-6, float(values.std())))


def _combined(spec: Novelty, distance: Floats, entropy: Floats) -> Floats:
    far = (distance - spec.distance.mean) / spec.distance.std
    between = (entropy - spec.entropy.mean) / spec.entropy.std
    result: Floats = (far + between.clip(-ENTROPY_LIMIT, ENTROPY_LIMIT)).astype(np.float32)
    return result


def entropies(logits: Floats) -> Floats:
    """Return the entropy ``[N]``, in nats, of the softmax of logits ``[N, K]``."""
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
