"""Service: what all routes share, and the way that a picture takes through it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from ilk.data.catalog import Content
from ilk.errors import DecodeError
from ilk.serving.batcher import Answer
from ilk.serving.limits import Limits
from ilk.serving.models import Models, Served
from ilk.serving.refusals import too_late
from ilk.serving.room import Room
from ilk.serving.watch import Watch

T = TypeVar("T")


@dataclass(eq=False)
class Service:
    """What answers requests.

    Attributes
    ----------
    models : Models
    limits : Limits
    watch : Watch
    room : Room
    draining : bool
        Set once the service is about to end: it still answers, but asks for no more.
    """

    models: Models
    limits: Limits
    watch: Watch
    room: Room = field(init=False)
    draining: bool = False

    def __post_init__(self) -> None:
        self.room = Room(self.limits, self.watch)
        self.watch.depth(lambda: self.room.pictures, lambda: self.ready)

    @property
    def ready(self) -> bool:
        """Whether requests are welcome: models are warm, and nothing is broken or about to end."""
        return bool(self.models.all) and not self.draining and not self.models.broken

    async def answers(
        self, request: Request, served: Served, pictures: Sequence[Content]
    ) -> list[Answer | DecodeError]:
        """Run pictures through a model; one that cannot be decoded does not harm the others.

        Raises
        ------
        Refusal
            There is no room, no time, or the network failed.
        """
        self.room.take(len(pictures))
        futures = [self._submitted(served, content) for content in pictures]
        found = await self.in_time(request, _all(futures))
        for answer in found:
            if isinstance(answer, Exception) and not isinstance(answer, DecodeError):
                raise answer
        return found  # type: ignore[return-value]

    def _submitted(self, served: Served, content: Content) -> Future[Answer]:
        future = served.batcher.submit(content)
        future.add_done_callback(lambda _: self.room.leave(1))
        return future

    async def in_time(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """Wait for work until the request's deadline, or until its client has left.

        Raises
        ------
        Refusal
            It is too late; the work was cancelled.
        ClientDisconnect
            Nobody waits any more; the work was cancelled.
        """
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait(
                {working, leaving},
                timeout=request.state.deadline - time.monotonic(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if working.done():
                return working.result()
            if leaving.done():
                self.watch.gone()
                raise ClientDisconnect
            self.watch.late()
            raise too_late(self.limits.deadline_s)
        finally:
            working.cancel()
            leaving.cancel()


async def _all(futures: Sequence[Future[Answer]]) -> list[Answer | BaseException]:
    """Return what comes of futures; if this is cancelled, so are they."""
    waiting = [asyncio.wrap_future(future) for future in futures]
    return await asyncio.gather(*waiting, return_exceptions=True)


async def _left(request: Request) -> None:
    """Return once the client has left; its body has been read already."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
