"""Server: runs a service until a signal ends it, without losing a request."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import uvicorn
from fastapi import HTTPException
from starlette.types import ASGIApp

from ilk.errors import IlkError, UsageError
from ilk.serving.service import Service
from ilk.serving.uvicorn_protocol import http_protocol

MAX_PORT = 65_535
GC_THRESHOLDS = (20_000, 20, 20)
log = logging.getLogger("ilk")


class Server(uvicorn.Server):
    """Listens while the models load, and shuts down in three steps.

    After SIGTERM it is no longer ready and asks clients to reconnect elsewhere, but still answers
    for ``linger_s`` seconds, until the load balancer has noticed. Then it accepts no more
    connections, finishes the requests in progress, and exits. SIGINT skips the first step. SIGHUP
    reloads the models.

    Parameters
    ----------
    port : int
        0: any free port.
    stop : threading.Event, optional
        Shuts the server down, as SIGINT does, once it is set.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        host: str,
        port: int,
        linger_s: float,
        stop: threading.Event | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=http_protocol(service),
                ws="none",
                access_log=False,
                proxy_headers=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=int(service.limits.deadline_s) + 1,
            )
        )
        self._service = service
        self._socket = _listen(host, port)
        self._linger_s = linger_s
        self._stop = stop
        self._ends: float | None = None
        self._reload_requested = False
        self._loading: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None
        self.failure: Exception | None = None

    @property
    def address(self) -> str:
        """The URL of the service."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def run_until_stopped(self, on_ready: Callable[[], None]) -> None:
        """Serve; call ``on_ready`` once the models are loaded, and after each reload by SIGHUP.

        Raises
        ------
        IlkError
            The models cannot be served.
        """
        self._on_ready = on_ready
        with _reload_on_sighup(self._request_reload), _collecting_less():
            self.run(sockets=[self._socket])
        if self.failure is not None:
            raise self.failure

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start to shut down."""
        if sig == signal.SIGINT or self._service.draining:
            self.force_exit = self.should_exit
            self.should_exit = True
        elif self._linger_s:
            log.warning("Shutting down: no longer ready, but answering for another %g s. A second "
                        "signal ends the wait.", self._linger_s)  # fmt: skip
        self._service.draining = True
        self._ends = time.monotonic() + self._linger_s

    async def on_tick(self, counter: int) -> bool:
        """Check, ten times a second, whether something has to be done."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
        if self._reload_requested:
            self._reload_requested = False
            self._reloading = asyncio.create_task(self._reload())
        if self._stop is not None and self._stop.is_set() and not self.should_exit:
            self.handle_exit(signal.SIGINT, None)
        if self._ends is not None and time.monotonic() > self._ends:
            self.should_exit = True
        return await super().on_tick(counter)

    def _request_reload(self) -> None:
        self._reload_requested = True

    async def _load(self) -> None:
        try:
            await asyncio.to_thread(self._service.models.load)
            gc.collect()
            gc.freeze()
            self._on_ready()
        except Exception as error:
            self.failure = error
            self.should_exit = True

    async def _reload(self) -> None:
        try:
            await asyncio.to_thread(self._service.models.load)
            self._on_ready()
        except IlkError as error:
            log.error("%s The models from before still answer.", error)  # noqa: TRY400 -- no fault
        except HTTPException as error:
            log.error(error.detail)  # noqa: TRY400 -- no fault
        except Exception:
            log.exception("The models cannot be loaded. The models from before still answer.")


@contextmanager
def _reload_on_sighup(reload: Callable[[], None]) -> Iterator[None]:
    """Handle SIGHUP, where there is one; only the main thread may."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGHUP, lambda *_: reload())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, previous)


@contextmanager
def _collecting_less() -> Iterator[None]:
    """Run Python's garbage collector less often, as it would scan the models again and again."""
    previous = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*previous)
        gc.unfreeze()


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address.

    Raises
    ------
    UsageError
        The port is in use, or there is no such address.
    """
    if not 0 <= port <= MAX_PORT:
        raise UsageError(f"--port {port}: give 0 to {MAX_PORT}; 0 takes any free port.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as opened:
            bound = opened.enter_context(socket.socket(found[0], socket.SOCK_STREAM))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(found[4])
            opened.pop_all()  # it stays open
    except OSError as error:
        raise UsageError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Give another --port; --port 0 "
            "takes any free one."
        ) from None
    return bound
