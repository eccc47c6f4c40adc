"""The PyTorch engine: the network itself, on CPU, CUDA or MPS. The reference for all others."""

from __future__ import annotations

import contextlib

import numpy as np
import torch

from ilk.arrays import Pixels
from ilk.engines.base import Engine, Outputs, Precision
from ilk.errors import EngineError
from ilk.models.bundle import Bundle
from ilk.models.network import build


class PyTorchEngine(Engine):
    """Runs a Bundle's Network, channels last, in bf16 if the device has it.

    Parameters
    ----------
    device : str
        A torch device of this machine.
    precision : {"auto", "fp32", "bf16"}

    Raises
    ------
    EngineError
        bf16 is wanted, and the device has none.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu", precision: Precision = "auto") -> None:
        self._device = torch.device(device)
        self._bf16 = precision != "fp32" and has_bf16(self._device)
        if precision == "bf16" and not self._bf16:
            raise EngineError(f"The device '{device}' has no bf16; use --precision auto or fp32.")
        self.name = f"pytorch-{torch.__version__}-{device}-{'bf16' if self._bf16 else 'fp32'}"
        network = build(bundle).requires_grad_(False)
        self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(self, pixels: Pixels) -> Outputs:
        """Run pixels ``uint8 [N, H, W, 3]`` through the network. Thread-safe."""
        batch = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(self._device)
        with self._autocast():
            features = self._network.features(batch)
        logits = self._network.logits(features.float())
        return Outputs(
            features.float().cpu().numpy(), None if logits is None else logits.cpu().numpy()
        )

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if not self._bf16:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)


def has_bf16(device: torch.device) -> bool:
    """Say whether a device computes in bf16 faster than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and (
            torch.backends.cpu.get_cpu_capability().startswith(("AVX512", "AMX"))
        )
    return False
