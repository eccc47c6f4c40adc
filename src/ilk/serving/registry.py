"""Registry: the served models by name and version; loaded, warmed up, checked, and swapped."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

from fastapi import HTTPException

from ilk.data.catalog import Catalog
from ilk.data.decode import decode
from ilk.data.limits import Threads
from ilk.engines import Options
from ilk.errors import UsageError
from ilk.folder import digest_of
from ilk.inference.classifier import Classifier, applicable_options, load, model_file
from ilk.runtime import cores
from ilk.serving.acceptance import (
    digest_if_readable,
    refuse_changed,
    refuse_other_classes,
    refuse_wrong,
    warm_up,
)
from ilk.serving.batcher import Batcher, lower_thread_priority, run_at_lower_priority
from ilk.serving.limits import RETRY, Limits
from ilk.serving.metrics import Metrics
from ilk.text import escaped

MIN_STALL_S = 3.0
STALL_FACTOR = 20  # a batch that takes this many times longer than at the warm-up counts as lost
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class ModelSource:
    """A model to serve, as the command line names it: ``[NAME[@VERSION]=]PATH``.

    Attributes
    ----------
    version : str
        Empty: the first twelve digits of the file's SHA-256.
    """

    name: str
    version: str
    path: Path

    @classmethod
    def parse(cls, text: str) -> ModelSource:
        """Parse the argument; the default name is that of the run's folder or of the file.

        Raises
        ------
        UsageError
            The name cannot be used in a URL.
        """
        given, equals, rest = text.partition("=")
        if not equals or Path(text).exists():
            file = model_file(Path(text)).resolve()
            own = file.parent.name if file.stem.startswith("model") else file.stem
            return cls(re.sub(r"[^A-Za-z0-9._-]", "-", own).strip(".-_") or "model", "", Path(text))
        name, _, version = given.partition("@")
        for word in (name, version or "1"):
            if not NAME.fullmatch(word):
                raise UsageError(
                    f"{escaped(given)} is not a valid model name: use letters, digits, '.', '_' "
                    "and '-', as in cats@2=runs/cats."
                )
        return cls(name, version, Path(rest))


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model that is loaded and answers requests.

    Attributes
    ----------
    name, version : str
    file : Path
    digest : str
        The SHA-256 of the file that was loaded.
    classifier : Classifier
    batcher : Batcher
    """

    name: str
    version: str
    file: Path
    digest: str
    classifier: Classifier
    batcher: Batcher

    @property
    def full_name(self) -> str:
        """Name and version, as in ``cats@2``."""
        return f"{self.name}@{self.version}"

    @property
    def explains(self) -> bool:
        """Whether it can explain its predictions; exported models cannot."""
        return not self.classifier.exported

    def unchanged(self) -> bool:
        """Whether its file is still the one that was loaded."""
        return digest_of(self.file) == self.digest


