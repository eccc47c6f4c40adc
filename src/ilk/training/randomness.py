"""Randomness: every random number is a function of the seed and the position in the training."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def key(seed: int, *position: int | str) -> int:
    """Return 63 bits that depend on the seed and the position alone, by a hash."""
    text = repr((seed, *position)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def generator(seed: int, *position: int | str) -> torch.Generator:
    """Return a fresh torch generator, on the CPU, for one position, such as a step."""
    return torch.Generator().manual_seed(key(seed, *position))


def numpy_generator(seed: int, *position: int | str) -> np.random.Generator:
    """Return a fresh NumPy generator for one position."""
    return np.random.default_rng(key(seed, *position))
