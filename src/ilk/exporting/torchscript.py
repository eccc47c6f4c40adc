"""TorchScript: a frozen trace, the guide's way. PyTorch calls it deprecated, and still runs it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ilk.exporting.job import Job
from ilk.exporting.trouble import trouble


def convert(job: Job) -> Any:
    """Return the network as a frozen ScriptModule."""
    return job.script


def traced(network: nn.Module, example: Tensor) -> Any:
    """Trace a network by an example, and freeze it."""
    import torch

    with torch.no_grad(), trouble("torch.jit.trace"):
        return torch.jit.freeze(torch.jit.trace(network, example, check_trace=False))


def save(module: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Write it."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()  # written by torch itself, a full disk would end the process
        torch.jit.save(module, file, _extra_files=dict(metadata))
    path.write_bytes(file.getbuffer())
