"""Engines: what runs a network. `open_engine` and `open_backbone` choose and prepare one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from ilk.engines.base import Engine, Precision
from ilk.engines.prepare import (
    PrepareJob,
    Processes,
    backbone_file,
    prepare_here,
    prepare_in_subprocess,
)
from ilk.errors import EngineError, UsageError
from ilk.models.bundle import Bundle
from ilk.runtime import installed, pick_device
from ilk.spec import Preprocess

EngineName = Literal["auto", "openvino", "pytorch"]
log = logging.getLogger("ilk")


@dataclass(frozen=True)
class Options:
    """Where and how to run a network, and whether to trust files that may hold code."""

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
            OpenVINO is requested on a GPU, or the device does not exist.
        """
        device = pick_device("cpu" if self.engine == "openvino" else self.device)
        if self.engine == "openvino" and self.device not in {"auto", "cpu"}:
            raise UsageError(f"--engine openvino runs on the CPU; drop --device {self.device}.")
        if self.engine != "auto":
            return replace(self, device=device)
        use_openvino = device == "cpu" and installed("openvino")
        return replace(self, device=device, engine="openvino" if use_openvino else "pytorch")


def open_engine(bundle: Bundle, path: Path, options: Options) -> Engine:
    """Return an Engine for a Bundle that was read from ``path``."""
    return _opened(PrepareJob(str(path), graph=True), bundle, options, None)[1]


def open_backbone(
    name: str,
    weights: Path | None,
    preprocess: Preprocess,
    options: Options,
    processes: Processes | None = None,
    found: Bundle | None = None,
) -> tuple[Bundle, Engine]:
    """Return a pretrained backbone and its Engine, from the cache if it was prepared before.

    Parameters
    ----------
    name : str
    weights : Path or None
        A file of weights; None: the pretrained ones.
    preprocess : Preprocess
    options : Options
    processes : Processes, optional
        Holds the subprocess that prepares it while it runs: see `terminated_on_error`.
    found : Bundle, optional
        What `find_prepared` returned for the same arguments.
    """
    if found is not None:
        return found, _start(found, options.resolved())
    return _opened(backbone_job(name, weights, preprocess), None, options, processes)


def prepared_backbone(name: str, weights: Path | None, preprocess: Preprocess) -> Bundle:
    """Return a pretrained backbone, from the cache if it was fetched before."""
    job = replace(backbone_job(name, weights, preprocess), graph=False)
    return prepare_here(job)


def find_prepared(
    name: str, weights: Path | None, preprocess: Preprocess, options: Options
) -> Bundle | None:
    """Return the backbone if `open_backbone` would find everything in the cache."""
    job = backbone_job(name, weights, preprocess)
    return replace(job, graph=options.resolved().engine == "openvino").done()


def backbone_job(name: str, weights: Path | None, preprocess: Preprocess) -> PrepareJob:
    """Return the job of fetching and converting a pretrained backbone."""
    return PrepareJob(
        path=str(backbone_file(name, weights, preprocess)),
        graph=True,
        name=name,
        weights=str(weights) if weights else None,
        preprocess=preprocess.model_dump_json(exclude={"conversion"}),  # it is of no network
    )


def _opened(
    job: PrepareJob, bundle: Bundle | None, options: Options, processes: Processes | None
) -> tuple[Bundle, Engine]:
    """Prepare the files and start the engine; fall back to PyTorch if OpenVINO cannot convert."""
    chosen = options.resolved()
    if chosen.engine == "openvino":
        try:
            bundle = prepare_in_subprocess(job, processes, bundle)
        except EngineError as error:
            if options.engine != "auto":
                raise
            log.warning("%s Falling back to PyTorch, which is slower.", error)
            chosen = replace(chosen, engine="pytorch")
    if chosen.engine == "pytorch" and job.name:
        bundle = prepare_here(replace(job, graph=False))
    assert bundle is not None
    return bundle, _start(bundle, chosen)


def _start(bundle: Bundle, options: Options) -> Engine:
    if options.engine == "openvino":
        from ilk.engines.openvino import OpenVINOEngine

        return OpenVINOEngine(bundle, options.precision)
    from ilk.engines.pytorch import PyTorchEngine

    return PyTorchEngine(bundle, options.device, options.precision)
