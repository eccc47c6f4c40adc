"""Engines: what runs a network. `open_engine` and `open_backbone` choose and make one ready."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from ilk.engines.base import Engine, Outputs, Precision
from ilk.engines.prepare import Job, backbone_file, prepare_apart, prepare_here
from ilk.errors import EngineError, UsageError
from ilk.models.bundle import Bundle
from ilk.runtime import pick_device
from ilk.spec import Preprocess

EngineName = Literal["auto", "openvino", "pytorch"]
log = logging.getLogger("ilk")


@dataclass(frozen=True)
class Options:
    """Where and how a network is to run; whether a file that may hold code is to be trusted."""

    device: str = "auto"
    engine: EngineName = "auto"
    precision: Precision = "auto"
    trust: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("engine", EngineName), ("precision", Precision)):
            if getattr(self, name) not in get_args(kind):
                raise UsageError(
                    f"{name} = {getattr(self, name)!r}: give one of {', '.join(get_args(kind))}."
                )

    def resolved(self) -> Options:
        """Return the options with ``auto`` decided for this machine.

        Raises
        ------
        UsageError
            OpenVINO is asked for on a GPU, or the device is not there.
        """
        from ilk.engines import openvino

        device = pick_device("cpu" if self.engine == "openvino" else self.device)
        if self.engine == "openvino" and self.device not in {"auto", "cpu"}:
            raise UsageError(f"--engine openvino runs on the CPU; drop --device {self.device}.")
        if self.engine != "auto":
            return replace(self, device=device)
        use_openvino = device == "cpu" and openvino.available()
        return replace(self, device=device, engine="openvino" if use_openvino else "pytorch")


def open_engine(bundle: Bundle, path: Path, options: Options) -> Engine:
    """Make a Bundle, read from ``path``, ready to run."""
    return _prepared(Job(str(path), graph=True), bundle, options)[1]


def open_backbone(
    name: str, weights: Path | None, preprocess: Preprocess, options: Options
) -> tuple[Bundle, Engine]:
    """Make a pretrained backbone ready to run, from the cache where it has been prepared before."""
    return _prepared(backbone_job(name, weights, preprocess), None, options)


def prepared_backbone(name: str, weights: Path | None, preprocess: Preprocess) -> Bundle:
    """Return a pretrained backbone, from the cache where it has been fetched before."""
    job = replace(backbone_job(name, weights, preprocess), graph=False)
    prepare_here(job)
    return Bundle.load(Path(job.path))


def is_prepared(name: str, weights: Path | None, preprocess: Preprocess, options: Options) -> bool:
    """Say whether `open_backbone` would find everything in the cache."""
    job = backbone_job(name, weights, preprocess)
    return replace(job, graph=options.resolved().engine == "openvino").done()


def backbone_job(name: str, weights: Path | None, preprocess: Preprocess) -> Job:
    """Return the job of fetching and converting a pretrained backbone."""
    return Job(
        path=str(backbone_file(name, weights, preprocess)),
        graph=True,
        name=name,
        weights=str(weights) if weights else None,
        preprocess=preprocess.model_dump_json(),
    )


def _prepared(job: Job, bundle: Bundle | None, options: Options) -> tuple[Bundle, Engine]:
    """Do the job, and start the engine; a network that OpenVINO cannot take runs in PyTorch."""
    chosen = options.resolved()
    if chosen.engine == "openvino":
        try:
            prepare_apart(job)
        except EngineError as error:
            if options.engine != "auto":
                raise
            log.warning("%s Going on with PyTorch, which is slower.", error)
            chosen = replace(chosen, engine="pytorch")
    if chosen.engine == "pytorch" and job.name:
        prepare_here(replace(job, graph=False))
    bundle = bundle or Bundle.load(Path(job.path))
    return bundle, _start(bundle, chosen)


def _start(bundle: Bundle, options: Options) -> Engine:
    if options.engine == "openvino":
        from ilk.engines.openvino import OpenVINOEngine

        return OpenVINOEngine(bundle, options.precision)
    from ilk.engines.pytorch import PyTorchEngine

    return PyTorchEngine(bundle, options.device, options.precision)


__all__ = [
    "Engine",
    "Options",
    "Outputs",
    "Precision",
    "open_backbone",
    "open_engine",
    "prepared_backbone",
]
