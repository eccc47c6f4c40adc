"""Middleware: request ids, deadlines, the access log, and who may send requests.

`ilk.serving.app.build_app` puts it in order.
"""

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

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ilk.serving.limits import error_response
from ilk.serving.metrics import Metrics
from ilk.serving.service import Service

log = logging.getLogger("ilk.requests")
CLIENT_CLOSED = 499  # nginx's status, for logs and metrics: the client left before the answer
ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
CONTENT_POLICY = (
    b"default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PUBLIC_PREFIXES = ("/v2/health/", "/static-offline-docs/", "/page/")  # need no API key
PUBLIC_PATHS = {"/", "/docs", "/openapi.json", "/metrics", "/favicon.ico"}
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
ROUTES = {"/predict", "/explain", "/feedback", "/reload"}
INFER = "/v2/models/{name}/infer"


class RequestIdMiddleware:
    """Gives each request an id and a deadline, adds headers to its response, and logs it."""

    def __init__(self, app: ASGIApp, service: Service, access_log: AccessLog) -> None:
        self._app = app
        self._service = service
        self._log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = request_id(scope["headers"])
        state: dict[str, Any] = scope.setdefault("state", {})
        began = state.setdefault("began", time.monotonic())  # set by ilk's uvicorn protocol
        state["deadline"] = began + self._service.limits.deadline_s
        state["log_fields"] = {}  # what routes add to the log line
        status = CLIENT_CLOSED

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers(name, scope)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._log.record(scope, name, status, time.monotonic() - began)

    def _headers(self, name: str, scope: Scope) -> list[tuple[bytes, bytes]]:
        headers = common_headers(name)
        if scope["path"] == "/" or scope["path"].startswith("/page/"):
            headers.append((b"content-security-policy", CONTENT_POLICY))
        if self._service.draining:
            headers.append((b"connection", b"close"))  # so that the client finds another server
        return headers


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the id that the client chose, if it is well-formed, or a random one."""
    given = next((value for key, value in headers if key == b"x-request-id"), b"")
    return given.decode() if ACCEPTED_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def common_headers(name: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of every response."""
    return [(b"x-request-id", name.encode()), (b"x-content-type-options", b"nosniff")]


class AccessLog:
    """Counts requests, and logs one line of JSON each, without picture names or queries."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def record(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        """Record a request that was answered."""
        self._metrics.request(_route(scope), status, seconds)
        client = scope.get("client")
        line = {
            "time": round(time.time(), 3),
            "id": name,
            "method": scope["method"],
            "path": scope["path"],
            "code": status,
            "ms": round(1000 * seconds, 1),
            "client": client[0] if client else None,
        }
        log.info(json.dumps(line | scope["state"].get("log_fields", {})))


def _route(scope: Scope) -> str:
    """Return the route of a request, even of one that was refused before routing."""
    path: str = scope["path"]
    if "route" in scope:
        return str(getattr(scope["route"], "path", "other"))
    if path in ROUTES:
        return path
    return INFER if path.startswith("/v2/") and path.endswith("/infer") else "other"


@dataclass(frozen=True)
class AccessPolicy:
    """Who may send requests.

    Attributes
    ----------
    api_key : str
        Required as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``; empty: not required.
    origins : tuple of str
        Other web sites whose pages may send requests, as ``https://example.org``.
    local : bool
        Whether the service listens on a loopback address only. Then its own pages must have been
        loaded from one; under any other host name they are treated as foreign (DNS rebinding).
    """

    api_key: str = ""
    origins: tuple[str, ...] = ()
    local: bool = False

    def authorize(self, path: str, headers: Headers) -> None:
        """Refuse a request without the API key, or from a page of another site.

        Raises
        ------
        HTTPException
            401 or 403.
        """
        origin = headers.get("origin")
        if origin and origin not in self.origins and not self._is_own(origin, headers):
            raise HTTPException(
                403, f"Pages of {origin[:100]} may not send requests here; see --cors."
            )
        if not self.api_key or path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES):
            return
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        key = bearer if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not hmac.compare_digest(key.encode(), self.api_key.encode()):
            raise HTTPException(
                401, "Send the API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."
            )

    def _is_own(self, origin: str, headers: Headers) -> bool:
        try:
            site = urlsplit(origin)
        except ValueError:
            return False
        own = site.netloc == headers.get("host")
        return own and (not self.local or site.hostname in LOOPBACK)


class AuthMiddleware:
    """Passes authorized requests to the application."""

    def __init__(self, app: ASGIApp, policy: AccessPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            try:
                self._policy.authorize(scope["path"], Headers(scope=scope))
            except HTTPException as error:
                await error_response(error, scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)
