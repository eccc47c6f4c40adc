"""Uvicorn protocol: HTTP connections with timeouts, early refusals, and without upgrades.

Overrides private parts of uvicorn's `HttpToolsProtocol`; hence the upper bound of its version in
pyproject.toml.
"""

from __future__ import annotations

import time
from asyncio import Protocol, TimerHandle, Transport
from functools import lru_cache, partial
from typing import Any, cast

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ilk.serving.limits import error_response, too_busy
from ilk.serving.middleware import AccessLog, common_headers, request_id
from ilk.serving.service import Service

MAX_HEADER_BYTES = 64_000  # per request


def http_protocol(service: Service) -> type[Protocol]:
    """Return the protocol of a service, for ``uvicorn.Config(http=…)``."""
    return cast(type[Protocol], partial(ServiceProtocol, service=service))


class ServiceProtocol(HttpToolsProtocol):
    """Closes connections that keep the server waiting, and refuses pictures while it is full.

    Uvicorn alone waits forever for headers, and for the rest of a body whose request was answered
    before all of it had arrived. A request is refused here, before a task is created for it: at
    five times its capacity, a service that refused in the application would do little else. The
    protocol also records when the first byte of a request arrived, as ``began`` in its state.
    """

    def __init__(self, *args: Any, service: Service, **options: Any) -> None:
        super().__init__(*args, **options)
        self._service = service
        self._limits = service.limits
        self._log = AccessLog(service.metrics)
        self._timer: TimerHandle | None = None  # for headers, or the rest of an answered request
        self._headers_done = True
        self._just_began = False
        self._header_bytes = self._unparsed_bytes = 0
        self._refusing = False  # the request was refused: ignore its body
        self.parser = RequestParser(self)  # type: ignore[assignment]

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Wait for headers."""
        super().connection_made(transport)
        self._start_timer(self._limits.header_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and limit what is neither a whole header nor the body of a running request."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if not self._headers_done:
            self._limit_unparsed(len(data))
        elif self._answered() and not (self._timer or self.timeout_keep_alive_task):
            self._start_timer(self._limits.body_s)

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self.scope["state"]["began"] = time.monotonic()
        self._headers_done = False
        self._just_began = True
        self._header_bytes = self._unparsed_bytes = 0
        self._start_timer(self._limits.header_s)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Limit the size of all headers."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            raise httptools.HttpParserError("The headers are too long.")  # answered with 400
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Refuse the request, or pass it on."""
        self._headers_done = True
        self._stop_timer()
        self._refusing = self._service.queue.full and self._can_refuse()
        if self._refusing:
            self._refuse()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a part of a body on."""
        if not self._refusing:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        if not self._refusing:
            super().on_message_complete()
        if self._answered():  # before its body had arrived
            self._stop_timer()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _limit_unparsed(self, number: int) -> None:
        """Refuse a header line that never ends: the parser reports only complete ones."""
        if self._just_began:  # somewhere in these bytes
            self._just_began = False
            return
        self._unparsed_bytes += number
        if self._unparsed_bytes > MAX_HEADER_BYTES:
            self.send_400_response("The headers are too long.")

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _can_refuse(self) -> bool:
        """Whether the request needs the queue, and a plain refusal that keeps the connection.

        The application refuses whatever needs more care: a request that arrives before the last
        one was answered, or whose client does not read, expects "100 Continue", ends its
        connection, or comes from a web page.
        """
        path = self.url.partition(b"?")[0]
        return (
            self.parser.get_method() == b"POST"
            and path.endswith((b"/predict", b"/infer"))
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.expect_100_continue
            and self._answered()
            and not self.flow.write_paused
            and not any(name == b"origin" for name, _ in self.headers)
            and not self._service.draining
        )

    def _refuse(self) -> None:
        path = self.url.partition(b"?")[0].decode("ascii")
        name = request_id(self.headers)
        status = self._service.queue.refusal().status_code
        headers = [*self.server_state.default_headers, *common_headers(name)]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[status] + head + _rest_of_refusal(path))
        scope: Scope = {**self.scope, "method": "POST", "path": path}
        self._log.record(scope, name, status, time.monotonic() - scope["state"]["began"])


@lru_cache(maxsize=64)  # bounded, as clients choose the paths
def _rest_of_refusal(path: str) -> bytes:
    """Return the headers and the body that all refusals at a path share."""
    response = error_response(too_busy(), path)
    headers = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
    return headers + b"\r\n" + bytes(response.body)


class RequestParser:
    """Stands in for `httptools.HttpRequestParser`, and ignores ``Upgrade`` (RFC 9110, 7.8).

    The parser of httptools stops at such a header, as it expects another protocol from there on,
    and uvicorn would drop a body or read it as the next request. Here a new parser starts over:
    with the same head but without that header, then with what followed it.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol
        self.on_message_begin = protocol.on_message_begin
        self.on_url = protocol.on_url
        self.on_header = protocol.on_header
        self.on_body = protocol.on_body
        self._start()

    def feed_data(self, data: bytes) -> None:
        """Parse data.

        Raises
        ------
        httptools.HttpParserError
            It is not HTTP.
        """
        rest = memoryview(data)
        while True:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
                self._start_over()
            else:
                return

    def on_headers_complete(self) -> None:
        """Pass on to the protocol, unless the head will be parsed again."""
        if self.get_method() == b"CONNECT":
            raise httptools.HttpParserError("This is not a proxy.")  # answered with 400
        if not self.should_upgrade():
            self._protocol.on_headers_complete()

    def on_message_complete(self) -> None:
        """Pass on to the protocol, unless the head will be parsed again."""
        if not self.should_upgrade():
            self._protocol.on_message_complete()

    def _start(self) -> None:
        self._parser = parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.get_method = parser.get_method
        self.get_http_version = parser.get_http_version
        self.should_keep_alive = parser.should_keep_alive
        self.should_upgrade = parser.should_upgrade

    def _start_over(self) -> None:
        protocol, parser = self._protocol, self._parser
        version = parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), protocol.url, version)]
        lines += [b"%b: %b" % header for header in protocol.headers if header[0] != b"upgrade"]
        began = protocol.scope["state"]["began"]
        self._start()
        self._parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")
        protocol.scope["state"]["began"] = began
