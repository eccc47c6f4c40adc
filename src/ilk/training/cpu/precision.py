"""Precision: the number format a network is trained in, and the device."""

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
from ilk.training.cpu.depthwise import FastDepthwise

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
            FastDepthwise() if on_cpu else contextlib.nullcontext(),
        ):
            yield

    def to_device(self, array: NDArray[Any]) -> Tensor:
        """Return an array as a tensor on the device.

        A GPU copies it from pinned memory while the CPU continues.
        """
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def scaler(self) -> torch.amp.GradScaler:
        """Return the scaler that keeps small fp16 gradients from underflowing; else disabled."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def pad_single_pixels(network: nn.Module) -> None:
    """Pad the input of strided convolutions that is a single pixel.

    For it, oneDNN's bf16 gradient (torch 2.13, AMX) leaves filter taps that see only padding
    uninitialised, sometimes as NaN. With another row and column of zeros the outputs are the same.
    """
    for module in network.modules():
        # Subclasses may pad by the size of their input.
        if type(module) is nn.Conv2d and max(module.stride) > 1 and _output_stays_single(module):
            module.register_forward_pre_hook(_padded)


def _padded(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    (x,) = inputs
    return (F.pad(x, (0, 1, 0, 1)),) if x.shape[2:] == (1, 1) else inputs


def _output_stays_single(conv: nn.Conv2d) -> bool:
    """Return whether an input of two pixels also gives one output."""
    if isinstance(conv.padding, str):
        return False
    geometry = zip(conv.kernel_size, conv.stride, conv.padding, strict=True)
    return all((2 + 2 * p - k) // s == (1 + 2 * p - k) // s for k, s, p in geometry)


def pick_precision(name: str, device: str) -> Precision:
    """Resolve ``auto`` to bf16 where the device has it, and check that the device has others.

    Raises
    ------
    UsageError
        fp16 is requested on a CPU, or bf16 on a device without it.
    """
    target = torch.device(device)
    if name == "fp16" and target.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU; on a CPU give bf16, fp32 or auto.")
    if name == "bf16" and not has_bf16(target):
        raise UsageError(f"The device '{device}' has no bf16; give --precision fp32 or auto.")
    if name == "auto":
        return Precision(target, "bf16" if has_bf16(target) else "fp32")
    return Precision(target, name)
