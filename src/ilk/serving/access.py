"""Access: who may ask, and whether there is room; what may not go on is refused here."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ilk.serving.refusals import Refusal, refused, too_busy
from ilk.serving.service import Service

OPEN = ("/v2/health/", "/static-offline-docs/", "/page/")  # to all, whatever the key
OPEN_PATHS = {"/", "/docs", "/openapi.json", "/metrics", "/favicon.ico"}
HERE = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes
    ----------
    api_key : str
        Wanted as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``; empty: none is.
    origins : tuple of str
        Other web sites whose pages may ask, as ``https://example.org``.
    local : bool
        Whether only this machine can ask. Its own pages are then those of a loopback address; a
        name that a stranger's page gave this machine (DNS rebinding) is not one.
    """

    api_key: str = ""
    origins: tuple[str, ...] = ()
    local: bool = False

    def refuse_stranger(self, path: str, headers: Headers) -> None:
        """Refuse a request without the key, or from a page of another site.

        Raises
        ------
        Refusal
            401 or 403.
        """
        origin = headers.get("origin")
        if origin and origin not in self.origins and not self._is_own(origin, headers):
            raise Refusal(403, f"Pages of {origin[:100]} may not ask here; see --cors.")
        if not self.api_key or path in OPEN_PATHS or path.startswith(OPEN):
            return
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        key = bearer if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not hmac.compare_digest(key.encode(), self.api_key.encode()):
            raise Refusal(401, "Send the API key, as 'Authorization: Bearer KEY' or 'X-API-Key'.")

    def _is_own(self, origin: str, headers: Headers) -> bool:
        try:
            site = urlsplit(origin)
            return site.netloc == headers.get("host") and (not self.local or site.hostname in HERE)
        except ValueError:
            return False


class Guard:
    """Lets a request through to the application, or refuses it.

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
        try:
            if scope["type"] == "http":
                self._refuse(scope)
        except Refusal as refusal:
            await refused(refusal, scope["path"])(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refuse(self, scope: Scope) -> None:
        path = scope["path"]
        self._access.refuse_stranger(path, Headers(scope=scope))
        if self._service.room.full and takes_pictures(scope["method"].encode(), path.encode()):
            self._service.watch.shed()
            raise too_busy()


def takes_pictures(method: bytes, path: bytes) -> bool:
    """Whether a request asks for work that waits in the queue."""
    return method == b"POST" and path.endswith((b"/predict", b"/infer"))
