"""Randomness: every draw is a function of the seed and of where in the training it happens."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def key(seed: int, *place: int | str) -> int:
    """Return 63 bits that depend on the seed and the place alone, as of a keyed hash."""
    text = repr((seed, *place)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def generator(seed: int, *place: int | str) -> torch.Generator:
    """Return a fresh torch generator, on the CPU, for one place: an epoch, a step."""
    return torch.Generator().manual_seed(key(seed, *place))


def numpy_generator(seed: int, *place: int | str) -> np.random.Generator:
    """Return a fresh NumPy generator for one place."""
    return np.random.default_rng(key(seed, *place))
