"""Weights for a network that every converter is quick with."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from ilk.models.backbones import create


def random_weights(folder: Path, name: str = "test_efficientnet") -> Path:
    """Write random weights of a backbone, always the same, and return the file."""
    torch.manual_seed(0)
    tensors = {key: value.contiguous() for key, value in create(name, None).state_dict().items()}
    file = folder / f"{name}.safetensors"
    save_file(tensors, file)
    return file
