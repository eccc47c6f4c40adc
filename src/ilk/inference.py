"""Inference, where all stages meet: pictures become features, or a Classifier's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.data.cache import FeatureCache
from ilk.data.catalog import Picture
from ilk.data.decode import from_pil
from ilk.data.stream import Stream
from ilk.engines import Engine, Options, open_engine
from ilk.engines.base import Floats
from ilk.errors import UsageError
from ilk.models.bundle import Bundle
from ilk.runtime import cores
from ilk.spec import Preprocess, Spec

SHARD = 4096
ENCODED = (bytes, bytearray, memoryview)
Tick = Callable[[int], object]


@dataclass(frozen=True)
class Extracted:
    """Features ``float32 [N, D]``, one row a picture, and the pictures that failed, with reasons.

    ``computed`` counts the pictures that went through the backbone; the others were cached.
    """

    features: Floats
    errors: dict[int, str]
    computed: int


def extract(
    pictures: Sequence[Picture],
    opening: Future[tuple[Bundle, Engine]],
    preprocess: Preprocess,
    *,
    batch: int = 32,
    workers: int | None = None,
    tick: Tick = bool,
) -> Extracted:
    """Run digested pictures through a backbone once, taking from the cache what it knows.

    While the backbone is still being made ready, decoding goes ahead.

    Parameters
    ----------
    pictures : sequence of Picture
        With their digests.
    opening : Future of (Bundle, Engine)
        The backbone, perhaps still in the making.
    preprocess : Preprocess
    batch, workers : int
        Pictures in a batch, and decoding threads.
    tick : callable
        Told of every number of pictures that are done.
    """
    # One core stays free for making the backbone ready, which takes longer than decoding.
    spare = workers or max(1, cores() - 1)
    ahead = None if opening.done() else Stream(pictures, preprocess, batch=batch, workers=spare)
    try:
        bundle, engine = opening.result()
    except BaseException:
        if ahead:
            ahead.close()
        raise
    cache = FeatureCache(_cache_key(bundle, engine, preprocess))
    features = np.zeros((len(pictures), bundle.spec.backbone.features), np.float32)
    known = np.zeros(len(pictures), bool)
    if ahead is None:
        known = cache.fill([p.digest for p in pictures], features)
        tick(int(known.sum()))
    todo = np.flatnonzero(~known)
    stream = ahead or Stream([pictures[i] for i in todo], preprocess, batch=batch, workers=workers)
    errors: dict[int, str] = {}
    fresh: list[int] = []
    for chunk in stream:
        rows = todo[chunk.indices]
        if len(rows):
            features[rows] = engine.run(chunk.pixels).features
        errors |= {int(todo[i]): reason for i, reason in chunk.errors.items()}
        fresh += rows.tolist()
        if len(fresh) >= SHARD:
            _remember(cache, pictures, features, fresh)
            fresh = []
        tick(len(rows) + len(chunk.errors))
    _remember(cache, pictures, features, fresh)
    return Extracted(features, errors, computed=len(todo) - len(errors))


def _cache_key(bundle: Bundle, engine: Engine, preprocess: Preprocess) -> str:
    rule = f"{preprocess.imgsz}-{preprocess.resize}-{preprocess.interpolation}"
    return f"{bundle.backbone_digest[:32]}-{rule}-{engine.name}".replace(":", "_")


def _remember(
    cache: FeatureCache, pictures: Sequence[Picture], features: Floats, rows: list[int]
) -> None:
    if rows:
        cache.add([pictures[i].digest for i in rows], features[rows])


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Return probabilities ``float32 [N, K]`` of logits ``[N, K]`` divided by a temperature."""
    scaled = logits / np.float32(temperature)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


@dataclass(frozen=True)
class Prediction:
    """What a Classifier makes of one picture; with ``error`` there is nothing else."""

    path: str
    label: str | None
    probability: float | None
    top: tuple[tuple[str, float], ...]
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``ilk predict --json`` prints."""
        return {
            "path": self.path,
            "label": self.label,
            "probability": self.probability,
            "top": [{"label": label, "probability": p} for label, p in self.top],
            "error": self.error,
        }


@dataclass(frozen=True)
class Predictions(Sequence[Prediction]):
    """Predictions in the order of the pictures.

    Attributes
    ----------
    paths : tuple of str
    classes : tuple of str
        The names of the columns of ``probabilities``.
    probabilities : float32 array [N, K]
        A row of NaN where a picture could not be read.
    errors : dict of int to str
        The reasons, by row.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    errors: dict[int, str]

    @property
    def labels(self) -> list[str | None]:
        """The most probable class of each picture; None where it could not be read."""
        best = np.nan_to_num(self.probabilities).argmax(axis=1)
        return [None if i in self.errors else self.classes[k] for i, k in enumerate(best)]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        """Return one Prediction, or those of a slice, with the five most probable classes."""
        if isinstance(index, slice):
            return [self.at(i) for i in range(*index.indices(len(self)))]
        return self.at(range(len(self))[index])

    def at(self, row: int, top: int = 5) -> Prediction:
        """Return the prediction of a row, with its ``top`` most probable classes."""
        if row in self.errors:
            return Prediction(self.paths[row], None, None, (), self.errors[row])
        values = self.probabilities[row]
        best = np.argsort(-values, kind="stable")[:top]
        pairs = tuple((self.classes[k], round(float(values[k]), 6)) for k in best)
        return Prediction(self.paths[row], pairs[0][0], pairs[0][1], pairs)


