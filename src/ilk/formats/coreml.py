"""Core ML: for iOS and macOS, as an image classifier with class names.

The converter supports no uint8 tensors. As Core ML's users expect, the model takes an image: its
scale maps pixels to 0..1, and the normalization is part of the graph. Only Apple's systems run it;
here, a package is read back and checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilk.engines.base import ChunkedEngine, Precision
from ilk.errors import EngineError, ModelError
from ilk.formats.base import Format
from ilk.formats.graphs import ExportJob
from ilk.formats.libraries import import_optional, quiet_converter
from ilk.models.bundle import SPEC_KEY
from ilk.spec import Spec
from ilk.text import error_text, escaped

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ilk.formats.exportable import Exportable

EXTRA = "ilk[coreml]"
IMAGE = "image"
MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


class CoreML(Format):
    """An ``.mlpackage``, a folder."""

    name = "coreml"
    suffix = ".mlpackage"
    aliases = ("mlmodel",)
    noun = "a Core ML package"
    contents = frozenset({"Manifest.json", "Data"})
    exact = False
    runs_elsewhere = "Core ML runs it, on iOS and macOS only"
    requires = (("coremltools", EXTRA),)
    packages = ("coremltools",)
    use = "drag {path} into an Xcode project"

    def convert(self, job: ExportJob) -> Any:
        coremltools = import_optional("coremltools", EXTRA)
        import torch

        spec = job.bundle.spec
        side = spec.preprocess.imgsz
        with quiet_converter("Core ML's converter"):
            image = torch.zeros(1, 3, side, side)
            program = torch.export.export(_image_network(job.network), (image,))
            model = coremltools.convert(
                program.run_decompositions({}),
                inputs=[
                    coremltools.ImageType(
                        name=IMAGE, shape=image.shape, scale=1 / 255,
                        color_layout=coremltools.colorlayout.RGB,
                    )
                ],
                classifier_config=coremltools.ClassifierConfig(list(spec.classes)),
                minimum_deployment_target=coremltools.target.iOS16,
            )  # fmt: skip
        model.short_description = f"Classifies pictures into {len(spec.classes)} classes"
        model.version = str(spec.version)
        return model

    def save(self, converted: Any, path: Path, metadata: Mapping[str, str]) -> None:
        converted.user_defined_metadata.update(metadata)
        converted.save(str(path))
        (path / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)  # unused

    def open(self, path: Path, spec: Spec, precision: Precision = "auto") -> ChunkedEngine:
        raise EngineError(self.runs_elsewhere)

    def metadata_of(self, path: Path) -> dict[str, str]:
        """Return the metadata, after a check of the package's structure.

        Raises
        ------
        ModelError
            It is no Core ML package, or lacks the image input or the class names.
        """
        model_pb2 = import_optional("coremltools.proto.Model_pb2", EXTRA)
        model = model_pb2.Model()
        try:
            model.ParseFromString((path / MODEL).read_bytes())
            weights = (path / WEIGHTS).stat().st_size
        except Exception as error:  # protobuf's DecodeError comes from several packages
            raise ModelError(
                f"{escaped(path)} is not a complete Core ML package ({error_text(error)}). Export "
                "it again."
            ) from None
        metadata = dict(model.description.metadata.userDefined)
        side = json.loads(metadata.get(SPEC_KEY, "{}")).get("preprocess", {}).get("imgsz")
        images = [entry.type.imageType for entry in model.description.input]
        sizes = [(image.width, image.height) for image in images]
        if not weights or sizes != [(side, side)] or not model.description.predictedFeatureName:
            raise ModelError(
                f"{escaped(path)} does not classify images of {side} x {side} pixels. Export it "
                "again."
            )
        return metadata


def _image_network(network: Exportable) -> nn.Module:
    """Return a network of images ``float32 [1, 3, S, S]`` in 0..1 to probabilities ``[1, K]``."""
    from torch import nn

    class ImageNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Tensor) -> Tensor:
            inner = self.network.network
            logits = inner.logits(inner.features_of(image * 255))
            assert logits is not None
            return (logits / self.network.temperature).softmax(dim=1)

    return ImageNetwork()
