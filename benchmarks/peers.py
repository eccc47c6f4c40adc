"""The field's ways to run a trained network on a CPU: the other side of the comparisons."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from guide import transforms
from PIL import Image
from torch import Tensor, nn

from ilk.engines.base import Engine, Outputs
from ilk.engines.openvino import import_openvino
from ilk.inference.classifier import Classifier
from ilk.models.bundle import Bundle
from ilk.models.network import build
from ilk.runtime import cores


class Plain(nn.Module):
    """Backbone and head, of images that are normalised already ``float32 [N, 3, S, S]``."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        network = build(bundle).requires_grad_(False)
        self.backbone, self.head = network.backbone, network.head

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(image)
        return self.head(features), features


class Peer(Engine):
    """Runs images that were normalised before the clock: its pixels only say how many."""

    def __init__(self, name: str, side: int) -> None:
        self.name = name
        self._side = side
        self._ready: dict[int, Tensor] = {}

    def run(self, pixels: np.ndarray) -> Outputs:
        number = len(pixels)
        if number not in self._ready:
            self._ready[number] = torch.randn(number, 3, self._side, self._side)
        logits, features = self.answer(self._ready[number])
        return Outputs(np.asarray(features), np.asarray(logits))

    def answer(self, image: Tensor) -> Sequence[object]:
        raise NotImplementedError


class TorchPeer(Peer):
    def __init__(self, name: str, network: nn.Module, side: int, dtype=None) -> None:
        super().__init__(name, side)
        self._network, self._dtype = network, dtype

    @torch.inference_mode()
    def answer(self, image):
        with torch.autocast("cpu", self._dtype, enabled=self._dtype is not None):
            return [t.float() for t in self._network(image)]


class SessionPeer(Peer):
    def __init__(self, name: str, path: Path, side: int) -> None:
        import onnxruntime

        super().__init__(name, side)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        self._session = onnxruntime.InferenceSession(path, options)

    def answer(self, image):
        return self._session.run(["logits", "features"], {"image": image.numpy()})


class OpenVINOPeer(Peer):
    def __init__(self, name: str, path: Path, side: int) -> None:
        super().__init__(name, side)
        core = import_openvino().Core()
        self._compiled = core.compile_model(path, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
        self._request = self._compiled.create_infer_request()

    def answer(self, image):
        found = self._request.infer([image.numpy()])
        return [found["logits"], found["features"]]


class Guide:
    """The guide's predict: PIL, torchvision's transforms, eager PyTorch, one picture at a time."""

    source = "the guide"

    def __init__(self, bundle: Bundle) -> None:
        side = bundle.spec.preprocess.imgsz
        self._network = Plain(bundle).eval()
        self._transform = transforms()[1]
        self.spec = bundle.spec
        self.engine = TorchPeer("the guide's predict", self._network, side)

    @torch.no_grad()
    def probabilities(self, image: Image.Image) -> np.ndarray:
        """Name one picture."""
        logits = self._network(self._transform(image).unsqueeze(0))[0]
        return logits.softmax(dim=1)[0].numpy()

    def stream(self, files):
        for file in files:
            image = Image.open(io.BytesIO(file.content)).convert("RGB")
            yield int(self.probabilities(image).argmax())


def peers(bundle: Bundle, folder: Path) -> dict[str, Classifier]:
    """Return them by name, all of the same weights."""
    side = bundle.spec.preprocess.imgsz
    plain, example = Plain(bundle).eval(), torch.zeros(2, 3, side, side)
    path = folder / "peer.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            plain, (example,), str(path), dynamo=True, verbose=False, external_data=False,
            input_names=["image"], output_names=["logits", "features"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
        )  # fmt: skip
    engines = [
        TorchPeer("torch.compile", torch.compile(plain), side),
        TorchPeer("torch.compile, bf16 autocast", torch.compile(Plain(bundle).eval()), side,
                  torch.bfloat16),
        SessionPeer("torch.onnx, ONNX Runtime (timm's way)", path, side),
        SessionPeer("the same, slimmed (Ultralytics' way)", _slimmed(path), side),
        OpenVINOPeer("OpenVINO of that ONNX (Ultralytics' way)", path, side),
    ]  # fmt: skip
    return {engine.name: Classifier(bundle.spec, engine) for engine in engines}


def _slimmed(path: Path) -> Path:
    import onnx
    import onnxslim

    slim = path.with_name("slim.onnx")
    onnx.save(onnxslim.slim(onnx.load(path)), slim)
    return slim