class Classifier:
    """A trained model, ready to name pictures: a Spec and an Engine.

    Make one with `ilk.load`.
    """

    def __init__(self, spec: Spec, engine: Engine, source: str = "") -> None:
        self.spec = spec
        self.engine = engine
        self.source = source

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.spec.classes

    def __repr__(self) -> str:
        name, number = self.spec.backbone.name, len(self.classes)
        return f"Classifier({name}, {number} classes, {self.engine.name})"

    def predict(self, pictures: Any, *, batch: int = 32, workers: int | None = None) -> Predictions:
        """Name pictures.

        Parameters
        ----------
        pictures : path, array, PIL image, bytes, or a list or Catalog of them
            Arrays are ``uint8 [H, W, 3]`` RGB or ``[H, W]`` grey of any size; an array
            ``[N, H, W, 3]`` is N pictures. Bytes are an encoded picture.
        batch, workers : int
            Pictures in a batch, and decoding threads.

        Returns
        -------
        Predictions
            A picture that cannot be read has an error in its row; the others are not harmed.
        """
        return gathered(self.stream(as_pictures(pictures), batch=batch, workers=workers), self)

    def stream(
        self, pictures: Sequence[Picture], *, batch: int = 32, workers: int | None = None
    ) -> Iterator[Predictions]:
        """Yield the predictions batch by batch, in order and in bounded memory."""
        start = 0
        for chunk in Stream(pictures, self.spec.preprocess, batch=batch, workers=workers):
            number = len(chunk.indices) + len(chunk.errors)
            values = np.full((number, len(self.classes)), np.nan, np.float32)
            if chunk.indices:
                rows = np.array(chunk.indices) - start
                logits = self.engine.run(chunk.pixels).logits
                if logits is None:
                    raise UsageError("This is a bare backbone, not a classifier.")
                values[rows] = softmax(logits, self.spec.temperature)
            yield Predictions(
                tuple(p.path for p in pictures[start : start + number]),
                self.classes,
                values,
                {i - start: reason for i, reason in chunk.errors.items()},
            )
            start += number


def gathered(parts: Iterable[Predictions], classifier: Classifier) -> Predictions:
    """Join the predictions of successive batches."""
    paths: list[str] = []
    errors: dict[int, str] = {}
    values = [np.zeros((0, len(classifier.classes)), np.float32)]
    for part in parts:
        errors |= {len(paths) + i: reason for i, reason in part.errors.items()}
        paths += part.paths
        values.append(part.probabilities)
    return Predictions(tuple(paths), classifier.classes, np.concatenate(values), errors)


def ticking(parts: Iterable[Predictions], tick: Tick) -> Iterator[Predictions]:
    """Pass batches on, telling ``tick`` of each."""
    for part in parts:
        tick(len(part))
        yield part


def load(path: str | PathLike[str], options: Options | None = None) -> Classifier:
    """Load a trained model; see `ilk.load`."""
    file = Path(path)
    if (file / "model.safetensors").is_file():  # a run folder
        file = file / "model.safetensors"
    bundle = Bundle.load(file)
    if not bundle.spec.classes:
        raise UsageError(f"{file} is a bare backbone without classes, not a classifier.")
    return Classifier(bundle.spec, open_engine(bundle, file, options or Options()), str(file))


def as_pictures(inputs: Any) -> list[Picture]:
    """Turn what users hold in their hands into Pictures."""
    inputs = getattr(inputs, "pictures", inputs)
    single = isinstance(inputs, (str, *ENCODED)) or not isinstance(inputs, Iterable)
    if single or (isinstance(inputs, np.ndarray) and inputs.ndim < 4):
        inputs = [inputs]
    return [_as_picture(item, i) for i, item in enumerate(inputs)]


def _as_picture(item: Any, index: int) -> Picture:
    if isinstance(item, Picture):
        return item
    if isinstance(item, str | PathLike):
        return Picture(str(item))
    name = f"picture {index}"
    if isinstance(item, ENCODED):
        return Picture(name, content=bytes(item))
    if isinstance(item, np.ndarray):
        from ilk.data.catalog import rgb

        return Picture(name, content=rgb(item, index))
    if hasattr(item, "getexif"):  # a PIL image
        return Picture(name, content=from_pil(item))
    raise UsageError(
        f"Picture {index} is a {type(item).__name__}; give a path, encoded bytes, a PIL image, or "
        "a uint8 array [H, W, 3]."
    )
