"""Compiled: an OpenVINO network, ready for one picture at once and for many."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.runtime import cores

PIECE = 2  # pictures that a core takes at once; more would not fit its cache
LANES = 2  # threads: while one waits for the last of its pictures, the other keeps the cores busy


class Compiled:
    """Runs a network on this processor: ``uint8 [N, S, S, 3]`` in, arrays ``[N, ...]`` out.

    One picture is computed by all cores together: that is soonest. Of many, each core takes two by
    itself (OpenVINO's streams): no core waits for the others at the end of every layer, and what
    two pictures need fits its cache. Both have a fixed shape, which is a third faster.

    Parameters
    ----------
    core : openvino.Core
    model : openvino.Model
        Takes any number of pictures; it is changed.
    side : int
    precision : {"fp32", "bf16"}
    """

    def __init__(self, core: Any, model: Any, side: int, precision: str) -> None:
        self._core = core
        self._model = model
        self._shape = [side, side, 3]
        self._hint = precision_hint(precision)
        self._one = self._compile(1, {"PERFORMANCE_HINT": "LATENCY"})
        self._own = threading.local()
        self._lock = threading.Lock()

    def run(self, pixels: Pixels) -> list[Floats]:
        """Return all that the network gives, in its order. Any thread may call it."""
        paired = len(pixels) - len(pixels) % PIECE
        parts = self._run_pairs(pixels[:paired]) if paired else []
        parts += [self._run_one(pixels[i : i + 1]) for i in range(paired, len(pixels))]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _run_one(self, pixels: Pixels) -> list[Floats]:
        if not hasattr(self._own, "request"):
            self._own.request = self._one.create_infer_request()
        return _copied(self._own.request.infer([np.ascontiguousarray(pixels)]))

    def _run_pairs(self, pixels: Pixels) -> list[list[Floats]]:
        if not hasattr(self._own, "queue"):
            with self._lock:
                self._own.queue = _queue(self._many)
        parts: list[list[Floats]] = [[]] * (len(pixels) // PIECE)

        def keep(request: Any, index: int) -> None:
            parts[index] = _copied(request.results)

        queue = self._own.queue
        queue.set_callback(keep)
        for index, start in enumerate(range(0, len(pixels), PIECE)):
            queue.start_async([np.ascontiguousarray(pixels[start : start + PIECE])], index)
        queue.wait_all()
        return parts

    @cached_property
    def _many(self) -> Any:
        return self._compile(PIECE, {"NUM_STREAMS": cores()})

    def _compile(self, pictures: int, settings: dict[str, Any]) -> Any:
        self._model.reshape([pictures, *self._shape])
        settings |= {
            "INFERENCE_PRECISION_HINT": self._hint,
            "INFERENCE_NUM_THREADS": cores(),
        }
        return self._core.compile_model(self._model, "CPU", settings)


def precision_hint(precision: str) -> str:
    """Return OpenVINO's name of a precision."""
    return "bf16" if precision == "bf16" else "f32"


def _queue(compiled: Any) -> Any:
    from openvino import AsyncInferQueue

    # For each request that runs another is at hand, so that no stream waits for Python.
    return AsyncInferQueue(compiled, 2 * cores())


def _copied(results: Any) -> list[Floats]:
    """Copy outputs out of memory that the next picture will overwrite."""
    return [value.copy() for value in results.values()]
