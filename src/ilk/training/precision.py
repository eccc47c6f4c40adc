"""Precision: in which numbers a network is trained, and on which device."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from ilk.engines.pytorch import has_bf16
from ilk.errors import UsageError

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A device, and ``fp32``, ``bf16`` or ``fp16`` on it."""

    device: torch.device
    name: str

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which a network runs."""
        if self.name == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, TYPES[self.name])

    def scaler(self) -> torch.amp.GradScaler:
        """Return what keeps small gradients in fp16 from vanishing; idle in other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def pick_precision(wanted: str, device: str) -> Precision:
    """Turn ``auto`` into bf16 where the device has it, and check that a named one is there.

    Raises
    ------
    UsageError
        fp16 is asked for on a CPU, or bf16 where the device has none.
    """
    place = torch.device(device)
    if wanted == "fp16" and place.type == "cpu":
        raise UsageError("--precision fp16 trains on a GPU only; on a CPU give bf16, fp32 or auto.")
    if wanted == "bf16" and not has_bf16(place):
        raise UsageError(f"The device '{device}' has no bf16; give --precision fp32 or auto.")
    if wanted == "auto":
        return Precision(place, "bf16" if has_bf16(place) else "fp32")
    return Precision(place, wanted)
