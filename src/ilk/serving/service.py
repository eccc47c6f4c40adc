"""Service: what all routes share, and the way that a picture takes through it."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from starlette.requests import ClientDisconnect, Request

from ilk.data.catalog import Content
from ilk.errors import DecodeError
from ilk.serving.batcher import Answer, Closed
from ilk.serving.limits import Limits
from ilk.serving.models import Models, Served
from ilk.serving.niceness import be_nice
from ilk.serving.refusals import Refusal, too_late
from ilk.serving.room import Room
from ilk.serving.watch import Watch

P = ParamSpec("P")
T = TypeVar("T")
LARGE = 500_000  # bytes of a body that take long to be taken apart, if they mean no good


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
        self._parser = ThreadPoolExecutor(1, "ilk-parse", be_nice)
        self.watch.depth(lambda: self.room.pictures, lambda: self.ready)

    @property
    def ready(self) -> bool:
        """Whether requests are welcome: models are warm, and nothing is broken or about to end."""
        return bool(self.models.all) and not self.draining and not self.models.broken

    async def answers(
        self, request: Request, name: str | None, version: str | None, pictures: Sequence[Content]
    ) -> tuple[Served, list[Answer | DecodeError]]:
        """Run pictures through a model; one that cannot be decoded does not harm the others.

        Returns
        -------
        served : Served
            The model that answered. It is looked up only now: another may have taken over while the
            request's body came.
        answers : list

        Raises
        ------
        Refusal
            There is no such model, no room, no time, or the network failed.
        """
        self.room.take(len(pictures))
        try:
            served, futures = self._submitted(name, version, pictures)
        except Refusal:
            self.room.leave(len(pictures))
            raise
        found = await self.in_time(request, _all(futures))
        for answer in found:
            if isinstance(answer, Exception) and not isinstance(answer, DecodeError):
                raise answer
        return served, found  # type: ignore[return-value]

    def _submitted(
        self, name: str | None, version: str | None, pictures: Sequence[Content]
    ) -> tuple[Served, list[Future[Answer]]]:
        while True:
            served = self.models.find(name, version)
            with suppress(Closed):  # just now, and another takes its place
                return served, served.batcher.submit(pictures, lambda: self.room.leave(1))

    async def aside(
        self, body: bytes, work: Callable[P, T], *args: P.args, **options: P.kwargs
    ) -> T:
        """Take a body apart: a large one in a thread, one after the other, so that others go on."""
        if len(body) < LARGE:
            return work(*args, **options)
        task = functools.partial(work, *args, **options)
        return await asyncio.get_running_loop().run_in_executor(self._parser, task)

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
