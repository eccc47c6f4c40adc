"""Programs: a network as a graph by ``torch.export``, which several formats begin with."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ilk.exporting.trouble import trouble

MOST = 32  # pictures at once, where a format plans its memory ahead


def exported(network: nn.Module, example: Tensor, most: int | None = None) -> Any:
    """Return a network as an ``ExportedProgram`` for any number of pictures, or up to ``most``.

    Raises
    ------
    ExportError
        Something in it cannot be told ahead of the run.
    """
    import torch

    batch = torch.export.Dim("batch", min=1, max=most)
    with trouble("torch.export"):
        return torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
