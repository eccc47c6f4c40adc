"""Patience: a protocol that ends connections whose request's headers do not come."""

from __future__ import annotations

from asyncio import TimerHandle, Transport

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ilk.serving.limits import Limits

HEADER_BYTES = 64_000  # of one request


def patient(base: type[HttpToolsProtocol], limits: Limits) -> type[HttpToolsProtocol]:
    """Return a protocol for uvicorn, which itself waits for headers for ever."""

    class Patient(base):  # type: ignore[valid-type, misc]
        _timer: TimerHandle | None = None
        _headers_done = True
        _header_bytes = _unread_bytes = 0

        def connection_made(self, transport: Transport) -> None:
            super().connection_made(transport)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._headers_done or self.transport.is_closing():
                return
            self._unread_bytes += len(data)
            if self._unread_bytes > HEADER_BYTES:
                self.send_400_response("The headers are too long.")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._headers_done = False
            self._header_bytes = self._unread_bytes = 0
            if self._timer is None:
                self._wait()

        def on_header(self, name: bytes, value: bytes) -> None:
            self._header_bytes += len(name) + len(value)
            if self._header_bytes > HEADER_BYTES:
                raise HttpParserError("The headers are too long.")  # answered with 400
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._headers_done = True
            self._stop_waiting()
            super().on_headers_complete()

        def _wait(self) -> None:
            self._timer = self.loop.call_later(limits.header_s, self._lose_patience)

        def _stop_waiting(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _lose_patience(self) -> None:
            self._timer = None
            if not self.transport.is_closing():
                self.transport.close()

    return Patient
