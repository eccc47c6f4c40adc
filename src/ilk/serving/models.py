"""Models: what is served, by name and version; loaded, warmed up, checked, and swapped."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from ilk.data.catalog import Catalog
from ilk.data.decode import decode
from ilk.data.stream import decoded
from ilk.engines import Options
from ilk.engines.files import digest_of
from ilk.errors import ModelError, UsageError
from ilk.inference import Classifier, fitting, load, model_file
from ilk.runtime import cores
from ilk.serving.batcher import Batcher
from ilk.serving.limits import Limits
from ilk.serving.niceness import be_nice, nicely
from ilk.serving.refusals import Refusal
from ilk.serving.watch import Watch
from ilk.text import escaped

SHORTEST_STALL_S = 3.0
SLOWER = 20  # times slower than at the warm-up, and a batch counts as lost
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Place:
    """A model to be served, as the command line names it: ``[NAME[@VERSION]=]PATH``.

    Attributes
    ----------
    name : str
    version : str
        Empty: the first twelve digits of the file's SHA-256.
    path : Path
    """

    name: str
    version: str
    path: Path

    @classmethod
    def of(cls, text: str) -> Place:
        """Read one; without a name, it is that of the run's folder or of the file.

        Raises
        ------
        UsageError
            The name cannot stand in an address.
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
                    f"{escaped(given)} is no name for a model: letters, digits, '.', '_' and '-', "
                    "as in cats@2=runs/cats."
                )
        return cls(name, version, Path(rest))


@dataclass(frozen=True, eq=False)
class Served:
    """A model that answers.

    Attributes
    ----------
    name, version : str
    digest : str
        The SHA-256 of its file.
    classifier : Classifier
    batcher : Batcher
    """

    name: str
    version: str
    digest: str
    classifier: Classifier
    batcher: Batcher

    @property
    def explains(self) -> bool:
        """Whether it can say what in a picture spoke for an answer."""
        return not self.classifier.exported


