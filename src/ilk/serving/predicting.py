"""Predicting: ``POST /predict``, the guide's call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from ilk.errors import DecodeError
from ilk.inference import Prediction
from ilk.serving.batcher import Answer
from ilk.serving.bodies import Part, body_of, pictures_in
from ilk.serving.models import Served
from ilk.serving.refusals import Refusal
from ilk.serving.service import Service

BINARY = {"type": "string", "format": "binary"}
FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {"image": {"type": "array", "items": BINARY, "description": "JPEG, PNG, WebP"}},
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": FORM},
            "image/*": {"schema": BINARY},
            "application/octet-stream": {"schema": BINARY},
        },
    }
}


class Detail(BaseModel):
    """Why there is no answer."""

    detail: str


class Ranked(BaseModel):
    """A class and its probability."""

    label: str
    probability: float


class Named(BaseModel):
    """What a model makes of one picture."""

    name: str
    label: str | None
    probability: float | None
    top: list[Ranked]
    accepted: bool | None
    unknown: bool | None
    error: str | None


class Answers(BaseModel):
    """The answers to a request, one a picture, in the order sent."""

    model: str
    version: str
    predictions: list[Named]


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Detail, "description": what}
    for status, what in {
        400: "No picture came, or the form is damaged",
        401: "The API key is missing or wrong",
        403: "The page of another site asked",
        404: "There is no such model or version",
        408: "The body came too slowly",
        413: "The body is too large, or has too many pictures",
        415: "The body is of a kind that carries no pictures",
        429: "Too much work is waiting: try again after Retry-After seconds",
        503: "The models are being loaded, or the network failed",
        504: "The deadline is past",
    }.items()
}

STRANGERS: dict[int | str, dict[str, Any]] = {status: REFUSALS[status] for status in (401, 403)}


def router(service: Service) -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @routes.post(
        "/predict",
        response_model=Answers,
        responses={
            **REFUSALS,
            422: {"model": Answers, "description": "None of the pictures can be read"},
        },
        openapi_extra=BODY,
        summary="Name pictures",
    )
    async def predict(
        request: Request,
        model: str | None = None,
        version: str | None = None,
        top: Annotated[int, Query(ge=1, le=1000)] = 5,
    ) -> Response:
        """Name one picture or several.

        Send them as multipart/form-data in the field `image`, or one as the body. One that cannot
        be read has its reason in `error`, and does not harm the others. The model is the first
        that is served, unless one is named; of its versions, the last.
        """
        service.models.find(model, version)  # or the body need not come
        async with body_of(request, service) as body:
            parts = await service.aside(body, pictures_in, request, body, service.limits.files)
            contents = [part.content for part in parts]
            served, found = await service.answers(request, model, version, contents)
        predictions = [predicted(answer, top) for answer in found]
        for prediction in predictions:
            service.watch.prediction(served.name, served.version, prediction)
        request.state.told.update(model=f"{served.name}@{served.version}", pictures=len(parts))
        readable = any(prediction.label is not None for prediction in predictions)
        return Response(
            json.dumps(_record(served, parts, predictions)),
            200 if readable else 422,
            media_type="application/json",
        )

    return routes


def predicted(answer: Answer | DecodeError, top: int) -> Prediction:
    """Return what a picture is named, with its ``top`` most probable classes."""
    if isinstance(answer, DecodeError):
        return Prediction("", None, None, (), error=f"The picture {answer}.")
    return answer.predictions.at(answer.row, top)


def only(parts: Sequence[Part]) -> Part:
    """Return the one picture of a request that takes no more.

    Raises
    ------
    Refusal
        There are several.
    """
    if len(parts) != 1:
        raise Refusal(413, f"{len(parts)} pictures came; send one.")
    return parts[0]


def _record(
    served: Served, parts: Sequence[Part], predictions: Sequence[Prediction]
) -> dict[str, Any]:
    rows = []
    for part, prediction in zip(parts, predictions, strict=True):
        row = prediction.to_dict()
        del row["path"]
        rows.append({"name": part.filename or ""} | row)
    return {"model": served.name, "version": served.version, "predictions": rows}
