"""Compiled: an OpenVINO network, compiled twice: for single pictures and for throughput."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.runtime import cores

CHUNK = 2  # pictures a stream takes at once; more would not fit a core's cache
LANES = 2  # threads: while one waits for its last pictures, the other keeps the cores busy


class Compiled:
    """Runs a network on this processor: ``uint8 [N, S, S, 3]`` in, arrays ``[N, ...]`` out.

    A single picture is computed by all cores together, for latency. In a batch, each core computes
    two pictures by itself (OpenVINO's streams): no core waits for the others at the end of every
    layer, and the activations of two pictures fit its cache. Both graphs have a fixed shape, which
    makes them a third faster.

    Parameters
    ----------
    model : openvino.Model
        Accepts any batch size; it is reshaped in place.
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
        """Return all outputs of the network, in its order. Thread-safe."""
        paired = len(pixels) - len(pixels) % CHUNK
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
        parts: list[list[Floats]] = [[]] * (len(pixels) // CHUNK)

        def keep(request: Any, index: int) -> None:
            parts[index] = _copied(request.results)

        queue = self._own.queue
        queue.set_callback(keep)
        for index, start in enumerate(range(0, len(pixels), CHUNK)):
            queue.start_async([np.ascontiguousarray(pixels[start : start + CHUNK])], index)
        queue.wait_all()
        return parts

    @cached_property
    def _many(self) -> Any:
        return self._compile(CHUNK, {"NUM_STREAMS": cores()})

    def _compile(self, pictures: int, settings: dict[str, Any]) -> Any:
        self._model.reshape([pictures, *self._shape])
        settings |= {
            "INFERENCE_PRECISION_HINT": self._hint,
            "INFERENCE_NUM_THREADS": cores(),
        }
        return self._core.compile_model(self._model, "CPU", settings)


def precision_hint(precision: str) -> str:
    """Return OpenVINO's name for a precision."""
    return "bf16" if precision == "bf16" else "f32"


def _queue(compiled: Any) -> Any:
    from openvino import AsyncInferQueue

    # Two requests a stream, so that no stream waits for Python.
    return AsyncInferQueue(compiled, 2 * cores())


def _copied(results: Any) -> list[Floats]:
    """Copy outputs from memory that the next request will overwrite."""
    return [value.copy() for value in results.values()]
