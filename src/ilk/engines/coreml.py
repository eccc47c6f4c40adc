"""Core ML: its packages are read and checked here; only Apple's systems run them."""

from __future__ import annotations

import json
from pathlib import Path

from ilk.engines.needs import needed_quietly
from ilk.errors import ModelError
from ilk.models.bundle import SPEC_KEY
from ilk.text import error_text, escaped

FILE = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def metadata_of(path: Path) -> dict[str, str]:
    """Return what stands in the metadata of a package, after a look at its structure.

    Raises
    ------
    ModelError
        It is no Core ML package, or does not take the image and name the classes that it should.
    """
    needed_quietly("coremltools", "ilk[coreml]")
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model()
    try:
        model.ParseFromString((path / FILE).read_bytes())
        weights = (path / WEIGHTS).stat().st_size
    except Exception as error:  # protobuf's DecodeError is of several packages
        raise ModelError(
            f"{escaped(path)} is not a whole Core ML package ({error_text(error)}). Export it "
            "again."
        ) from None
    metadata = dict(model.description.metadata.userDefined)
    spec = json.loads(metadata.get(SPEC_KEY, "{}"))
    side = spec.get("preprocess", {}).get("imgsz")
    images = [put.type.imageType for put in model.description.input]
    takes = [(image.width, image.height) for image in images]
    if not weights or takes != [(side, side)] or not model.description.predictedFeatureName:
        raise ModelError(f"{escaped(path)} does not name images of {side} x {side} pixels.")
    return metadata
