"""Prepare: fetch a backbone and convert it, once, in a subprocess.

Importing torch and timm and converting a network takes seconds and a few hundred megabytes. In a
subprocess, it leaves the main process free to decode pictures, and its memory is released.

Run as ``python -m ilk.engines.prepare JOB``, with a `PrepareJob` as JSON; replies with JSON.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from ilk import errors
from ilk.data.cache import touch
from ilk.errors import EngineError, IlkError, ModelError, UsageError
from ilk.models.bundle import Bundle, is_bundle
from ilk.runtime import cache_dir
from ilk.spec import Preprocess
from ilk.text import escaped

Processes = set[subprocess.Popen[str]]  # those that run


@dataclass(frozen=True)
class PrepareJob:
    """What to prepare: a backbone's bundle at ``path`` and, if ``graph``, its OpenVINO graph."""

    path: str
    graph: bool
    name: str = ""
    weights: str | None = None
    preprocess: str = ""

    def done(self, bundle: Bundle | None = None) -> Bundle | None:
        """Return the bundle if everything is there already.

        To read it takes a second per gigabyte, so one that was read is passed on as ``bundle``.
        """
        from ilk.engines.openvino import has_graph

        bundle = bundle or self._read()
        return None if bundle is None or (self.graph and not has_graph(bundle)) else bundle

    def _read(self) -> Bundle | None:
        """Return the bundle if it is there."""
        path = Path(self.path)
        if not path.is_file():
            return None
        try:
            bundle = Bundle.load(path)
        except ModelError:
            if self.name:  # a damaged file in the cache, which can be fetched again
                path.unlink(missing_ok=True)
                return None
            raise
        if self.name:
            touch(path)
        return bundle


def backbone_file(name: str, weights: Path | None, preprocess: Preprocess) -> Path:
    """Return the path of a backbone's Bundle in the cache, whether it is there or not.

    Raises
    ------
    UsageError
        The weights file is not there.
    """
    record = [name, preprocess.model_dump(exclude={"conversion"}), version("timm"), None]
    if weights is not None:
        try:
            record[-1] = hashlib.sha256(weights.read_bytes()).hexdigest()
        except OSError as error:
            raise UsageError(
                f"The weights file {escaped(weights)} cannot be read: {error.strerror}."
            ) from None
    key = hashlib.sha256(json.dumps(record).encode()).hexdigest()
    return cache_dir("backbones") / f"{name}-{key[:16]}.safetensors"


def prepare_here(job: PrepareJob) -> Bundle:
    """Do what is missing of a job, in this process, and return the bundle."""
    bundle = replace(job, graph=False).done()
    if bundle is None:
        _fetch(job).save(Path(job.path))
        bundle = Bundle.load(Path(job.path))
    if job.graph:
        from ilk.engines.openvino import convert, has_graph

        if not has_graph(bundle):
            convert(bundle)
    return bundle


def prepare_in_subprocess(
    job: PrepareJob, processes: Processes | None = None, bundle: Bundle | None = None
) -> Bundle:
    """Do what is missing of a job in a subprocess, and return the bundle.

    Parameters
    ----------
    job : PrepareJob
    processes : Processes, optional
        Holds the subprocess while it runs.
    bundle : Bundle, optional
        What was read from the job's path, if it was.

    Raises
    ------
    IlkError
        What the subprocess raised.
    """
    found = job.done(bundle)
    if found is not None:
        return found
    processes = set() if processes is None else processes
    # -P: no module is taken from the folder that the user happens to be in.
    command = [sys.executable, "-P", "-m", "ilk.engines.prepare", json.dumps(asdict(job))]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        processes.add(child)
        try:
            out, err = child.communicate()
        except BaseException:
            child.terminate()
            raise
        finally:
            processes.discard(child)
    if child.returncode in {-signal.SIGINT, -signal.SIGTERM}:  # nothing to fall back from
        raise IlkError("Preparing the network was interrupted.")
    try:
        reply = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        last = (err.strip().splitlines() or ["no output"])[-1]
        raise EngineError(
            f"Preparing the network failed with exit code {child.returncode}: {last}"
        ) from None
    if reply["error"]:
        raise getattr(errors, reply["error"])(reply["message"])
    return bundle or Bundle.load(Path(job.path))


@contextmanager
def terminated_on_error() -> Iterator[Processes]:
    """Yield a set for `open_backbone`; if the body fails, terminate the processes in it.

    For a body that prepares in another thread, which would otherwise wait for them to finish.
    """
    processes: Processes = set()
    try:
        yield processes
    except BaseException:
        for process in tuple(processes):
            process.terminate()
        raise


def _fetch(job: PrepareJob) -> Bundle:
    """Return a pretrained backbone as a Bundle, from a file, a model of ilk or the hub."""
    from ilk.models.backbones import check_size, describe
    from ilk.models.network import build, bundle_of
    from ilk.models.weights import pretrained
    from ilk.spec import Spec

    info = describe(job.name)
    preprocess = Preprocess.model_validate_json(job.preprocess)
    if preprocess.imgsz != info.imgsz:
        check_size(job.name, preprocess.imgsz)
    if job.weights and is_bundle(Path(job.weights)):
        trained = Bundle.load(Path(job.weights))
        backbone = trained.spec.backbone.model_copy(update={"weights": "a model of ilk"})
        bare = trained.bare(Spec(backbone=backbone, preprocess=preprocess))
        build(bare)  # refuses tensors that do not fit
        return bare
    model, source = pretrained(job.name, Path(job.weights) if job.weights else None)
    spec = Spec(backbone=info.spec(source), preprocess=preprocess)
    return bundle_of(model, spec)


def main(argument: str) -> None:
    """Do a job, and reply with one line of JSON on stdout."""
    reply = {"error": "", "message": ""}
    try:
        prepare_here(PrepareJob(**json.loads(argument)))
    except IlkError as error:
        reply = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(reply))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