class Models:
    """All models of a service. What is served changes in one step, so that no request sees half.

    Parameters
    ----------
    places : sequence of Place
        Of several versions of a name, the last is the one that is meant where none is asked for;
        of several names, the first.
    options : Options
    limits : Limits
    watch : Watch
    golden : Catalog, optional
        Labelled pictures; a model that names one of them otherwise is not served.
    """

    def __init__(
        self,
        places: Sequence[Place],
        options: Options,
        limits: Limits,
        watch: Watch,
        golden: Catalog | None = None,
    ) -> None:
        if not places:
            raise UsageError("Give one model at least.")
        self._places = places
        self._options = options
        self._limits = limits
        self._watch = watch
        self._golden = golden
        self._served: tuple[Served, ...] = ()
        self._closing: list[Served] = []
        self._decoders = ThreadPoolExecutor(cores(), "ilk-decode", be_nice)
        self._loading = threading.Lock()

    @property
    def all(self) -> tuple[Served, ...]:
        """All that are served; none before `load`."""
        return self._served

    def load(self) -> None:
        """Load all models anew, warm them up and check them; then let them answer.

        Raises
        ------
        IlkError
            One of them cannot be served; what was served before still is.
        """
        if not self._loading.acquire(blocking=False):
            raise Refusal(409, "The models are being loaded already.")
        opened: list[Served] = []
        try:
            for place, old in zip_longest(self._places, self._served):
                opened.append(nicely(self._opened, place, old))
                self._refuse_double(opened)
            replaced, self._served = self._served, tuple(opened)
        except BaseException:
            _close(opened)
            raise
        finally:
            self._loading.release()
        self._closing += replaced
        _close(replaced)

    def find(self, name: str | None, version: str | None) -> Served:
        """Return the model that a request means.

        Raises
        ------
        Refusal
            There is no such model (404), or none is ready (503).
        """
        if not self._served:
            raise Refusal(503, "The models are being loaded; try again in a moment.", retry_s=1)
        name = name or self._served[0].name
        if "@" in name and not version:  # as it is written elsewhere
            name, _, version = name.partition("@")
        for served in reversed(self._served):
            if served.name == name and version in {None, "", served.version}:
                return served
        there = ", ".join(f"{served.name}@{served.version}" for served in self._served)
        asked = f"{name}@{version}" if version else name
        raise Refusal(404, f"No model {asked!r}; there is {there}.")

    def check(self) -> None:
        """Replace what hangs; call this several times a second."""
        for served in [s for s in self._closing if s.batcher.ended]:
            self._closing.remove(served)  # in place: a thread that loads may be adding others
        for served in (*self._served, *self._closing):
            served.batcher.check()

    @property
    def broken(self) -> bool:
        """Whether one of them has not answered several times in a row."""
        return any(served.batcher.broken for served in self._served)

    def close(self) -> None:
        """Let every model end once it has answered what it took, and wait for that."""
        served, self._served = self._served, ()  # nothing is found any more
        _close(served)
        for one in (*served, *self._closing):
            one.batcher.wait()
        self._decoders.shutdown(wait=False)

    def _opened(self, place: Place, old: Served | None) -> Served:
        path = model_file(place.path)
        classifier = load(place.path, fitting(place.path, self._options))
        digest = digest_of(path)
        version = place.version or digest[:12]
        _refuse_changed(old, classifier)
        slowest = _warmed_up(classifier, self._limits.batch)
        self._refuse_wrong(classifier)
        preprocess, formats = classifier.spec.preprocess, self._limits.formats
        batcher = Batcher(
            functools.partial(decode, preprocess=preprocess, formats=formats),
            classifier.named,
            self._decoders,
            batch=self._limits.batch,
            lanes=classifier.engine.lanes,
            stall_s=max(SHORTEST_STALL_S, SLOWER * slowest),
            watcher=self._watch,
        )
        return Served(place.name, version, digest, classifier, batcher)

    def _refuse_double(self, opened: Sequence[Served]) -> None:
        last = opened[-1]
        if any((s.name, s.version) == (last.name, last.version) for s in opened[:-1]):
            raise UsageError(
                f"Two models are called {last.name}@{last.version}; name them, as in "
                f"{last.name}@2=PATH."
            )

    def _refuse_wrong(self, classifier: Classifier) -> None:
        """Refuse a model that answers other than it should to golden pictures."""
        if self._golden is None:
            return
        pictures = [p for p in self._golden.pictures if p.label is not None]
        pixels, read = decoded(pictures, classifier.spec.preprocess)
        if not read:
            raise UsageError("--golden has no labelled picture that can be read.")
        answers = [p.label for p in classifier.named(pixels)]
        wrong = [
            f"{escaped(pictures[i].path)} is {pictures[i].label}, not {answer}"
            for i, answer in zip(read, answers, strict=True)
            if answer != pictures[i].label
        ]
        if wrong:
            raise ModelError(
                f"{escaped(classifier.source)} is not served: of {len(read)} golden pictures it "
                f"names {len(wrong)} otherwise ({'; '.join(wrong[:3])})."
            )


def _refuse_changed(old: Served | None, classifier: Classifier) -> None:
    """Refuse other classes in the place of a model that is served: its clients do not know them."""
    if old is not None and old.classifier.classes != classifier.classes:
        raise ModelError(
            f"{escaped(classifier.source)} knows other classes than '{old.name}', which it is to "
            "replace; serve it under another name."
        )


def _warmed_up(classifier: Classifier, batch: int) -> float:
    """Run black pictures, one and many, and return how many seconds a whole batch takes."""
    side = classifier.spec.preprocess.imgsz
    classifier.named(np.zeros((1, side, side, 3), np.uint8))
    many = np.zeros((batch, side, side, 3), np.uint8)
    classifier.named(many)
    began = time.perf_counter()
    classifier.named(many)
    return time.perf_counter() - began


def _close(served: Sequence[Served]) -> None:
    for one in served:
        one.batcher.close()
