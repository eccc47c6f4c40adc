"""Features: run pictures through a frozen backbone once, and cache the result."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from ilk.arrays import Floats
from ilk.data.cache import FeatureCache
from ilk.data.catalog import Picture
from ilk.data.decode import DECODER
from ilk.data.stream import Stream
from ilk.engines.base import Engine
from ilk.errors import WeightsError
from ilk.models.bundle import Bundle
from ilk.runtime import Progress, cores, silent
from ilk.spec import Preprocess


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
    progress: Progress = silent,
) -> Extracted:
    """Run digested pictures through a backbone, except those whose features are cached.

    Decoding starts while the backbone is still being prepared.

    Parameters
    ----------
    pictures : sequence of Picture
        With their digests.
    opening : Future of (Bundle, Engine)
        The backbone, perhaps still being prepared.
    batch, workers : int
        Pictures in a batch, and decoding threads.
    progress : Progress
        Reports progress.
    """
    with ExitStack() as streams:  # however it ends, no thread goes on decoding
        ahead = None
        if not opening.done():  # one core is left for preparing the backbone, which takes longer
            several = workers or max(1, cores() - 1)
            ahead = streams.enter_context(
                Stream(pictures, preprocess, batch=batch, workers=several)
            )
        with progress("preparing the network", 0):
            bundle, engine = opening.result()
        cache = FeatureCache(_cache_key(bundle, engine, preprocess))
        features = np.zeros((len(pictures), bundle.spec.backbone.features), np.float32)
        known = np.zeros(len(pictures), bool)
        if ahead is None:  # otherwise the backbone is new, and nothing is cached
            known = cache.fill([p.digest for p in pictures], features)
        rows = np.flatnonzero(~known)
        todo = [pictures[i] for i in rows]
        stream = ahead or streams.enter_context(
            Stream(todo, preprocess, batch=batch, workers=workers)
        )
        errors: dict[int, str] = {}
        with progress("reading pictures", len(pictures)) as tick, cache.collecting() as collect:
            tick(int(known.sum()))
            for chunk in stream:
                if chunk.indices:
                    values = engine.run(chunk.pixels).features
                    if not np.isfinite(values).all():
                        raise WeightsError(
                            "The backbone's outputs are not finite: its "
                            "weights are damaged, or belong to another architecture."
                        )
                    features[rows[chunk.indices]] = values
                    collect([todo[i].digest for i in chunk.indices], values)
                errors |= {int(rows[i]): reason for i, reason in chunk.errors.items()}
                tick(len(chunk.indices) + len(chunk.errors))
    return Extracted(features, errors, computed=len(todo) - len(errors))


def _cache_key(bundle: Bundle, engine: Engine, preprocess: Preprocess) -> str:
    rule = f"{preprocess.imgsz}-{preprocess.resize}-{preprocess.interpolation}"
    if preprocess.conversion.key:
        rule += f"-{preprocess.conversion.key}"
    key = f"{bundle.backbone_digest[:32]}-{rule}-{engine.name}-{DECODER}"
    return key.replace(":", "_")
