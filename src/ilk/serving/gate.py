"""Gate: what every request passes first and last: identity, deadline, log and metrics."""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ilk.serving.service import Service

log = logging.getLogger("ilk.requests")
GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
LEFT = 499  # in logs and metrics: the client closed the connection
POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ROUTES = {"/predict", "/explain", "/feedback", "/reload"}
INFER = "/v2/models/{name}/infer"


class Gate:
    """The outermost part of the application.

    Parameters
    ----------
    app : ASGI application
    service : Service
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = request_id(scope["headers"])
        state: dict[str, Any] = scope.setdefault("state", {})
        began = state.setdefault("began", time.monotonic())  # `Patient` knows it better
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
            await self._app(scope, receive, send_marked)
        finally:
            account(self._service, scope, name, code, time.monotonic() - began)

    def _more_headers(self, name: str, scope: Scope) -> list[tuple[bytes, bytes]]:
        more = marks(name)
        if scope["path"] == "/" or scope["path"].startswith("/page/"):
            more.append((b"content-security-policy", POLICY.encode()))
        if self._service.draining:
            more.append((b"connection", b"close"))  # the next request is for another server
        return more


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the name that a client gave its request, if it is a decent one, or a new name."""
    given = next((value for key, value in headers if key == b"x-request-id"), b"")
    return given.decode() if GIVEN_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def marks(name: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer has."""
    return [(b"x-request-id", name.encode()), (b"x-content-type-options", b"nosniff")]


def account(service: Service, scope: Scope, name: str, code: int, seconds: float) -> None:
    """Count a request, and write one line about it: nothing of pictures, nothing of queries."""
    service.watch.request(_route(scope), code, seconds)
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


def _route(scope: Scope) -> str:
    """Return the route of a request, also of one that was refused before it came there."""
    path: str = scope["path"]
    if "route" in scope:
        return str(getattr(scope["route"], "path", "other"))
    if path in ROUTES:
        return path
    return INFER if path.startswith("/v2/") and path.endswith("/infer") else "other"
