"""Precision: in which numbers a network is trained, and on which device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ilk.engines.pytorch import has_bf16
from ilk.errors import UsageError
from ilk.training.cpu.depthwise import QuickDepthwise

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A device, and ``fp32``, ``bf16`` or ``fp16`` on it."""

    device: torch.device
    name: str

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Provide the context in which a network runs."""
        if self.name == "fp32":
            yield
            return
        on_cpu = self.device.type == "cpu"
        with (
            torch.autocast(self.device.type, TYPES[self.name]),
            QuickDepthwise() if on_cpu else contextlib.nullcontext(),
        ):
            yield

    def to_device(self, array: NDArray[Any]) -> Tensor:
        """Return an array as a tensor on the device.

        A GPU fetches it from pinned memory by itself, while the CPU goes on.
        """
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def scaler(self) -> torch.amp.GradScaler:
        """Return what keeps small gradients in fp16 from vanishing; idle in other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def spare_single_pixels(network: nn.Module) -> None:
    """Let no strided convolution see a single pixel while a network is trained.

    There oneDNN's gradient of the filters in bf16 (torch 2.13, AMX) leaves those that see nothing
    but padding uninitialised: now and then not a number. With a row and a column of zeros more the
    outputs are the same.
    """
    for module in network.modules():
        # Subclasses may pad by the size that they see.
        if type(module) is nn.Conv2d and max(module.stride) > 1 and _stays_single(module):
            module.register_forward_pre_hook(_with_company)


def _with_company(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    (x,) = inputs
    return (F.pad(x, (0, 1, 0, 1)),) if x.shape[2:] == (1, 1) else inputs


def _stays_single(conv: nn.Conv2d) -> bool:
    """Say whether a second pixel would still give one answer."""
    if isinstance(conv.padding, str):
        return False
    geometry = zip(conv.kernel_size, conv.stride, conv.padding, strict=True)
    return all((2 + 2 * p - k) // s == (1 + 2 * p - k) // s for k, s, p in geometry)


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
