"""Patience: a protocol that ends connections on which what is due does not come."""

from __future__ import annotations

import time
from asyncio import TimerHandle, Transport

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ilk.serving.limits import Limits
from ilk.serving.upgrade import Parser

HEADER_BYTES = 64_000  # of one request


def patient(base: type[HttpToolsProtocol], limits: Limits) -> type[HttpToolsProtocol]:
    """Return a protocol for uvicorn that ends connections.

    By itself uvicorn waits for ever for headers, and for the rest of a body whose request was
    answered before it had come. The protocol also notes when a request's first byte came, as
    ``began`` in its state, and ignores upgrades.
    """

    class Patient(base):  # type: ignore[valid-type, misc]
        _timer: TimerHandle | None = None  # for headers, or for what is left of an answered request
        _headers_done = True
        _just_began = False
        _header_bytes = _unread_bytes = 0

        def connection_made(self, transport: Transport) -> None:
            super().connection_made(transport)
            self.parser = Parser(self)
            self._wait(limits.header_s)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.transport.is_closing():
                return
            if not self._headers_done:
                self._count_unread(len(data))
            elif self._answered() and not (self._timer or self.timeout_keep_alive_task):
                self._wait(limits.body_s)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["state"]["began"] = time.monotonic()
            self._headers_done = False
            self._just_began = True
            self._header_bytes = self._unread_bytes = 0
            self._wait(limits.header_s)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._header_bytes += len(name) + len(value)
            if self._header_bytes > HEADER_BYTES:
                raise HttpParserError("The headers are too long.")  # answered with 400
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._headers_done = True
            self._stop_waiting()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            if self._answered():  # before its body had come
                self._stop_waiting()
                self._unset_keepalive_if_required()
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

        def _answered(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _count_unread(self, number: int) -> None:
            """End a header that only grows: the parser tells of it once it is complete."""
            if self._just_began:  # somewhere in these bytes
                self._just_began = False
                return
            self._unread_bytes += number
            if self._unread_bytes > HEADER_BYTES:
                self.send_400_response("The headers are too long.")

        def _wait(self, seconds: float) -> None:
            self._stop_waiting()
            self._timer = self.loop.call_later(seconds, self._lose_patience)

        def _stop_waiting(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _lose_patience(self) -> None:
            self._timer = None
            if not self.transport.is_closing():
                self.transport.close()

    return Patient
