"""ExecuTorch: for Android and iOS, on their CPUs by XNNPACK; in float32, or in int8."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ilk.engines.needs import needed_quietly
from ilk.engines.trailer import with_trailer
from ilk.exporting.job import Job
from ilk.exporting.programs import MOST, exported
from ilk.exporting.trouble import trouble


def refuse_missing() -> None:
    """Refuse where ExecuTorch is not installed.

    Raises
    ------
    EngineError
    """
    needed_quietly("executorch.exir", "ilk[executorch]")


def convert(job: Job) -> bytes:
    """Return the network as the bytes of a ``.pte`` file."""
    return _lowered(exported(job.network, job.example, MOST))


def convert_int8(job: Job) -> bytes:
    """Return it quantised to int8: weights by channel, activations by training pictures."""
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(
        get_symmetric_quantization_config(is_per_channel=True)
    )
    with torch.no_grad(), trouble("ExecuTorch's quantiser"):
        prepared = prepare_pt2e(exported(job.network, job.example, MOST).module(), quantizer)
        for pixels in job.batches(8):
            prepared(torch.from_numpy(pixels))
        small = convert_pt2e(prepared)
    return _lowered(exported(small, job.example, MOST))


def _lowered(program: Any) -> bytes:
    """Hand a program to XNNPACK, as far as it takes it."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with trouble("ExecuTorch"):
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        return bytes(lowered.to_executorch().buffer)


def save(network: bytes, path: Path, metadata: Mapping[str, str]) -> None:
    """Write it, with the metadata behind it."""
    path.write_bytes(with_trailer(network, metadata))
