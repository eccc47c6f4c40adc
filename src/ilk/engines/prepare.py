"""Prepare: fetch a backbone and convert it, once, in a process of its own.

Importing torch and timm and converting a network takes seconds and a few hundred megabytes. Done
apart, it leaves the main process free to decode pictures meanwhile, and gives the memory back.

Run as ``python -m ilk.engines.prepare JOB``, JOB being a `Job` as JSON; answers with JSON.
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
from ilk.models.bundle import Bundle
from ilk.runtime import cache_dir
from ilk.spec import Preprocess
from ilk.text import escaped

_running: set[subprocess.Popen[str]] = set()


@dataclass(frozen=True)
class Job:
    """What is to be prepared: a backbone's bundle at ``path``, and its OpenVINO graph if asked."""

    path: str
    graph: bool
    name: str = ""
    weights: str | None = None
    preprocess: str = ""

    def done(self) -> bool:
        """Say whether everything is there already."""
        from ilk.engines.openvino import has_graph

        path = Path(self.path)
        if not path.is_file():
            return False
        try:
            bundle = Bundle.load(path)
        except ModelError:
            if self.name:  # a damaged file in the cache, which can be made again
                path.unlink(missing_ok=True)
                return False
            raise
        if self.name:
            touch(path)
        return not self.graph or has_graph(bundle)


def backbone_file(name: str, weights: Path | None, preprocess: Preprocess) -> Path:
    """Return where a backbone's Bundle lies in the cache, or will lie.

    Raises
    ------
    UsageError
        The weights file is not there.
    """
    record = [name, preprocess.model_dump(), version("timm"), None]
    if weights is not None:
        try:
            record[-1] = hashlib.sha256(weights.read_bytes()).hexdigest()
        except OSError as error:
            raise UsageError(
                f"The weights file {escaped(weights)} cannot be read: {error.strerror}."
            ) from None
    key = hashlib.sha256(json.dumps(record).encode()).hexdigest()
    return cache_dir("backbones") / f"{name}-{key[:16]}.safetensors"


def prepare_here(job: Job) -> None:
    """Do what is missing of a job, in this process."""
    path = Path(job.path)
    if not replace(job, graph=False).done():
        _fetch(job).save(path)
    if job.graph:
        from ilk.engines.openvino import convert, has_graph

        bundle = Bundle.load(path)
        if not has_graph(bundle):
            convert(bundle)


def prepare_apart(job: Job) -> None:
    """Do what is missing of a job in a process of its own.

    Raises
    ------
    IlkError
        What the other process raised.
    """
    if job.done():
        return
    # -P: no module is taken from the folder that the user happens to be in.
    command = [sys.executable, "-P", "-m", "ilk.engines.prepare", json.dumps(asdict(job))]
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child,
        ended_on_error(),
    ):
        _running.add(child)
        try:
            out, err = child.communicate()
        finally:
            _running.discard(child)
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


@contextmanager
def ended_on_error() -> Iterator[None]:
    """End the processes of `prepare_apart`, whichever thread waits for them, if the body fails."""
    try:
        yield
    except BaseException:
        for child in tuple(_running):
            child.terminate()
        raise


def _fetch(job: Job) -> Bundle:
    """Make the Bundle of a pretrained backbone."""
    from ilk.models.backbones import check_size, describe
    from ilk.models.network import bundle_of
    from ilk.models.weights import pretrained
    from ilk.spec import Spec

    info = describe(job.name)
    preprocess = Preprocess.model_validate_json(job.preprocess)
    if preprocess.imgsz != info.imgsz:
        check_size(job.name, preprocess.imgsz)
    model, source = pretrained(job.name, Path(job.weights) if job.weights else None)
    spec = Spec(backbone=info.spec(source), preprocess=preprocess)
    return bundle_of(model, spec)


def main(argument: str) -> None:
    """Do a job, and answer with one line of JSON on stdout."""
    reply = {"error": "", "message": ""}
    try:
        prepare_here(Job(**json.loads(argument)))
    except IlkError as error:
        reply = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(reply))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
