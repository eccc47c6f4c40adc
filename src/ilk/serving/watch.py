"""Watch: what a service tells Prometheus of itself. Nothing of a picture is in it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ilk.inference import Prediction

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Watch:
    """Counts and times."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "ilk_requests", "Requests by route and HTTP status.", ["route", "code"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "ilk_request_seconds", "From a request's headers to its answer.", ["route"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._stages = Histogram(
            "ilk_stage_seconds", "Of a picture: decode and queue; of a batch: engine.", ["stage"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._batches = Histogram(
            "ilk_batch_size", "Pictures that went through the network together.",
            buckets=SIZES, registry=registry,
        )  # fmt: skip
        self._depth = Gauge(
            "ilk_queue_depth", "Pictures that wait or are worked on.", registry=registry
        )
        self._ready = Gauge("ilk_ready", "1 while requests are welcome.", registry=registry)
        self._shed = Counter(
            "ilk_shed", "Requests refused because too much work was waiting.", registry=registry
        )
        self._late = Counter(
            "ilk_deadline_missed", "Requests dropped at their deadline.", registry=registry
        )
        self._gone = Counter(
            "ilk_client_gone", "Requests whose client left before the answer.", registry=registry
        )
        self._predictions = Counter(
            "ilk_predictions", "Pictures by the class they were given.",
            ["model", "version", "label"], registry=registry,
        )  # fmt: skip
        self._doubts = Counter(
            "ilk_doubts",
            "Pictures that were unknown, not accepted, or could not be read: their share in all "
            "predictions is the first sign of drift.",
            ["model", "version", "kind"], registry=registry,
        )  # fmt: skip

    def text(self) -> bytes:
        """Return it all in Prometheus's text format."""
        return generate_latest(self._registry)

    def depth(self, read: Callable[[], float], ready: Callable[[], bool]) -> None:
        """Say where to read how much waits, and whether requests are welcome."""
        self._depth.set_function(read)
        self._ready.set_function(ready)

    def request(self, route: str, code: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, code).inc()
        self._seconds.labels(route).observe(seconds)

    def stage(self, name: str, seconds: float) -> None:
        """Note a stage's time."""
        self._stages.labels(name).observe(seconds)

    def batch(self, size: int) -> None:
        """Note a batch."""
        self._batches.observe(size)

    def shed(self) -> None:
        """Count a request that was refused because too much waits."""
        self._shed.inc()

    def late(self) -> None:
        """Count a request that was dropped at its deadline."""
        self._late.inc()

    def gone(self) -> None:
        """Count a request whose client did not wait for the answer."""
        self._gone.inc()

    def prediction(self, model: str, version: str, prediction: Prediction) -> None:
        """Count what a picture was named."""
        if prediction.label is None:
            self._doubts.labels(model, version, "unreadable").inc()
            return
        self._predictions.labels(model, version, prediction.label).inc()
        if prediction.unknown:
            self._doubts.labels(model, version, "unknown").inc()
        if not prediction.accepted:
            self._doubts.labels(model, version, "not_accepted").inc()
