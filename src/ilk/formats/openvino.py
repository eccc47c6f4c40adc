"""OpenVINO: a folder with ``model.xml`` and ``model.bin``, in float32, bf16 or int8."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats, Pixels
from ilk.engines.base import ChunkedEngine, Precision
from ilk.engines.compiled import LANES, Compiled, precision_hint
from ilk.engines.openvino import has_bf16, import_openvino, precision_here
from ilk.errors import ExportError, ModelError
from ilk.formats.base import Format
from ilk.formats.graphs import ExportJob
from ilk.formats.libraries import import_optional, quiet_converter
from ilk.models.metadata import INPUT, OUTPUTS, PRECISION_KEY
from ilk.spec import Spec
from ilk.text import error_text, escaped

FILE = "model.xml"
HEAD = r".*network\.head.*"
LOGITS = OUTPUTS.index("logits")
log = logging.getLogger("ilk")


class _OpenVinoFolder(Format):
    noun = "an OpenVINO model"
    contents = frozenset({FILE, "model.bin"})
    precisions = True

    def save(self, converted: Any, path: Path, metadata: Mapping[str, str]) -> None:
        for key, text in metadata.items():
            converted.set_rt_info(text, ["ilk", key.removeprefix("ilk.")])
        path.mkdir(exist_ok=True)
        import_openvino().save_model(converted, path / FILE, compress_to_fp16=False)

    def open(self, path: Path, spec: Spec, precision: Precision = "auto") -> ChunkedEngine:
        return OpenVinoFileEngine(path, spec, precision)

    def metadata_of(self, path: Path) -> dict[str, str]:
        return _metadata(_read(import_openvino().Core(), path))

    def recognizes(self, path: Path) -> bool:
        return (path / FILE).is_file()


class OpenVino(_OpenVinoFolder):
    """The network, marked to be computed in float32."""

    name = "openvino"
    suffix = "-openvino"
    speed_rank = 4

    def convert(self, job: ExportJob) -> Any:
        return converted_model(job, "fp32")


class OpenVinoBf16(_OpenVinoFolder):
    """The network, marked to be computed in bf16."""

    name = "openvino-bf16"
    suffix = "-openvino-bf16"
    exact = False
    speed_rank = 3

    def convert(self, job: ExportJob) -> Any:
        if not has_bf16(import_openvino().Core()):
            raise ExportError("This processor has no bf16, so the file could not be verified here.")
        return converted_model(job, "bf16")


class OpenVinoInt8(_OpenVinoFolder):
    """Static int8 by NNCF; the rest is computed in bf16 where the processor has it."""

    name = "openvino-int8"
    suffix = "-openvino-int8"
    aliases = ("int8",)
    exact = False
    calibrated = True
    requires = (("nncf", "ilk[int8]"),)
    packages = ("nncf",)
    speed_rank = 2
    size_rank = 2

    def convert(self, job: ExportJob) -> Any:
        return quantized(converted_model(job, "bf16"), job)


class OpenVinoFileEngine(ChunkedEngine):
    """Runs an exported OpenVINO model.

    Parameters
    ----------
    path : Path
        The folder.
    precision : {"auto", "fp32", "bf16"}
        ``auto``: as exported.
    """

    concurrency = LANES

    def __init__(self, path: Path, spec: Spec, precision: Precision = "auto") -> None:
        openvino = import_openvino()
        self._core = openvino.Core()
        self._core.set_property({"ENABLE_MMAP": False})  # the file may be replaced while it runs
        self._path = path
        model = _read(self._core, path)
        exact = _metadata(model).get(PRECISION_KEY) != "bf16"
        # A file marked bf16 runs in float32 on processors without it.
        wanted = "fp32" if precision == "auto" and exact else precision
        self._precision = precision_here(self._core, wanted)
        self.name = f"openvino-{openvino.get_version().split('-')[0]}-{self._precision}"
        self._compiled = Compiled(self._core, model, spec.preprocess.imgsz, self._precision)

    def run_fastest(self, pixels: Pixels) -> list[Floats]:
        return self._compiled.run(pixels)

    def run_chunk(self, pixels: Pixels) -> list[Floats]:
        request = self._any_batch.create_infer_request()
        outputs = request.infer([pixels])
        return [outputs[name].copy() for name in OUTPUTS]

    @cached_property
    def _any_batch(self) -> Any:
        """The network for any batch size, as other programs may run the file."""
        settings = {"INFERENCE_PRECISION_HINT": precision_hint(self._precision)}
        return self._core.compile_model(_read(self._core, self._path), "CPU", settings)


def converted_model(job: ExportJob, precision: Literal["fp32", "bf16"]) -> Any:
    """Return the network as an OpenVINO model, marked with the precision to compute it in."""
    openvino = import_openvino()
    side = job.bundle.spec.preprocess.imgsz
    shape = openvino.PartialShape([-1, side, side, 3])
    with quiet_converter("OpenVINO"):
        model = openvino.convert_model(job.script, input=[(shape, openvino.Type.u8)])
    model.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(model.outputs, OUTPUTS, strict=True):
        output.get_tensor().set_names({name})
    model.set_rt_info(precision, ["ilk", PRECISION_KEY.removeprefix("ilk.")])
    return model


def quantized(model: Any, job: ExportJob) -> Any:
    """Return an OpenVINO model in int8: weights by channel, activations by training pictures.

    The head stays in floating point: it is small, and decides the predictions. If more predictions
    for these pictures change than the job allows, NNCF searches for the layers that cause it and
    keeps them in floating point, which takes minutes. It never sees the pictures that the file is
    verified on, nor any label.
    """
    import_openvino()  # first: NNCF would import OpenVINO with its telemetry
    nncf = import_optional("nncf", "ilk[int8]")
    # Its own set_log_level would change handlers that are not its own.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    settings = {
        "preset": nncf.QuantizationPreset.MIXED,
        "ignored_scope": nncf.IgnoredScope(patterns=[HEAD], validate=False),
        "subset_size": len(job.pixels),
        "fast_bias_correction": True,
    }
    calibration = nncf.Dataset(job.batches(1))
    with quiet_converter("NNCF"):
        small = nncf.quantize(model, calibration, **settings)
    if job.max_drop is None:
        return small
    predictions = predicted_classes(model, job)
    changed = 1 - float((predicted_classes(small, job) == predictions).mean())
    if changed <= job.max_drop:
        return small
    log.warning(
        "int8 changes %.1f %% of the predictions for training pictures; searching for layers to "
        "keep in floating point, which can take minutes",
        100 * changed,
    )
    pairs = nncf.Dataset(list(zip(job.batches(1), predictions, strict=True)))
    with quiet_converter("NNCF"):
        return nncf.quantize_with_accuracy_control(
            model, calibration, pairs, _agreement, max_drop=job.max_drop, **settings
        )


def predicted_classes(model: Any, job: ExportJob) -> NDArray[np.int64]:
    """Return the class that a model predicts for each of the job's pictures, ``int64 [M]``."""
    run = import_openvino().compile_model(model, "CPU")
    logits = [run([batch])[LOGITS] for batch in job.batches(8)]
    classes: NDArray[np.int64] = np.concatenate(logits).argmax(axis=1)
    return classes


def _agreement(run: Any, pairs: Iterable[tuple[Pixels, int]]) -> tuple[float, list[float]]:
    """Return the share of expected predictions by a compiled model, and which they are."""
    same = [float(run([pixels])[LOGITS].argmax() == expected) for pixels, expected in pairs]
    return float(np.mean(same)), same


def _read(core: Any, path: Path) -> Any:
    try:
        return core.read_model(path / FILE)
    except RuntimeError as error:
        raise ModelError(
            f"{escaped(path)} is not a complete OpenVINO model ({error_text(error)}). Export it "
            "again."
        ) from None


def _metadata(model: Any) -> dict[str, str]:
    if not model.has_rt_info(["ilk"]):
        return {}
    keys = model.get_rt_info(["ilk"]).value
    return {f"ilk.{key}": model.get_rt_info(["ilk", key]).astype(str) for key in keys}
