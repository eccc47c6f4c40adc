"""int8: quantise by NNCF; where answers change, keep the layers to blame in floating point."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Pixels
from ilk.engines.needs import needed_quietly
from ilk.engines.openvino import import_openvino
from ilk.exporting.job import Job
from ilk.exporting.trouble import trouble

HEAD = r".*network\.head.*"
LOGITS = 1  # the second of what an exported network gives
log = logging.getLogger("ilk")


def quantised(model: Any, job: Job) -> Any:
    """Return an OpenVINO model in int8: weights by channel, activations by training pictures.

    The head stays in floating point: it is small, and answers come from it.

    If it then changes more of its answers to these pictures than the job allows, NNCF looks for the
    layers to blame and leaves them as they are, which takes minutes. It never sees the pictures
    that the file is verified on, nor any label.
    """
    import_openvino()  # first: without telemetry, which NNCF would bring along
    nncf = needed_quietly("nncf", "ilk[int8]")
    nncf.set_log_level(logging.ERROR)
    how = {
        "preset": nncf.QuantizationPreset.MIXED,
        "ignored_scope": nncf.IgnoredScope(patterns=[HEAD], validate=False),
        "subset_size": len(job.pixels),
        "fast_bias_correction": True,
    }
    calibrating = nncf.Dataset(job.batches(1))
    with trouble("NNCF"):
        small = nncf.quantize(model, calibrating, **how)
    if job.max_drop is None:
        return small
    answers = answers_of(model, job)
    changed = 1 - float((answers_of(small, job) == answers).mean())
    if changed <= job.max_drop:
        return small
    log.warning(
        "int8 changes %.1f %% of the answers to training pictures; looking for layers to keep in "
        "floating point, which can take minutes",
        100 * changed,
    )
    pairs = nncf.Dataset(list(zip(job.batches(1), answers, strict=True)))
    with trouble("NNCF"):
        return nncf.quantize_with_accuracy_control(
            model, calibrating, pairs, _agreement, max_drop=job.max_drop, **how
        )


def answers_of(model: Any, job: Job) -> NDArray[np.int64]:
    """Return the class that a model names of each of the job's pictures."""
    run = import_openvino().compile_model(model, "CPU")
    logits = [run([batch])[LOGITS] for batch in job.batches(8)]
    answers: NDArray[np.int64] = np.concatenate(logits).argmax(axis=1)
    return answers


def _agreement(run: Any, pairs: Iterable[tuple[Pixels, int]]) -> tuple[float, list[float]]:
    """Return how often a compiled model gives the answers expected, and for which pictures."""
    same = [float(run([pixels])[LOGITS].argmax() == answer) for pixels, answer in pairs]
    return float(np.mean(same)), same
