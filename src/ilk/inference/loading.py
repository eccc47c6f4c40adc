"""Load a trained model, or a file that was exported from one."""

from __future__ import annotations

from os import PathLike

from ilk.engines import EngineName, Options, Precision
from ilk.inference.classifier import Classifier
from ilk.inference.classifier import load as load_classifier


def load(
    path: str | PathLike[str],
    *,
    device: str = "auto",
    engine: EngineName = "auto",
    precision: Precision = "auto",
    trust: bool = False,
) -> Classifier:
    """Load a trained model, or a file that `export` wrote of one.

    Parameters
    ----------
    path : str or Path
        A ``model.safetensors``, the run folder that holds it, or an exported file.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    engine : {"auto", "openvino", "pytorch"}
        ``auto``: OpenVINO on a CPU, else PyTorch.
    precision : {"auto", "fp32", "bf16"}
        ``auto``: bf16 where the processor has it; of an exported file, as it was exported.
    trust : bool
        Load formats that can hold code, which runs as they are loaded: TorchScript, ``.pt2`` and
        TensorRT's.

    Returns
    -------
    Classifier

    Raises
    ------
    ModelError
        The file is not there, damaged, foreign, of a newer version, or can hold code and is not
        trusted.
    """
    return load_classifier(path, Options(device, engine, precision, trust))
