"""Shedding: what there is no room for is refused at the door, before any work is done for it.

By way of the application a refusal costs so much that a service at five times its capacity would be
busy with saying no.
"""

from __future__ import annotations

import time
from functools import lru_cache

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ilk.serving.access import takes_pictures
from ilk.serving.gate import account, marks, request_id
from ilk.serving.refusals import refused, too_busy
from ilk.serving.service import Service

BUSY = too_busy()


def shedding(service: Service) -> type[HttpToolsProtocol]:
    """Return a protocol for uvicorn that refuses pictures while the service is full.

    The connection stays open for the next request. What needs more care goes to the application,
    which refuses it as well: a request that comes before the last was answered, or whose client
    does not read, waits for leave to send its body, ends its connection, or comes from another
    site's page. `Patient` goes over it.
    """

    class Shedding(HttpToolsProtocol):
        _refusing = False  # what comes of the request's body is let go

        def on_headers_complete(self) -> None:
            self._refusing = service.room.full and self._can_refuse()
            if self._refusing:
                self._refuse()
            else:
                super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            if not self._refusing:
                super().on_body(body)

        def on_message_complete(self) -> None:
            if not self._refusing:
                super().on_message_complete()

        def _can_refuse(self) -> bool:
            return (
                takes_pictures(self.parser.get_method(), self.url.partition(b"?")[0])
                and self.parser.get_http_version() == "1.1"
                and self.parser.should_keep_alive()
                and not self.expect_100_continue
                and (self.cycle is None or self.cycle.response_complete)
                and not self.flow.write_paused
                and not any(name == b"origin" for name, _ in self.headers)
                and not service.draining
            )

        def _refuse(self) -> None:
            path = self.url.partition(b"?")[0].decode("ascii")
            name = request_id(self.headers)
            headers = [*self.server_state.default_headers, *marks(name)]
            told = b"".join(b"%b: %b\r\n" % header for header in headers)
            self.transport.write(STATUS_LINE[BUSY.status] + told + _rest(path))
            service.watch.shed()
            scope: Scope = {**self.scope, "method": "POST", "path": path}
            account(service, scope, name, BUSY.status, time.monotonic() - scope["state"]["began"])

    return Shedding


@lru_cache(maxsize=64)  # paths are of clients' making
def _rest(path: str) -> bytes:
    """Return what all refusals at a path have in common: headers, and the body."""
    answer = refused(BUSY, path)
    return b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers) + b"\r\n" + answer.body
