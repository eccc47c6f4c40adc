"""Service: what all routes share, and how a picture travels through it."""

from __future__ import annotations

import asyncio
import functools
import io
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from fastapi import HTTPException
from starlette.requests import ClientDisconnect, Request

from ilk.data.catalog import Content
from ilk.data.decode import decode
from ilk.data.limits import Threads
from ilk.errors import DecodeError
from ilk.inference.explain import Explainer, overlay
from ilk.models.bundle import Bundle
from ilk.serving.batcher import Answer, lower_thread_priority
from ilk.serving.limits import CapacityLimiter, Limits, deadline_missed
from ilk.serving.metrics import Metrics
from ilk.serving.registry import ModelRegistry, ServedModel

P = ParamSpec("P")
T = TypeVar("T")
LARGE_BODY = 500_000  # bytes; parsing a hostile body of this size would block the event loop
EXPLANATIONS = 8  # the most that may be waiting or running


def open_explainer(file: Path) -> Explainer:
    """Load a model for explanations."""
    return Explainer(Bundle.load(file))


@dataclass(eq=False)
class Service:
    """Answers requests.

    Attributes
    ----------
    queue, bodies : CapacityLimiter
        Of pictures, and of bytes of request bodies.
    draining : bool
        Whether it is about to end: still answering, but no longer ready.
    open_explainer : callable
        Opens the file of a model for explanations.
    """

    models: ModelRegistry
    limits: Limits
    metrics: Metrics
    queue: CapacityLimiter = field(init=False)
    bodies: CapacityLimiter = field(init=False)
    draining: bool = False
    open_explainer: Callable[[Path], Explainer] = field(default=open_explainer)

    def __post_init__(self) -> None:
        self.queue = CapacityLimiter(self.limits.queue, self.metrics)
        self.bodies = CapacityLimiter(self.limits.buffer_bytes, self.metrics)
        self._explanations = CapacityLimiter(EXPLANATIONS, self.metrics)
        self._explainer: tuple[str, Explainer] | None = None  # of the model with this digest
        self._parsing = Threads(1, "ilk-parse", lower_thread_priority)
        self._explaining = Threads(1, "ilk-explain", lower_thread_priority)
        self.metrics.set_gauges(lambda: self.queue.held, lambda: self.ready)

    @property
    def ready(self) -> bool:
        """Whether requests are welcome: models are loaded, none is broken, and it is not ending."""
        return bool(self.models.all) and not self.draining and not self.models.broken

    def close(self) -> None:
        """Stop serving, and end all threads once they have done what was accepted."""
        self.models.close()
        for threads in (self._parsing, self._explaining):
            threads.shutdown(wait=False, cancel_futures=True)

    async def predict(
        self, request: Request, served: ServedModel, pictures: Sequence[Content]
    ) -> list[Answer | DecodeError]:
        """Run pictures through a model; one that cannot be decoded does not affect the others.

        Raises
        ------
        HTTPException
            The queue is full (429), the deadline was missed (504), or the network failed (503).
        """
        self.queue.acquire(len(pictures))
        futures = served.batcher.submit(pictures, self.queue.release)
        answers = await self.before_deadline(request, _gather(futures))
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, DecodeError):
                raise answer
        return answers  # type: ignore[return-value]

    async def explain(
        self, request: Request, served: ServedModel, picture: bytes, label: str | None
    ) -> bytes:
        """Return a JPEG of the picture as the network sees it, with a heat map for a class.

        Explanations are computed one at a time: each takes as long as many predictions.

        Raises
        ------
        HTTPException
            As for `predict`.
        DecodeError
            The picture cannot be decoded.
        """
        self._explanations.acquire()
        future = self._explaining.submit(self._overlay, served, picture, label)
        future.add_done_callback(lambda _: self._explanations.release())
        return await self.before_deadline(request, _result(future))

    def _overlay(self, served: ServedModel, picture: bytes, label: str | None) -> bytes:
        classifier = served.classifier
        spec = classifier.spec
        pixels = decode(picture, spec.preprocess, self.limits.formats_of(spec))[None]
        label = label or classifier.predict_batch(pixels)[0].label
        explainer = self._explainer_of(served)
        heat = explainer.heatmaps(pixels, [classifier.classes.index(label)])
        file = io.BytesIO()
        overlay(pixels[0], heat[0]).save(file, "JPEG", quality=88)
        return file.getvalue()

    def _explainer_of(self, served: ServedModel) -> Explainer:
        if self._explainer is None or self._explainer[0] != served.digest:
            explainer = self.open_explainer(served.classifier.weights_file())
            if not served.unchanged():
                raise HTTPException(
                    503,
                    f"The file of {served.name} has been replaced since it was loaded, so it "
                    "cannot explain the answers of the model in use. Reload with SIGHUP or POST "
                    "/reload.",
                )
            self._explainer = served.digest, explainer
        return self._explainer[1]

    async def offload(
        self, body: bytes, parse: Callable[P, T], *args: P.args, **options: P.kwargs
    ) -> T:
        """Call ``parse``, in a thread if the body is large, so that other requests go on."""
        if len(body) < LARGE_BODY:
            return parse(*args, **options)
        task = functools.partial(parse, *args, **options)
        return await asyncio.get_running_loop().run_in_executor(self._parsing, task)

    async def before_deadline(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work``; cancel it at the request's deadline or once the client has left.

        Raises
        ------
        HTTPException
            504: the deadline was missed.
        ClientDisconnect
            The client has left.
        """
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait(
                {working, leaving},
                timeout=request.state.deadline - time.monotonic(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if working.done():
                return working.result()
            if leaving.done():
                self.metrics.client_gone.inc()
                raise ClientDisconnect
            self.metrics.deadline_missed.inc()
            raise deadline_missed(self.limits.deadline_s)
        finally:
            working.cancel()
            leaving.cancel()


async def _result(future: Future[T]) -> T:
    return await asyncio.wrap_future(future)


async def _gather(futures: Sequence[Future[Answer]]) -> list[Answer | BaseException]:
    """Return the results or errors of futures; cancelling this cancels them."""
    waiting = [asyncio.wrap_future(future) for future in futures]
    return await asyncio.gather(*waiting, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    """Return once the client has left; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
