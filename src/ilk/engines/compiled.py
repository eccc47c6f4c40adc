"""Compiled: an OpenVINO network, ready for one picture at once and for many."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any

import numpy as np

from ilk.data.catalog import Pixels
from ilk.engines.base import Floats
from ilk.runtime import cores


class Compiled:
    """Runs a network on this processor: ``uint8 [N, S, S, 3]`` in, arrays ``[N, ...]`` out.

    One picture is computed by all cores together: that is soonest. Of many, each core computes one
    by itself (OpenVINO's streams): no core waits for the others at the end of every layer, and what
    one picture needs fits its cache. Both have a fixed shape, which is a third faster.

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
        self._hint = precision_hint(precision)
        model.reshape([1, side, side, 3])
        self._one = self._compile({"PERFORMANCE_HINT": "LATENCY"})
        self._own = threading.local()
        self._lock = threading.Lock()

    def run(self, pixels: Pixels) -> list[Floats]:
        """Return all that the network gives, in its order. Any thread may call it."""
        return self._run_one(pixels) if len(pixels) == 1 else self._run_many(pixels)

    def _run_one(self, pixels: Pixels) -> list[Floats]:
        if not hasattr(self._own, "request"):
            self._own.request = self._one.create_infer_request()
        return _copied(self._own.request.infer([np.ascontiguousarray(pixels)]))

    def _run_many(self, pixels: Pixels) -> list[Floats]:
        if not hasattr(self._own, "queue"):
            with self._lock:
                self._own.queue = _queue(self._many)
        rows: list[list[Floats]] = [[]] * len(pixels)

        def keep(request: Any, index: int) -> None:
            rows[index] = _copied(request.results)

        queue = self._own.queue
        queue.set_callback(keep)
        for index in range(len(pixels)):
            queue.start_async([np.ascontiguousarray(pixels[index : index + 1])], index)
        queue.wait_all()
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    @cached_property
    def _many(self) -> Any:
        return self._compile({"NUM_STREAMS": cores()})

    def _compile(self, settings: dict[str, Any]) -> Any:
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

    return AsyncInferQueue(compiled, cores())


def _copied(results: Any) -> list[Floats]:
    """Copy outputs out of memory that the next picture will overwrite."""
    return [value.copy() for value in results.values()]
