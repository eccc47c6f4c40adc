"""Correcting: ``POST /feedback``, the right class of a picture."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Request
from pydantic import BaseModel

from ilk.errors import DecodeError, OutputError
from ilk.serving.bodies import MULTIPART, Part, body_of, parts_of
from ilk.serving.feedback import Correction, Feedback
from ilk.serving.models import Served
from ilk.serving.predicting import REFUSALS, Detail, only
from ilk.serving.refusals import Refusal
from ilk.serving.service import Service

TEXT = {"type": "string"}
FORM = {
    "type": "object",
    "required": ["image", "label"],
    "properties": {
        "image": {"type": "string", "format": "binary"},
        "label": TEXT | {"description": "What it is"},
        "predicted": TEXT | {"description": "What it was named"},
    },
}
BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}}


class Kept(BaseModel):
    """How many corrections there are now."""

    corrections: int


def router(service: Service, store: Feedback | None) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()

    @routes.post(
        "/feedback",
        responses={
            **REFUSALS,
            404: {"model": Detail, "description": "Corrections are not taken, or no such model"},
            422: {"model": Detail, "description": "No such class, or no picture"},
        },
        openapi_extra=BODY,
        summary="Say what a picture is",
    )
    async def correct(
        request: Request, model: str | None = None, version: str | None = None
    ) -> Kept:
        """Keep a picture with the right class, to train with later: see `ilk export-feedback`."""
        if store is None:
            raise Refusal(404, "Corrections are not kept here; start with 'ilk serve --feedback'.")
        served = service.models.find(model, version)
        async with body_of(request, service) as sent:
            kind = request.headers.get("content-type", "").encode("latin-1")
            if not kind.lower().startswith(MULTIPART):
                raise Refusal(415, "Send multipart/form-data, with the fields 'image' and 'label'.")
            correction = _correction(served, await service.aside(sent, parts_of, kind, sent))
            _, (answer,) = await service.answers(request, model, version, [correction.content])
            if isinstance(answer, DecodeError):
                raise Refusal(422, f"The picture {answer}.")
            try:
                keeping = asyncio.to_thread(store.add, correction)
                return Kept(corrections=await service.in_time(request, keeping))
            except OutputError as error:
                raise Refusal(503, str(error)) from None

    return routes


def _correction(served: Served, parts: Sequence[Part]) -> Correction:
    pictures = [part for part in parts if part.name == "image"]
    fields = {p.name: p.content.decode("utf-8", "replace") for p in parts if p.name != "image"}
    if not pictures or "label" not in fields:
        raise Refusal(422, "Send the picture in the field 'image', and what it is in 'label'.")
    for name in {"label", "predicted"} & set(fields):
        if fields[name] not in served.classifier.classes:
            raise Refusal(422, f"{served.name} has no class {fields[name][:100]!r}.")
    return Correction(
        only(pictures).content, served.name, served.version, fields.get("predicted", ""),
        fields["label"],
    )  # fmt: skip
