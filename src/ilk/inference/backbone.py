"""Backbone: run a pretrained backbone over pictures once, decoding in the meantime."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from ilk.data.catalog import Picture
from ilk.engines import Options, find_prepared, open_backbone
from ilk.engines.base import Engine
from ilk.engines.prepare import terminated_on_error
from ilk.inference.features import Extracted, extract
from ilk.models.bundle import Bundle
from ilk.runtime import Progress, silent
from ilk.spec import Preprocess

log = logging.getLogger("ilk")


def run_backbone(
    pictures: Sequence[Picture],
    model: str,
    preprocess: Preprocess,
    *,
    weights: Path | None = None,
    options: Options | None = None,
    batch: int = 32,
    workers: int | None = None,
    progress: Progress = silent,
) -> tuple[Extracted, Bundle, Engine]:
    """Return the features of digested pictures, the backbone, and the engine that ran it.

    Parameters
    ----------
    pictures : sequence of Picture
        With digests.
    model : str
        The name of the backbone.
    weights : Path, optional
        A file of weights; default: the pretrained ones.
    options : Options, optional
        Device, engine and precision.
    batch, workers : int
        The batch size, and the number of decoding threads.

    Raises
    ------
    WeightsError
        The backbone's weights are not available.
    """
    arguments = (model, weights, preprocess, options or Options())
    with ThreadPoolExecutor(1) as background, terminated_on_error() as processes:
        found = find_prepared(*arguments)
        if found is None:
            log.info("Preparing %s for this machine (once)", model)
        opening: Future[tuple[Bundle, Engine]] = background.submit(
            open_backbone, *arguments, processes, found
        )
        if found is not None:
            wait([opening])
        extracted = extract(
            pictures, opening, preprocess, batch=batch, workers=workers, progress=progress
        )
        return extracted, *opening.result()
