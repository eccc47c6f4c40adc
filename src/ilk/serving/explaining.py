"""Explaining: ``POST /explain``, a picture with what spoke for its answer."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from fastapi import APIRouter, Request, Response

from ilk.data.decode import decode
from ilk.errors import DecodeError, IlkError
from ilk.folder import digest_of
from ilk.inference.explain import Explainer, overlay
from ilk.models.bundle import Bundle
from ilk.serving.bodies import body_of, pictures_in
from ilk.serving.models import Served
from ilk.serving.niceness import be_nice
from ilk.serving.predicting import BODY, REFUSALS, Detail, only
from ilk.serving.refusals import Refusal, too_busy
from ilk.serving.service import Service

MOST_WAITING = 8
PICTURE = {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}


class Explaining:
    """Makes overlays, one at a time: each takes as long as many predictions."""

    def __init__(self, service: Service) -> None:
        self._formats = service.limits.formats
        self._watch = service.watch
        self._thread = ThreadPoolExecutor(1, "ilk-explain", be_nice)
        self._waiting = 0
        self._lock = Lock()
        self._explainers: dict[str, Explainer] = {}

    async def overlay(self, served: Served, content: bytes, label: str | None) -> bytes:
        """Return a JPEG of the picture as the network sees it, warm where it speaks for a label.

        Raises
        ------
        Refusal
            The model cannot be looked into, has no such class, or too much is waiting.
        DecodeError
            The content is no picture.
        """
        classes = served.classifier.classes
        if not served.explains:
            raise Refusal(
                409, f"{served.name} was exported: it answers, but cannot be looked into."
            )
        if label is not None and label not in classes:
            raise Refusal(404, f"{served.name} has no class {label[:100]!r}.")
        with self._lock:  # the thread that explains counts down
            if self._waiting >= MOST_WAITING:
                self._watch.shed()
                raise too_busy()
            self._waiting += 1
        future = self._thread.submit(self._made, served, content, label)
        future.add_done_callback(lambda _: self._done())
        return await asyncio.wrap_future(future)

    def _done(self) -> None:
        with self._lock:
            self._waiting -= 1

    def _made(self, served: Served, content: bytes, label: str | None) -> bytes:
        classifier = served.classifier
        pixels = decode(content, classifier.spec.preprocess, self._formats)[None]
        wanted = label or classifier.named(pixels)[0].label
        explainer = self._explainer(served)
        heat = explainer.heatmaps(pixels, [classifier.classes.index(wanted)])
        file = io.BytesIO()
        overlay(pixels[0], heat[0]).save(file, "JPEG", quality=88)
        return file.getvalue()

    def _explainer(self, served: Served) -> Explainer:
        if served.digest not in self._explainers:
            file = served.classifier.weights_file()
            explainer = Explainer(Bundle.load(file))
            if digest_of(file) != served.digest:
                raise Refusal(
                    503,
                    f"The file of {served.name} was replaced since it was loaded, and cannot "
                    "explain what the old one answers. Load it by SIGHUP or POST /reload.",
                )
            self._explainers = {served.digest: explainer}
        return self._explainers[served.digest]


def router(service: Service) -> APIRouter:
    """Return the route."""
    routes = APIRouter()
    explaining = Explaining(service)

    @routes.post(
        "/explain",
        response_class=Response,
        responses={
            200: PICTURE,
            **REFUSALS,
            409: {"model": Detail, "description": "An exported model cannot be looked into"},
            422: {"model": Detail, "description": "The picture cannot be read"},
        },
        openapi_extra=BODY,
        summary="Show what speaks for an answer",
    )
    async def explain(
        request: Request,
        model: str | None = None,
        version: str | None = None,
        label: str | None = None,
    ) -> Response:
        """Return the picture as the network sees it, warm where it speaks for a class.

        The class is the most probable one, unless `label` names another.
        """
        served = service.models.find(model, version)
        async with body_of(request, service) as body:
            most = service.limits.files
            part = only(await service.aside(body, pictures_in, request, body, most))
            try:
                made = await service.in_time(
                    request, explaining.overlay(served, part.content, label)
                )
            except DecodeError as error:
                raise Refusal(422, f"The picture {error}.") from None
            except IlkError as error:  # its file has gone, say
                raise Refusal(503, f"It cannot be explained: {error}") from None
        return Response(made, media_type="image/jpeg")

    return routes
