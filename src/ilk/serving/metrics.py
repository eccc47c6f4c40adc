"""Metrics: what a service reports to Prometheus. They reveal nothing about a picture's content."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ilk.inference.predictions import Prediction

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters and histograms of one service."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "ilk_requests", "Requests by route and HTTP status.", ["route", "code"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "ilk_request_seconds", "Time from a request's headers to its answer.", ["route"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._stages = Histogram(
            "ilk_stage_seconds", "Time per picture (decode, queue) or per batch (engine).",
            ["stage"], buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.batch_size = Histogram(
            "ilk_batch_size", "Pictures that went through the network together.",
            buckets=SIZES, registry=registry,
        )  # fmt: skip
        self._depth = Gauge(
            "ilk_queue_depth", "Pictures waiting or being processed.", registry=registry
        )
        self._ready = Gauge("ilk_ready", "1 while the service is ready.", registry=registry)
        self.shed = Counter(
            "ilk_shed", "Requests refused because too much work was waiting.", registry=registry
        )
        self.deadline_missed = Counter(
            "ilk_deadline_missed", "Requests dropped at their deadline.", registry=registry
        )
        self.client_gone = Counter(
            "ilk_client_gone", "Requests whose client left before the answer.", registry=registry
        )
        self._predictions = Counter(
            "ilk_predictions", "Pictures by predicted class.", ["model", "version", "label"],
            registry=registry,
        )  # fmt: skip
        self._doubts = Counter(
            "ilk_doubts",
            "Pictures that were unknown, not accepted or unreadable; a growing share of the first "
            "two is an early sign of drift.",
            ["model", "version", "kind"], registry=registry,
        )  # fmt: skip

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def set_gauges(self, depth: Callable[[], float], ready: Callable[[], bool]) -> None:
        """Set the functions that return the queue's depth and the service's readiness."""
        self._depth.set_function(depth)
        self._ready.set_function(ready)

    def request(self, route: str, code: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, code).inc()
        self._seconds.labels(route).observe(seconds)

    def stage(self, name: str, seconds: float) -> None:
        """Record the time of a stage: decode, queue or engine."""
        self._stages.labels(name).observe(seconds)

    def prediction(self, model: str, version: str, prediction: Prediction) -> None:
        """Count a prediction."""
        if prediction.label is None:
            self._doubts.labels(model, version, "unreadable").inc()
            return
        self._predictions.labels(model, version, prediction.label).inc()
        if prediction.unknown:
            self._doubts.labels(model, version, "unknown").inc()
        if not prediction.accepted:
            self._doubts.labels(model, version, "not_accepted").inc()
