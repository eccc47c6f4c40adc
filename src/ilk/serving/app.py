"""App: the routes of a service, put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from ilk.errors import IlkError
from ilk.serving import correcting, explaining, predicting, protocol
from ilk.serving.access import Access, Guard
from ilk.serving.feedback import Feedback
from ilk.serving.gate import LEFT, Gate
from ilk.serving.predicting import STRANGERS, Detail
from ilk.serving.refusals import Refusal, refused
from ilk.serving.service import Service

PAGE = Path(str(files("ilk.serving") / "page"))
log = logging.getLogger("ilk")
LOOK_S = 0.25  # seconds between looks at whether a network hangs
ABOUT = (
    "Names pictures. Try it: the [page](/) takes pictures by drag and drop, or "
    "`curl -F image=@cat.jpg http://HOST/predict`."
)


def build_app(service: Service, access: Access, store: Feedback | None = None) -> Gate:
    """Put a service's routes together; the models are loaded by whoever runs it.

    Parameters
    ----------
    service : Service
    access : Access
    store : Feedback, optional
        Where corrections go; None: none are taken.
    """
    app = FastAPIOffline(
        redoc_url=None,
        title="ilk",
        version=version("ilk"),
        description=ABOUT,
        lifespan=_watched(service),
    )
    app.include_router(predicting.router(service), tags=["pictures"])
    app.include_router(explaining.router(service), tags=["pictures"])
    app.include_router(correcting.router(service, store), tags=["pictures"])
    app.include_router(protocol.router(service), tags=["Open Inference Protocol"])
    _add_operation(app, service)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.add_api_route("/", _index, include_in_schema=False)
    app.add_api_route("/about", lambda: _about(service, store), include_in_schema=False)
    if access.api_key:
        _document_key(app)
    app.add_exception_handler(Refusal, lambda request, r: refused(r, request.url.path))
    app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=LEFT))
    guarded: ASGIApp = Guard(app, service, access)
    if access.origins:  # outside the guard: what it refuses is to be read too
        guarded = CORSMiddleware(
            guarded, allow_origins=access.origins, allow_methods=["GET", "POST"],
            allow_headers=["authorization", "x-api-key", "x-request-id"],
            expose_headers=["retry-after", "x-request-id"],
        )  # fmt: skip
    return Gate(guarded, service)


def _document_key(app: FastAPI) -> None:
    """Have ``/docs`` ask for the key."""
    document = app.openapi()  # kept by the application
    kinds = document.setdefault("components", {}).setdefault("securitySchemes", {})
    kinds["key"] = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    document["security"] = [{"key": []}]


def _watched(service: Service) -> Callable[[FastAPI], Any]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(_look(service))
        yield
        looking.cancel()
        service.models.close()

    return lifespan


async def _look(service: Service) -> None:
    while True:
        service.models.check()
        await asyncio.sleep(LOOK_S)


def _index() -> Response:
    return Response((PAGE / "index.html").read_bytes(), media_type="text/html")


def _about(service: Service, store: Feedback | None) -> dict[str, Any]:
    """Return what the page must know."""
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
        "formats": service.limits.formats,
        "megabytes": service.limits.body_bytes / 1e6,
    }


def _add_operation(app: FastAPI, service: Service) -> None:
    """Add the routes for those who run the service."""

    @app.get("/metrics", tags=["operation"], summary="Figures for Prometheus",
             response_class=Response)  # fmt: skip
    def metrics() -> Response:
        return Response(service.watch.text(), media_type="text/plain; version=0.0.4")

    @app.post(
        "/reload",
        tags=["operation"],
        summary="Load the models anew",
        responses={
            **STRANGERS,
            409: {"model": Detail, "description": "They are being loaded already"},
            422: {"model": Detail, "description": "One cannot be served; the old ones still are"},
        },
    )
    async def reload(_: Request) -> dict[str, list[str]]:
        """Load the models from their files beside those that answer, check them, and swap.

        A file that cannot be served leaves everything as it is.
        """
        try:
            await asyncio.to_thread(service.models.load)
        except IlkError as error:
            log.error("%s The models from before still answer.", error)  # noqa: TRY400 -- no fault
            raise Refusal(422, f"{error} The models from before still answer.") from None
        return {"models": [f"{s.name}@{s.version}" for s in service.models.all]}
