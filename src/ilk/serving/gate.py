"""Gate: what every request passes first and last: identity, access, deadline, log and metrics."""

from __future__ import annotations

import hmac
import json
import logging
import random
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ilk.serving.refusals import Refusal, too_busy
from ilk.serving.service import Service

log = logging.getLogger("ilk.requests")
GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
LEFT = 499  # in logs and metrics: the client closed the connection
OPEN = ("/v2/health/", "/static-offline-docs/", "/page/")  # to all, whatever the key
OPEN_PATHS = {"/", "/docs", "/openapi.json", "/metrics", "/favicon.ico"}
POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes
    ----------
    api_key : str
        Wanted as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``; empty: none is.
    origins : tuple of str
        Other web sites whose pages may ask, as ``https://example.org``.
    """

    api_key: str = ""
    origins: tuple[str, ...] = ()

    def refuse_stranger(self, path: str, headers: Headers) -> None:
        """Refuse a request without the key, or from a page of another site.

        Raises
        ------
        Refusal
            401 or 403.
        """
        origin = headers.get("origin")
        if origin and origin not in self.origins and urlsplit(origin).netloc != headers.get("host"):
            raise Refusal(403, f"Pages of {origin[:100]} may not ask here; see --cors.")
        if not self.api_key or path in OPEN_PATHS or path.startswith(OPEN):
            return
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        key = bearer if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not hmac.compare_digest(key.encode(), self.api_key.encode()):
            raise Refusal(401, "Send the API key, as 'Authorization: Bearer KEY' or 'X-API-Key'.")


class Gate:
    """The outermost part of the application.

    Parameters
    ----------
    app : ASGI application
    service : Service
    access : Access
    """

    def __init__(self, app: ASGIApp, service: Service, access: Access) -> None:
        self._app = app
        self._service = service
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        headers = Headers(scope=scope)
        name = request_id(scope["headers"])
        state: dict[str, Any] = scope.setdefault("state", {})
        state["deadline"] = began + self._service.limits.deadline_s
        state["told"] = {}  # what routes add to the log line
        code = LEFT

        async def send_marked(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._more_headers(name, scope)]
            await send(message)

        try:
            self._refuse(scope, headers)
        except Refusal as refusal:
            await refused(refusal, scope["path"])(scope, receive, send_marked)
        else:
            await self._app(scope, receive, send_marked)
        finally:
            account(self._service, scope, name, code, time.monotonic() - began)

    def _refuse(self, scope: Scope, headers: Headers) -> None:
        path = scope["path"]
        self._access.refuse_stranger(path, headers)
        if self._service.room.full and takes_pictures(scope["method"].encode(), path.encode()):
            self._service.watch.shed()
            raise too_busy()

    def _more_headers(self, name: str, scope: Scope) -> list[tuple[bytes, bytes]]:
        more = marks(name)
        if scope["path"] == "/" or scope["path"].startswith("/page/"):
            more.append((b"content-security-policy", POLICY.encode()))
        if self._service.draining:
            more.append((b"connection", b"close"))  # the next request is for another server
        return more


def takes_pictures(method: bytes, path: bytes) -> bool:
    """Whether a request asks for work that waits in the queue."""
    return method == b"POST" and path.endswith((b"/predict", b"/infer"))


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the name that a client gave its request, if it is a decent one, or a new name."""
    given = next((value for key, value in headers if key == b"x-request-id"), b"")
    return given.decode() if GIVEN_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def marks(name: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer has."""
    return [(b"x-request-id", name.encode()), (b"x-content-type-options", b"nosniff")]


def refused(refusal: Refusal, path: str) -> JSONResponse:
    """Return the answer that a refusal is, as the protocol of its path words it."""
    word = "error" if path.startswith("/v2") else "detail"
    return JSONResponse({word: refusal.detail}, refusal.status, refusal.headers)


def account(service: Service, scope: Scope, name: str, code: int, seconds: float) -> None:
    """Count a request, and write one line about it: nothing of pictures, nothing of queries."""
    service.watch.request(getattr(scope.get("route"), "path", "other"), code, seconds)
    client = scope.get("client")
    line = {
        "time": round(time.time(), 3),
        "id": name,
        "method": scope["method"],
        "path": scope["path"],
        "code": code,
        "ms": round(1000 * seconds, 1),
        "client": client[0] if client else None,
    }
    log.info(json.dumps(line | scope["state"].get("told", {})))
