"""KServe: the Open Inference Protocol, version 2, which KServe and Triton clients speak.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol, with Triton's
extension "Binary Tensor Data". Inputs: ``pixels`` (UINT8 [N, H, W, 3]) or ``images`` (BYTES [N],
encoded pictures; base64 in JSON). Outputs: ``probabilities`` (FP32 [N, K]), ``labels`` (BYTES [N]),
``accepted`` and ``unknown`` (BOOL [N]).
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel
from starlette.responses import JSONResponse

from ilk.errors import DecodeError
from ilk.serving.batcher import Answer
from ilk.serving.bodies import read_body
from ilk.serving.registry import ServedModel
from ilk.serving.routes import AUTH_ERRORS, ERRORS, Responses, prediction_of, record_predictions
from ilk.serving.service import Service
from ilk.serving.tensors import OUTPUTS, InferRequest

VERSION = metadata.version("ilk")


class InferError(BaseModel):
    """Why there is no answer, in the protocol's words."""

    error: str


def _errors(*statuses: Any) -> Responses:
    return {
        status: {"model": InferError, "description": ERRORS[status]["description"]}
        for status in statuses
    }


MODEL_ERRORS = _errors(401, 403, 404, 503)
INFER_ERRORS: Responses = {
    **_errors(*(status for status in ERRORS if status != 415)),
    422: {"model": InferError, "description": "A picture cannot be read"},
}
NOT_HEALTHY: Responses = {503: {"description": "No"}}
INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"inputs": {"type": "array", "items": {"type": "object"}}},
                },
                "example": {
                    "inputs": [
                        {"name": "images", "datatype": "BYTES", "shape": [1], "data": ["BASE64"]}
                    ]
                },
            }
        },
    }
}


def router(service: Service) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    @routes.get("/health/live", summary="Is the process alive?", responses=NOT_HEALTHY)
    def live() -> Response:
        return _health(not service.models.broken)

    @routes.get("/health/ready", summary="Is the service ready?", responses=NOT_HEALTHY)
    def ready() -> Response:
        return _health(service.ready)

    @routes.get("", summary="Describe the server", responses=_errors(*AUTH_ERRORS))
    def server() -> dict[str, Any]:
        return {"name": "ilk", "version": VERSION, "extensions": ["binary_tensor_data"]}

    @routes.get("/models", summary="List the models", responses=_errors(*AUTH_ERRORS))
    def models() -> dict[str, Any]:
        return {"models": [_metadata(served) for served in service.models.all]}

    for path in ("/models/{name}", "/models/{name}/versions/{version}"):

        @routes.get(path, summary="Describe a model", responses=MODEL_ERRORS)
        def model(name: str, version: str = "") -> dict[str, Any]:
            return _metadata(service.models.find(name, version))

        @routes.get(f"{path}/ready", summary="Is a model ready?", responses=MODEL_ERRORS)
        def model_ready(name: str, version: str = "") -> Response:
            service.models.find(name, version)
            return _health(service.ready)

        @routes.post(
            f"{path}/infer",
            summary="Run a model on tensors",
            responses=INFER_ERRORS,
            openapi_extra=INFER_BODY,
        )
        async def infer(request: Request, name: str, version: str = "") -> Response:
            service.queue.check()
            with service.models.lease(name, version) as served:
                async with read_body(request, service) as body:
                    limit = service.limits.files
                    sent = await service.offload(body, InferRequest.parse, request, body, limit)
                    answers = await service.predict(request, served, sent.pictures)
            predictions = [prediction_of(answer, 1) for answer in answers]
            record_predictions(service, request, served, predictions)
            for index, answer in enumerate(answers):
                if isinstance(answer, DecodeError):
                    raise HTTPException(422, f"Picture {index} {answer}.")
            rows = [answer for answer in answers if isinstance(answer, Answer)]
            return sent.response(served, rows, predictions)

    return routes


def _metadata(served: ServedModel) -> dict[str, Any]:
    side = served.classifier.spec.preprocess.imgsz
    classes = served.classifier.classes
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": f"ilk {served.classifier.engine.name}",
        "inputs": [
            {"name": "pixels", "datatype": "UINT8", "shape": [-1, side, side, 3]},
            {"name": "images", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {
                "name": name,
                "datatype": datatype,
                "shape": [-1, len(classes)] if datatype == "FP32" else [-1],
            }
            for name, datatype in OUTPUTS.items()
        ],
        "classes": list(classes),
        "explains": served.explains,
        "digest": served.digest,
    }


def _health(healthy: bool) -> Response:
    return JSONResponse({}, 200 if healthy else 503)
