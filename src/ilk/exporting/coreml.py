"""Core ML: for iOS and macOS, as an image classifier that knows its class names.

The converter takes no uint8 tensors: as Core ML's users expect, the model takes an image. Its
scale turns pixels to 0..1, and the normalisation follows in the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ilk.engines.needs import needed_quietly
from ilk.exporting.job import Job
from ilk.exporting.trouble import trouble
from ilk.models.exportable import Exportable

IMAGE = "image"


class _OnImages(nn.Module):
    """Takes images ``float32 [1, 3, S, S]`` in 0..1, and gives probabilities ``[1, K]``."""

    def __init__(self, network: Exportable) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        network = self.network.network
        logits = network.logits(network.features_of(image * 255))
        assert logits is not None
        return (logits / self.network.temperature).softmax(dim=1)


def convert(job: Job) -> Any:
    """Return the network as a Core ML ``MLModel``."""
    coremltools = needed_quietly("coremltools", "ilk[coreml]")
    import torch

    spec = job.bundle.spec
    side = spec.preprocess.imgsz
    with trouble("Core ML's converter"):
        image = torch.zeros(1, 3, side, side)
        program = torch.export.export(_OnImages(job.network), (image,)).run_decompositions({})
        model = coremltools.convert(
            program,
            inputs=[
                coremltools.ImageType(
                    name=IMAGE, shape=image.shape, scale=1 / 255,
                    color_layout=coremltools.colorlayout.RGB,
                )
            ],
            classifier_config=coremltools.ClassifierConfig(list(spec.classes)),
            minimum_deployment_target=coremltools.target.iOS16,
        )  # fmt: skip
    model.short_description = f"Names {len(spec.classes)} classes of pictures"
    model.version = str(spec.version)
    return model


def save(model: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the ``.mlpackage``, a folder."""
    model.user_defined_metadata.update(metadata)
    model.save(str(path))
    (path / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)  # of no use to anyone
