"""Routes: ``POST /predict``, ``/explain``, ``/feedback`` and ``/reload``, and ``GET /metrics``."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel

from ilk.errors import DecodeError, IlkError, OutputError
from ilk.inference.predictions import Prediction
from ilk.serving.batcher import Answer
from ilk.serving.bodies import MULTIPART, Part, parse_form, parse_pictures, read_body, single
from ilk.serving.feedback import Correction, Feedback
from ilk.serving.registry import ServedModel
from ilk.serving.service import Service

log = logging.getLogger("ilk")
Responses = dict[int | str, dict[str, Any]]


class ErrorDetail(BaseModel):
    """Why there is no answer."""

    detail: str


class RankedClass(BaseModel):
    """A class and its probability."""

    label: str
    probability: float


class PicturePrediction(BaseModel):
    """The prediction for one picture."""

    name: str
    label: str | None
    probability: float | None
    top: list[RankedClass]
    accepted: bool | None
    unknown: bool | None
    error: str | None


class PredictResponse(BaseModel):
    """One prediction per picture, in the order sent."""

    model: str
    version: str
    predictions: list[PicturePrediction]


class FeedbackResponse(BaseModel):
    """The number of corrections stored so far."""

    corrections: int


ERRORS: Responses = {
    status: {"model": ErrorDetail, "description": description}
    for status, description in {
        400: "There is no picture, or the form is damaged",
        401: "The API key is missing or wrong",
        403: "The request comes from a page of another site",
        404: "There is no such model or version",
        408: "The body arrived too slowly",
        413: "The body is too large, or has too many pictures",
        415: "The content type is not accepted",
        429: "Too much work is waiting: try again after Retry-After seconds",
        503: "The models are being loaded, or the network failed",
        504: "The deadline was missed",
    }.items()
}
AUTH_ERRORS: Responses = {status: ERRORS[status] for status in (401, 403)}
BINARY = {"type": "string", "format": "binary"}


def _error(description: str) -> dict[str, Any]:
    return {"model": ErrorDetail, "description": description}


def _form(**fields: dict[str, Any]) -> dict[str, Any]:
    required = [name for name in fields if name != "predicted"]
    return {"schema": {"type": "object", "required": required, "properties": fields}}


def _request_body(**content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


IMAGES = {"type": "array", "items": BINARY, "description": "JPEG, PNG, WebP"}
PICTURE_BODY = _request_body(**{
    "multipart/form-data": _form(image=IMAGES),
    "image/*": {"schema": BINARY},
    "application/octet-stream": {"schema": BINARY},
})  # fmt: skip
FEEDBACK_BODY = _request_body(**{
    "multipart/form-data": _form(
        image=BINARY,
        label={"type": "string", "description": "The correct class"},
        predicted={"type": "string", "description": "The predicted class"},
    )
})  # fmt: skip


def router(service: Service, store: Feedback | None) -> APIRouter:
    """Return the routes for pictures."""
    routes = APIRouter(tags=["pictures"])

    @routes.post(
        "/predict",
        response_model=PredictResponse,
        responses={
            **ERRORS,
            422: {"model": PredictResponse, "description": "None of the pictures can be read"},
        },
        openapi_extra=PICTURE_BODY,
        summary="Classify pictures",
    )
    async def predict(
        request: Request,
        model: str | None = None,
        version: str | None = None,
        top: Annotated[int, Query(ge=1, le=1000)] = 5,
    ) -> Response:
        """Predict the classes of one or more pictures.

        Send them as multipart/form-data in the field `image`, or a single one as the body. A
        picture that cannot be read has the reason in `error`; the others are not affected. The
        default model is the first one served, in its last version.
        """
        service.queue.check()
        with service.models.lease(model, version) as served:
            async with read_body(request, service) as body:
                limit = service.limits.files
                parts = await service.offload(body, parse_pictures, request, body, limit)
                contents = [part.content for part in parts]
                answers = await service.predict(request, served, contents)
        predictions = [prediction_of(answer, top) for answer in answers]
        record_predictions(service, request, served, predictions)
        readable = any(prediction.label is not None for prediction in predictions)
        return Response(
            json.dumps(_record(served, parts, predictions)),
            200 if readable else 422,
            media_type="application/json",
        )

    @routes.post(
        "/explain",
        response_class=Response,
        responses={
            200: {"content": {"image/jpeg": {"schema": BINARY}}},
            **ERRORS,
            409: _error("An exported model cannot explain its predictions"),
            422: _error("The picture cannot be read"),
        },
        openapi_extra=PICTURE_BODY,
        summary="Explain a prediction",
    )
    async def explain(
        request: Request,
        model: str | None = None,
        version: str | None = None,
        label: str | None = None,
    ) -> Response:
        """Return the picture as the network sees it, with a heat map of what supports a class.

        The class is the most probable one unless `label` names another.
        """
        with service.models.lease(model, version) as served:
            if not served.explains:
                raise HTTPException(
                    409, f"{served.name} was exported and cannot explain its predictions."
                )
            if label is not None:
                _check_label(served, label, 404)
            async with read_body(request, service) as body:
                limit = service.limits.files
                part = single(await service.offload(body, parse_pictures, request, body, limit))
                try:
                    image = await service.explain(request, served, part.content, label)
                except DecodeError as error:
                    raise HTTPException(422, f"The picture {error}.") from None
                except IlkError as error:  # its file is gone, for example
                    raise HTTPException(
                        503, f"The prediction cannot be explained: {error}"
                    ) from None
        return Response(image, media_type="image/jpeg")

    @routes.post(
        "/feedback",
        responses={
            **ERRORS,
            404: _error("Corrections are not accepted, or there is no such model"),
            422: _error("There is no such class, or the picture cannot be read"),
        },
        openapi_extra=FEEDBACK_BODY,
        summary="Correct a prediction",
    )
    async def correct(
        request: Request, model: str | None = None, version: str | None = None
    ) -> FeedbackResponse:
        """Store a picture with its correct class for later training; see `ilk export-feedback`."""
        if store is None:
            raise HTTPException(
                404, "Corrections are not stored here; start with 'ilk serve --feedback FILE'."
            )
        with service.models.lease(model, version) as served:
            async with read_body(request, service) as body:
                kind = request.headers.get("content-type", "")
                if not kind.lower().startswith(MULTIPART):
                    raise HTTPException(
                        415, "Send multipart/form-data with the fields 'image' and 'label'."
                    )
                parts = await service.offload(body, parse_form, kind, body)
                correction = _correction(served, parts)
                (answer,) = await service.predict(request, served, [correction.content])
                if isinstance(answer, DecodeError):
                    raise HTTPException(422, f"The picture {answer}.")
                try:
                    storing = asyncio.to_thread(store.add, correction)
                    return FeedbackResponse(
                        corrections=await service.before_deadline(request, storing)
                    )
                except OutputError as error:
                    raise HTTPException(503, str(error)) from None

    return routes


def operations(service: Service) -> APIRouter:
    """Return the routes for operators of the service."""
    routes = APIRouter(tags=["operation"])

    @routes.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @routes.post(
        "/reload",
        summary="Reload the models",
        responses={
            **AUTH_ERRORS,
            409: _error("They are being loaded already"),
            422: _error("One of them cannot be served; the models in use stay in use"),
        },
    )
    async def reload(_: Request) -> dict[str, list[str]]:
        """Load the models from their files, check them, and swap them in.

        If one of them cannot be served, nothing changes.
        """
        try:
            await asyncio.to_thread(service.models.load)
        except IlkError as error:
            log.error("%s The models from before still answer.", error)  # noqa: TRY400 -- no fault
            detail = f"{error} The models from before still answer."
            raise HTTPException(422, detail) from None
        return {"models": [served.full_name for served in service.models.all]}

    return routes


def prediction_of(answer: Answer | DecodeError, top: int) -> Prediction:
    """Return the prediction of a picture, with its ``top`` most probable classes."""
    if isinstance(answer, DecodeError):
        return Prediction("", None, None, (), error=f"The picture {answer}.")
    return answer.predictions.at(answer.row, top)


def record_predictions(
    service: Service, request: Request, served: ServedModel, predictions: Sequence[Prediction]
) -> None:
    """Count predictions in the metrics, and mention them in the access log."""
    for prediction in predictions:
        service.metrics.prediction(served.name, served.version, prediction)
    request.state.log_fields.update(model=served.full_name, pictures=len(predictions))


def _record(
    served: ServedModel, parts: Sequence[Part], predictions: Sequence[Prediction]
) -> dict[str, Any]:
    rows = []
    for part, prediction in zip(parts, predictions, strict=True):
        row = prediction.to_dict()
        del row["path"]
        rows.append({"name": part.filename or ""} | row)
    return {"model": served.name, "version": served.version, "predictions": rows}


def _correction(served: ServedModel, parts: Sequence[Part]) -> Correction:
    pictures = [part for part in parts if part.name == "image"]
    fields = {p.name: p.content.decode("utf-8", "replace") for p in parts if p.name != "image"}
    if not pictures or "label" not in fields:
        raise HTTPException(
            422, "Send the picture in the field 'image' and its correct class in 'label'."
        )
    for name in {"label", "predicted"} & set(fields):
        _check_label(served, fields[name], 422)
    return Correction(
        single(pictures).content, served.name, served.version, fields.get("predicted", ""),
        fields["label"],
    )  # fmt: skip


def _check_label(served: ServedModel, label: str, status: int) -> None:
    if label not in served.classifier.classes:
        raise HTTPException(status, f"{served.name} has no class {label[:100]!r}.")
