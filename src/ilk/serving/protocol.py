"""Protocol: the Open Inference Protocol, version 2, that KServe and Triton clients speak.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol, and for tensors
in binary Triton's extension "Binary Tensor Data". Inputs: ``pixels`` (UINT8 [N, H, W, 3]) or
``images`` (BYTES [N], encoded pictures; in JSON as base64). Outputs: ``probabilities`` (FP32
[N, K]), ``labels`` (BYTES [N]), ``accepted`` and ``unknown`` (BOOL [N]).
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import JSONResponse

from ilk.errors import DecodeError
from ilk.serving.batcher import Answer
from ilk.serving.bodies import body_of
from ilk.serving.models import Served
from ilk.serving.predicting import REFUSALS, STRANGERS, predicted
from ilk.serving.refusals import Refusal
from ilk.serving.service import Service
from ilk.serving.tensors import OUTPUTS, Asked

VERSION = metadata.version("ilk")


class Fault(BaseModel):
    """Why there is no answer, as the protocol words it."""

    error: str


FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": Fault, "description": refusal["description"]}
    for status, refusal in REFUSALS.items()
    if status != 415
}
OF_MODEL: dict[int | str, dict[str, Any]] = {
    status: FAULTS[status] for status in (401, 403, 404, 503)
}
OF_STRANGERS: dict[int | str, dict[str, Any]] = {status: FAULTS[status] for status in STRANGERS}
UNREADABLE: dict[int | str, dict[str, Any]] = {
    422: {"model": Fault, "description": "A picture cannot be read"}
}
NOT_FINE: dict[int | str, dict[str, Any]] = {503: {"description": "No"}}


def router(service: Service) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v2")

    @routes.get("/health/live", summary="Whether the process is worth keeping", responses=NOT_FINE)
    def live() -> Response:
        return _health(not service.models.broken)

    @routes.get("/health/ready", summary="Whether requests are welcome", responses=NOT_FINE)
    def ready() -> Response:
        return _health(service.ready)

    @routes.get("", summary="What this is", responses=OF_STRANGERS)
    def server() -> dict[str, Any]:
        return {"name": "ilk", "version": VERSION, "extensions": ["binary_tensor_data"]}

    @routes.get("/models", summary="What is served", responses=OF_STRANGERS)
    def models() -> dict[str, Any]:
        return {"models": [_described(served) for served in service.models.all]}

    for path in ("/models/{name}", "/models/{name}/versions/{version}"):

        @routes.get(path, summary="What a model takes and gives", responses=OF_MODEL)
        def model(name: str, version: str = "") -> dict[str, Any]:
            return _described(service.models.find(name, version))

        @routes.get(f"{path}/ready", summary="Whether a model answers", responses=OF_MODEL)
        def model_ready(name: str, version: str = "") -> Response:
            service.models.find(name, version)
            return _health(service.ready)

        @routes.post(
            f"{path}/infer",
            summary="Run a model on tensors",
            responses=FAULTS | UNREADABLE,
            openapi_extra=BODY,
        )
        async def infer(request: Request, name: str, version: str = "") -> Response:
            service.models.find(name, version)  # or the body need not come
            async with body_of(request, service) as body:
                asked = await service.aside(body, Asked.read, request, body, service.limits.files)
                served, found = await service.answers(request, name, version, asked.pictures)
            for answer in found:
                service.watch.prediction(served.name, served.version, predicted(answer, 1))
            for index, answer in enumerate(found):
                if isinstance(answer, DecodeError):
                    raise Refusal(422, f"Picture {index} {answer}.")
            told = {"model": f"{served.name}@{served.version}", "pictures": len(found)}
            request.state.told.update(told)
            return asked.answered(served, [a for a in found if isinstance(a, Answer)])

    return routes


BODY = {
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


def _described(served: Served) -> dict[str, Any]:
    side = served.classifier.spec.preprocess.imgsz
    number = len(served.classifier.classes)
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": f"ilk {served.classifier.engine.name}",
        "inputs": [
            {"name": "pixels", "datatype": "UINT8", "shape": [-1, side, side, 3]},
            {"name": "images", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": name, "datatype": kind, "shape": [-1, number] if kind == "FP32" else [-1]}
            for name, kind in OUTPUTS.items()
        ],
        "classes": list(served.classifier.classes),
        "explains": served.explains,
        "digest": served.digest,
    }


def _health(fine: bool) -> Response:
    return JSONResponse({}, 200 if fine else 503)
