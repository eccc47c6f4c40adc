"""Server: runs a service until it is told to end, and lets nothing get lost on the way."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from ilk.errors import IlkError, UsageError
from ilk.serving.patience import patient
from ilk.serving.refusals import Refusal
from ilk.serving.service import Service
from ilk.serving.shedding import shedding

LAST_PORT = 65_535
COLLECTING = (20_000, 20, 20)  # new objects, and collections of younger ones, between collections
log = logging.getLogger("ilk")


class Server(uvicorn.Server):
    """Serves while the models load, and ends in three steps.

    At SIGTERM it is no longer ready, and asks clients to come back elsewhere, but still answers for
    ``linger_s`` seconds, until whoever spreads the load has noticed. Then it takes no more
    connections, answers what it has, and ends. SIGINT does without the first step. SIGHUP loads the
    models anew.

    Parameters
    ----------
    app : ASGI application
    service : Service
    host : str
    port : int
        0: any that is free.
    linger_s : float
    """

    def __init__(
        self, app: ASGIApp, service: Service, host: str, port: int, linger_s: float
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=patient(shedding(service), service.limits),
                ws="none",
                access_log=False,
                proxy_headers=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=int(service.limits.deadline_s) + 1,
            )
        )
        self._service = service
        self._socket = _listening(host, port)
        self._linger_s = linger_s
        self._ends: float | None = None
        self._reload = False
        self._loading: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None
        self.failure: Exception | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def run_until_told(self, on_ready: Callable[[], None]) -> None:
        """Serve; call ``on_ready`` once the models are warm, and whenever SIGHUP has loaded others.

        Raises
        ------
        IlkError
            The models cannot be served.
        """
        self._on_ready = on_ready
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self._ask_for_reload)
        self.run(sockets=[self._socket])
        if self.failure is not None:
            raise self.failure

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        if sig == signal.SIGINT or self._service.draining:
            self.force_exit = self.should_exit
            self.should_exit = True
        elif self._linger_s:
            log.warning("Ending: not ready any more, but answering for %g s; a second signal ends "
                        "it sooner.", self._linger_s)  # fmt: skip
        self._service.draining = True
        self._ends = time.monotonic() + self._linger_s

    async def on_tick(self, counter: int) -> bool:
        """Look, ten times a second, whether there is something to be done."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load_first())
        if self._reload:
            self._reload = False
            self._reloading = asyncio.create_task(self._load_again())
        if self._ends is not None and time.monotonic() > self._ends:
            self.should_exit = True
        return await super().on_tick(counter)

    def _ask_for_reload(self, *_: object) -> None:
        self._reload = True

    async def _load_first(self) -> None:
        try:
            await asyncio.to_thread(self._service.models.load)
            _settle_memory()
            self._on_ready()
        except Exception as error:
            self.failure = error
            self.should_exit = True

    async def _load_again(self) -> None:
        try:
            await asyncio.to_thread(self._service.models.load)
            self._on_ready()
        except (IlkError, Refusal) as error:
            log.error("%s The models from before still answer.", error)  # noqa: TRY400 -- no fault
        except Exception:
            log.exception("The models cannot be loaded. Those from before still answer.")


def _settle_memory() -> None:
    """Spare Python's garbage collector what will stay: it would look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTING)


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address.

    Raises
    ------
    UsageError
        Something else listens there, or there is no such address.
    """
    if not 0 <= port <= LAST_PORT:
        raise UsageError(f"--port {port}: give 0 to {LAST_PORT}; 0 is any that is free.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(found[0], socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(found[4])
    except OSError as error:
        raise UsageError(
            f"{host}:{port} cannot be listened on: {error.strerror}. Give another --port, or "
            "--port 0 for any that is free."
        ) from None
    return bound