class ModelRegistry:
    """All models of a service. They are replaced in one step, so that no request sees a mixture.

    Parameters
    ----------
    sources : sequence of ModelSource
        The first name is the default model; of each name, the last version is the default.
    golden : Catalog, optional
        Labelled pictures; a model that gets one of them wrong is not served.
    """

    def __init__(
        self,
        sources: Sequence[ModelSource],
        options: Options,
        limits: Limits,
        metrics: Metrics,
        golden: Catalog | None = None,
    ) -> None:
        if not sources:
            raise UsageError("Give at least one model.")
        self._sources = sources
        self._options = options
        self._limits = limits
        self._metrics = metrics
        self._golden = golden
        self._served: tuple[ServedModel, ...] = ()
        self._closing: list[ServedModel] = []
        self._decoders = Threads(cores(), "ilk-decode", lower_thread_priority)
        self._loading = threading.Lock()
        self._swapping = threading.Lock()

    @property
    def all(self) -> tuple[ServedModel, ...]:
        """All served models; empty before `load`."""
        return self._served

    def load(self) -> None:
        """Load all models again, warm them up and check them; then swap them in.

        Raises
        ------
        IlkError
            One of them cannot be served; the models in use stay in use.
        HTTPException
            409: they are being loaded already.
        """
        if not self._loading.acquire(blocking=False):
            raise HTTPException(409, "The models are being loaded already.")
        opened: list[ServedModel] = []
        try:
            for source, old in zip_longest(self._sources, self._served):
                opened.append(run_at_lower_priority(self._open, source, old))
                _refuse_duplicate(opened)
        except BaseException:
            self._retire(opened)
            raise
        else:
            self._swap(tuple(opened))
        finally:
            self._loading.release()

    def find(self, name: str | None, version: str | None) -> ServedModel:
        """Return the model that a request asks for.

        Raises
        ------
        HTTPException
            There is no such model (404), or none is loaded yet (503).
        """
        if not self._served:
            raise HTTPException(503, "The models are being loaded; try again in a moment.", RETRY)
        name = name or self._served[0].name
        if "@" in name and not version:
            name, _, version = name.partition("@")
        for served in reversed(self._served):
            if served.name == name and version in {None, "", served.version}:
                return served
        asked = f"{name}@{version}" if version else name
        known = ", ".join(served.full_name for served in self._served)
        raise HTTPException(404, f"No model {asked!r}; there is {known}.")

    @contextmanager
    def lease(self, name: str | None, version: str | None) -> Iterator[ServedModel]:
        """Find a model, and keep it running for the block even if a reload replaces it.

        Raises
        ------
        HTTPException
            As for `find`.
        """
        with self._swapping:
            served = self.find(name, version)
            served.batcher.acquire_lease()
        try:
            yield served
        finally:
            served.batcher.release_lease()

    def check(self) -> None:
        """Replace engine threads that hang; to be called several times a second."""
        for served in [s for s in self._closing if s.batcher.ended]:
            self._closing.remove(served)  # in place: a loading thread may be adding others
            _close_engine(served)
        for served in (*self._served, *self._closing):
            served.batcher.check()

    @property
    def broken(self) -> bool:
        """Whether one of them has failed several times in a row."""
        return any(served.batcher.broken for served in self._served)

    def close(self) -> None:
        """Stop serving, and wait until every model has answered what it accepted."""
        self._swap(())
        while self._closing:
            served = self._closing.pop()
            served.batcher.wait()
            if served.batcher.ended:
                _close_engine(served).join(MIN_STALL_S)
        self._decoders.shutdown(wait=False)

    def _swap(self, served: tuple[ServedModel, ...]) -> None:
        with self._swapping:
            replaced, self._served = self._served, served
        self._retire(replaced)

    def _retire(self, models: Sequence[ServedModel]) -> None:
        """Let models end once they have answered; `check` then closes their engines."""
        self._closing += models
        for served in models:
            served.batcher.close()

    def _open(self, source: ModelSource, old: ServedModel | None) -> ServedModel:
        file = model_file(source.path)
        digest = digest_if_readable(file)
        classifier = load(source.path, **asdict(applicable_options(source.path, self._options)))
        try:
            refuse_changed(file, digest)
            if old is not None:
                refuse_other_classes(old.name, old.classifier.classes, classifier)
            slowest = warm_up(classifier, self._limits.batch)
            if self._golden is not None:
                refuse_wrong(classifier, self._golden, self._limits.batch)
        except BaseException:
            classifier.close()
            raise
        batcher = Batcher(
            functools.partial(
                decode,
                preprocess=classifier.spec.preprocess,
                formats=self._limits.formats_of(classifier.spec),
            ),
            classifier.predict_batch,
            self._decoders,
            batch=self._limits.batch,
            threads=classifier.engine.concurrency,
            stall_s=max(MIN_STALL_S, STALL_FACTOR * slowest),
            metrics=self._metrics,
        )
        version = source.version or digest[:12]
        return ServedModel(source.name, version, file, digest, classifier, batcher)


def _refuse_duplicate(opened: Sequence[ServedModel]) -> None:
    last = opened[-1]
    if any(served.full_name == last.full_name for served in opened[:-1]):
        raise UsageError(
            f"Two models are called {last.full_name}; give them different versions, as in "
            f"{last.name}@2=PATH."
        )


def _close_engine(served: ServedModel) -> threading.Thread:
    """Close a model's engine in a thread, as one that hangs may never close."""
    thread = threading.Thread(target=served.classifier.close, name="ilk-close", daemon=True)
    thread.start()
    return thread
