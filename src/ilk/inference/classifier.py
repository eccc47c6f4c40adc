"""Classifier: a Spec and an Engine, ready to predict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.data.catalog import Picture
from ilk.data.inputs import pictures_of
from ilk.data.limits import pixel_limit
from ilk.data.stream import Batch, Stream
from ilk.engines import EngineName, Options, open_engine
from ilk.engines.base import Engine, Precision
from ilk.errors import ModelError, UsageError
from ilk.formats import format_of
from ilk.formats.base import Format
from ilk.inference.origin import Origin, put_in_cache
from ilk.inference.predictions import Predictions, concatenate
from ilk.inference.records import Records
from ilk.library_warnings import quiet_libraries
from ilk.models.bundle import Bundle
from ilk.progress import ProgressOption, progress_of
from ilk.runtime import silent
from ilk.spec import Spec


class Classifier:
    """A trained model, ready to predict: a Spec and an Engine.

    Make one with `ilk.load`.

    Parameters
    ----------
    spec : Spec
    engine : Engine
    source : str
        What the model is called in messages and reports.
    records : Records, optional
        What it stores about its training.
    exported : bool
        Whether it was loaded from an exported file, which can predict but not be explained.
    origin : Origin, optional
        Where it was loaded from. A classifier is pickled and copied by the bytes of its file.
    """

    def __init__(
        self,
        spec: Spec,
        engine: Engine,
        source: str = "",
        records: Records | None = None,
        exported: bool = False,
        origin: Origin | None = None,
    ) -> None:
        self.origin = origin
        self.exported = exported
        self.spec = spec
        self.engine = engine
        self.source = source
        self.records = records or Records.none(len(spec.classes))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.spec.classes

    def weights_file(self) -> Path:
        """Return the ``.safetensors`` that it came from.

        Raises
        ------
        UsageError
            It came from an exported file.
        """
        if self.exported:
            raise UsageError(
                f"{self.source} was exported: it can predict, but not be explained or changed. "
                "Use the model.safetensors that it was exported from."
            )
        return Path(self.source)

    def close(self) -> None:
        """Release what the engine holds besides memory; it cannot predict any more."""
        self.engine.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy by the bytes of the file; whoever unpickles it loads them.

        Raises
        ------
        ModelError
            The file is gone, or has changed since it was loaded.
        UsageError
            It was not loaded from a file.
        """
        if self.origin is None:
            raise UsageError(
                "Only a classifier from ilk.load can be pickled or copied: it is, by its file."
            )
        return _unpickled, (
            self.origin.files(), self.origin.options, self.spec.to_json(), self.source,
        )  # fmt: skip

    def __repr__(self) -> str:
        name, number = self.spec.backbone.name, len(self.classes)
        return f"Classifier({name}, {number} classes, {self.engine.name})"

    @quiet_libraries()
    def predict(
        self,
        pictures: Any,
        *,
        batch: int = 32,
        workers: int | None = None,
        max_pixels: int | None = None,
        progress: ProgressOption = None,
    ) -> Predictions:
        """Predict the classes of pictures.

        Parameters
        ----------
        pictures : path, folder, array, PIL image, bytes, or a list or Catalog of them
            Arrays are ``uint8 [H, W, 3]`` RGB or ``[H, W]`` grey of any size; an array
            ``[N, H, W, 3]`` is N pictures; a model of pictures with more than 8 bits takes other
            types too. Bytes are an encoded picture.
        batch, workers : int
            Pictures in a batch, and decoding threads.
        max_pixels : int, optional
            The most pixels of a picture; larger ones are not read.
        progress : bool or Progress, optional
            Whether to show progress on stderr. Default: bars, in terminals and notebooks only.
            True: elsewhere lines, every few seconds.

        Returns
        -------
        Predictions
            A picture that cannot be read has an error in its row; the others are unaffected.
        """
        deep = self.spec.preprocess.conversion.range is not None
        found = pictures_of(pictures, deep)
        shown = progress_of(progress) if len(found) > batch else silent
        parts = []
        with pixel_limit(max_pixels), shown("classifying", len(found)) as tick:
            for part in self.stream(found, batch=batch, workers=workers):
                parts.append(part)
                tick(len(part))
        return concatenate(parts, self.classes)

    def stream(
        self, pictures: Sequence[Picture], *, batch: int = 32, workers: int | None = None
    ) -> Iterator[Predictions]:
        """Yield the predictions batch by batch, in order and in bounded memory."""
        start = 0
        with Stream(pictures, self.spec.preprocess, batch=batch, workers=workers) as stream:
            for chunk in stream:
                number = len(chunk.indices) + len(chunk.errors)
                paths = tuple(p.path for p in pictures[start : start + number])
                yield self._predicted(chunk, start, paths)
                start += number

    def _predicted(self, chunk: Batch, start: int, paths: tuple[str, ...]) -> Predictions:
        """Predict a batch of a stream, whose first picture has the index ``start``."""
        values = np.full((len(paths), len(self.classes)), np.nan, np.float32)
        novelty = np.full(len(paths), np.nan, np.float32)
        if chunk.indices:
            rows = np.array(chunk.indices) - start
            found = self.predict_batch(chunk.pixels)
            values[rows], novelty[rows] = found.probabilities, found.novelty
        errors = {i - start: reason for i, reason in chunk.errors.items()}
        return self._predictions(paths, values, novelty, errors)

    def predict_batch(self, pixels: Pixels) -> Predictions:
        """Predict one batch of decoded pictures. Any thread may call it.

        Parameters
        ----------
        pixels : uint8 array [N, S, S, 3]
            As `ilk.data.decode.decode` returns them; N is at least 1.

        Raises
        ------
        ModelError
            The model is damaged: its outputs are not finite.
        """
        features, logits = self.engine.run(pixels)
        if logits is None:
            raise UsageError("This is a bare backbone, not a classifier.")
        if not np.isfinite(logits).all():
            raise ModelError(
                f"{self.source or 'The model'} gives outputs that are not finite: it is "
                "damaged. Copy it again, or retrain."
            )
        novelty = np.full(len(pixels), np.nan, np.float32)
        if self.records.novelty:
            novelty = self.records.novelty.scores(features, logits)
        paths = tuple(f"picture {i}" for i in range(len(pixels)))
        return self._predictions(paths, softmax(logits, self.spec.temperature), novelty, {})

    def _predictions(
        self, paths: tuple[str, ...], values: Floats, novelty: Floats, errors: dict[int, str]
    ) -> Predictions:
        return Predictions(
            paths,
            self.classes,
            values,
            novelty,
            errors,
            accept_threshold=self.spec.thresholds.get("accept", 0.0),
            novelty_threshold=self.spec.novelty.threshold if self.spec.novelty else math.inf,
        )


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Return probabilities ``float32 [N, K]`` of logits ``[N, K]`` divided by a temperature."""
    scaled = logits / np.float32(temperature)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


@quiet_libraries()
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
    options = Options(device, engine, precision, trust)
    file = model_file(Path(path))
    form = format_of(file)
    if form is not None:
        return _exported(file, form, options)
    bundle = Bundle.load(file)
    if not bundle.spec.classes:
        raise UsageError(f"{file} is a bare backbone without classes, not a classifier.")
    opened = open_engine(bundle, file, options)
    return Classifier(
        bundle.spec, opened, str(file), Records.of(bundle), origin=Origin.of(file, options)
    )


def _unpickled(files: dict[str, bytes], options: Options, spec: str, source: str) -> Classifier:
    """Return the classifier that was pickled, from its files, with the Spec that it had."""
    place = put_in_cache(files)
    classifier = load(place, **asdict(options))
    classifier.spec = Spec.from_json(spec, source)
    classifier.source = source if Path(source).exists() else str(place)
    return classifier


def applicable_options(path: str | PathLike[str], options: Options) -> Options:
    """Return the options that apply to a model: an exported file brings its own runtime.

    For commands that run several models.
    """
    if format_of(model_file(Path(path))) is None:
        return options
    return Options(trust=options.trust)


def model_file(path: Path) -> Path:
    """Resolve a run folder to its model, and an exported web folder to its network."""
    if path.name == "model.xml":  # of OpenVINO, which has two files
        return path.parent
    for name in ("model.safetensors", "model.onnx"):
        if (path / name).is_file():
            return path / name
    return path


def _exported(file: Path, form: Format, options: Options) -> Classifier:
    if options.engine != "auto" or options.device not in {"auto", "cpu"}:
        raise UsageError(f"{file} brings its own runtime; drop --engine and --device.")
    bundle, engine = form.load(file, options.precision, options.trust)
    records, origin = Records.of(bundle), Origin.of(file, options)
    return Classifier(bundle.spec, engine, str(file), records, exported=True, origin=origin)
