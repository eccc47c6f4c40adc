"""Limits: what a service accepts, how much it holds at once, and how it refuses the rest."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from fastapi import HTTPException
from starlette.responses import JSONResponse

from ilk.data.containers import FORMATS
from ilk.errors import UsageError
from ilk.serving.metrics import Metrics
from ilk.spec import Spec

UNREAD_BODY = {408, 413, 504}  # statuses sent before the whole body was read
RETRY = {"retry-after": "1"}  # seconds
USUAL = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True)
class Limits:
    """What a service accepts from a client, and how much work may wait.

    Attributes
    ----------
    body_bytes : int
        The largest body of a request.
    pixels : int
        The most pixels of a picture; checked before it is decoded.
    files : int
        The most pictures in a request.
    formats : tuple of str or None
        Pillow's names of the accepted formats; no other decoder ever sees the bytes. None: JPEG,
        PNG, WebP, and those of the pictures that the model was trained on.
    header_s, body_s : float
        Seconds within which the headers and the body of a request must arrive.
    deadline_s : float
        Seconds from the first byte of a request to its answer.
    queue : int
        The most pictures that are waiting or being processed.
    batch : int
        The most pictures that go through the network at once.
    buffer_bytes : int
        The most bytes of request bodies held at once, over all requests.
    """

    body_bytes: int = 10_000_000
    pixels: int = 50_000_000
    files: int = 32
    formats: tuple[str, ...] | None = None
    header_s: float = 10.0
    body_s: float = 30.0
    deadline_s: float = 30.0
    queue: int = 128
    batch: int = 32
    buffer_bytes: int = 256_000_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "formats" and value <= 0:
                raise UsageError(f"{name} = {value}: must be above 0.")
        unknown = [name for name in self.formats or () if name not in FORMATS]
        if unknown or self.formats == ():
            problem = f"Unknown format {', '.join(unknown)}" if unknown else "No format is given"
            raise UsageError(f"{problem}; choose from {', '.join(FORMATS)}.")
        if self.queue < self.files:
            raise UsageError(
                f"queue = {self.queue}: must be at least {self.files}, the number of pictures that "
                "one request may send."
            )

    def formats_of(self, spec: Spec) -> tuple[str, ...]:
        """Return the formats that are accepted for a model."""
        if self.formats is not None:
            return self.formats
        trained = spec.provenance.get("formats")
        listed = trained if isinstance(trained, list) else []
        return (*USUAL, *(name for name in FORMATS if name in listed and name not in USUAL))


class CapacityLimiter:
    """Bounds what all requests hold together. Thread-safe.

    Every "too busy" of a service is decided here.

    Parameters
    ----------
    metrics : Metrics
        Counts the refusals.
    """

    def __init__(self, capacity: int, metrics: Metrics) -> None:
        self._capacity = capacity
        self._metrics = metrics
        self._lock = threading.Lock()
        self.held = 0

    @property
    def full(self) -> bool:
        """Whether not even one more can be acquired."""
        return self.held >= self._capacity

    def acquire(self, number: int = 1) -> None:
        """Take a share of the capacity.

        Raises
        ------
        HTTPException
            429: not enough is left.
        """
        with self._lock:
            if self.held + number <= self._capacity:
                self.held += number
                return
        raise self.refusal()

    def release(self, number: int = 1) -> None:
        """Give a share back."""
        with self._lock:
            self.held -= number

    def check(self) -> None:
        """Refuse early, before a body is read, what could not be acquired anyway.

        Raises
        ------
        HTTPException
            429: it is full.
        """
        if self.full:
            raise self.refusal()

    def refusal(self) -> HTTPException:
        """Count a refusal, and return it."""
        self._metrics.shed.inc()
        return too_busy()


def too_busy() -> HTTPException:
    """Return the error for a request that would exceed the capacity."""
    return HTTPException(429, "Too much work is waiting; try again in a second.", RETRY)


def deadline_missed(deadline_s: float) -> HTTPException:
    """Return the error for a request that took too long."""
    return HTTPException(504, f"No answer within {deadline_s:g} s; the request was dropped.", RETRY)


def engine_failed(reason: str) -> HTTPException:
    """Return the error for a request whose batch failed in the network."""
    return HTTPException(503, f"The network did not answer ({reason}); try again.", RETRY)


def error_response(error: HTTPException, path: str) -> JSONResponse:
    """Return an error as the protocol of its path words it."""
    key = "error" if path.startswith("/v2") else "detail"
    headers = dict(error.headers or {})
    if error.status_code in UNREAD_BODY:
        headers["connection"] = "close"  # do not wait for the rest of the body
    return JSONResponse({key: error.detail}, error.status_code, headers)
