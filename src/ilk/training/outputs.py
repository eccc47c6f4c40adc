"""Outputs: run a network over pictures in batches, shared among the processes."""

from __future__ import annotations

import torch

from ilk.arrays import Floats, Indices, Mask
from ilk.models.network import Network
from ilk.training.cpu.precision import Precision
from ilk.training.distributed import SINGLE_PROCESS, World
from ilk.training.pixels import PixelSource


@torch.inference_mode()
def outputs_of(
    network: Network,
    source: PixelSource,
    indices: Indices,
    *,
    precision: Precision,
    batch: int,
    world: World = SINGLE_PROCESS,
    features: bool = True,
) -> tuple[Floats, Floats, Mask]:
    """Run a network with a head in eval mode over pictures.

    Returns
    -------
    features : float32 array [N, D]
        ``[N, 0]`` unless ``features`` are asked for.
    logits : float32 array [N, K]
    readable : bool array [N]
        Which pictures could be decoded; the rows of the others are 0.
    """
    device = precision.device
    assert network.head is not None
    world.broadcast_buffers(network)
    network.eval()
    position = {int(index): i for i, index in enumerate(indices)}
    classes, width = network.head.weight.shape
    width = width if features else 0
    all_features = torch.zeros(len(indices), width, device=device)
    logits = torch.zeros(len(indices), classes, device=device)
    readable = torch.zeros(len(indices), device=device)
    own = world.shard(indices)
    for pixels, read in source.batches([own[i : i + batch] for i in range(0, len(own), batch)]):
        if not len(read):
            continue
        at = torch.tensor([position[int(index)] for index in read], device=device)
        with precision.autocast():
            batch_features, batch_logits = network(precision.to_device(pixels))
        all_features[at] = batch_features[:, :width].float()
        logits[at], readable[at] = batch_logits.float(), 1
    results = [world.all_reduce_tensor(tensor) for tensor in (all_features, logits, readable)]
    found, scores, good = (tensor.cpu().numpy() for tensor in results)
    return found, scores, good > 0
