"""App: the ASGI application of a service."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Response
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from ilk.serving import kserve, routes
from ilk.serving.feedback import Feedback
from ilk.serving.limits import error_response
from ilk.serving.middleware import (
    CLIENT_CLOSED,
    AccessLog,
    AccessPolicy,
    AuthMiddleware,
    RequestIdMiddleware,
)
from ilk.serving.service import Service

PAGE = Path(str(files("ilk.serving") / "page"))
CHECK_S = 0.25  # seconds between checks for a network that hangs
log = logging.getLogger("ilk")
DESCRIPTION = (
    "Classifies pictures. Try it on the [page](/), by drag and drop, or with "
    "`curl -F image=@cat.jpg http://HOST/predict`."
)


def build_app(
    service: Service, policy: AccessPolicy, store: Feedback | None = None
) -> RequestIdMiddleware:
    """Build the application; the models are loaded by `ilk.serving.server.Server`.

    The order of the middleware, outermost first: id, deadline and log for every request; CORS, so
    that the pages it allows can also read why they were refused; authorization.

    Parameters
    ----------
    store : Feedback, optional
        Where corrections are stored; None: they are not accepted.
    """
    app = FastAPIOffline(
        redoc_url=None,
        title="ilk",
        version=version("ilk"),
        description=DESCRIPTION,
        lifespan=_lifespan(service),
    )
    app.include_router(routes.router(service, store))
    app.include_router(kserve.router(service))
    app.include_router(routes.operations(service))
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.add_api_route("/", _index, include_in_schema=False)
    app.add_api_route("/about", lambda: _about(service, store), include_in_schema=False)
    if policy.api_key:
        _document_api_key(app)
    app.add_exception_handler(HTTPException, lambda request, e: error_response(e, request.url.path))
    app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=CLIENT_CLOSED))
    outer: ASGIApp = AuthMiddleware(app, policy)
    if policy.origins:
        outer = CORSMiddleware(
            outer, allow_origins=policy.origins, allow_methods=["GET", "POST"],
            allow_headers=["authorization", "x-api-key", "x-request-id"],
            expose_headers=["retry-after", "x-request-id"],
        )  # fmt: skip
    return RequestIdMiddleware(outer, service, AccessLog(service.metrics))


def _document_api_key(app: FastAPI) -> None:
    """Let ``/docs`` ask for the key."""
    document = app.openapi()  # cached by the application
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["key"] = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    document["security"] = [{"key": []}]


def _lifespan(service: Service) -> Callable[[FastAPI], Any]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        checking = asyncio.create_task(_check_models(service))
        yield
        checking.cancel()
        service.close()

    return lifespan


async def _check_models(service: Service) -> None:
    while True:
        try:
            service.models.check()
        except Exception:  # without this task, a network that hangs would never be replaced
            log.exception("The models could not be checked.")
        await asyncio.sleep(CHECK_S)


def _index() -> Response:
    return Response((PAGE / "index.html").read_bytes(), media_type="text/html")


def _about(service: Service, store: Feedback | None) -> dict[str, Any]:
    """Return what the page needs to know."""
    return {
        "models": [
            {
                "name": served.name,
                "version": served.version,
                "digest": served.digest,
                "classes": served.classifier.classes,
                "explains": served.explains,
            }
            for served in service.models.all
        ],
        "feedback": store is not None,
        "formats": sorted(
            {
                f
                for served in service.models.all
                for f in service.limits.formats_of(served.classifier.spec)
            }
        ),
        "megabytes": service.limits.body_bytes / 1e6,
    }
