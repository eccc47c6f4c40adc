"""Tensors: requests and responses of the Open Inference Protocol.

In JSON, or in binary behind the JSON: Triton's extension "Binary Tensor Data".
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from fastapi import HTTPException, Request, Response
from numpy.typing import NDArray
from starlette.responses import JSONResponse

from ilk.data.catalog import Content
from ilk.inference.predictions import Prediction
from ilk.serving.batcher import Answer
from ilk.serving.registry import ServedModel

JSON_LENGTH = "inference-header-content-length"
LENGTH = re.compile(r"[0-9]{1,12}")
MAX_SIDE = 100_000  # of a tensor's shape
OUTPUTS = {"probabilities": "FP32", "labels": "BYTES", "accepted": "BOOL", "unknown": "BOOL"}


class InferRequest:
    """A request: its pictures, and the outputs that it asks for.

    Attributes
    ----------
    pictures : list
        Pixels, or encoded pictures.
    """

    def __init__(self, record: dict[str, Any], pictures: list[Content]) -> None:
        self.pictures = pictures
        # Parsed JSON may take thirty times the memory of its text: keep only what is needed.
        self._record = {key: record.get(key) for key in ("id", "outputs", "parameters")}

    @classmethod
    def parse(cls, request: Request, body: bytes, limit: int) -> InferRequest:
        """Parse the JSON, and the binary tensors that may follow it.

        Raises
        ------
        HTTPException
            It is invalid (400), or has more than ``limit`` pictures (413).
        """
        length = request.headers.get(JSON_LENGTH, str(len(body)))
        if not LENGTH.fullmatch(length) or int(length) > len(body):
            raise HTTPException(400, f"{JSON_LENGTH} must be a number, at most the body's length.")
        try:
            record = json.loads(body[: int(length)])
        except (ValueError, RecursionError):
            raise HTTPException(400, "The body is not JSON.") from None
        if not isinstance(record, dict):
            raise HTTPException(400, "The body is not a JSON object.")
        return cls(record, _pictures(record, body[int(length) :], limit))

    def response(
        self, served: ServedModel, answers: Sequence[Answer], predictions: Sequence[Prediction]
    ) -> Response:
        """Return the response: JSON, followed by the tensors that were asked for in binary."""
        binary = _parameters(self._record).get("binary_data_output") is True
        wanted = _objects(self._record["outputs"] or [], "outputs")
        names = {str(w.get("name")): _parameters(w).get("binary_data", binary) for w in wanted}
        names = names or dict.fromkeys(OUTPUTS, binary)
        unknown = [name for name in names if name not in OUTPUTS]
        if unknown:
            known = ", ".join(OUTPUTS)
            raise HTTPException(400, f"No output {unknown[0][:100]!r}; choose from {known}.")
        outputs: list[dict[str, Any]] = []
        tail = b""
        for name, in_binary in names.items():
            values = _values(name, answers, predictions)
            output: dict[str, Any] = {
                "name": name, "datatype": OUTPUTS[name], "shape": list(values.shape),
            }  # fmt: skip
            if in_binary is True:
                raw = _to_bytes(values)
                tail += raw
                output["parameters"] = {"binary_data_size": len(raw)}
            else:
                output["data"] = values.reshape(-1).tolist()
            outputs.append(output)
        record: dict[str, Any] = {
            "model_name": served.name, "model_version": served.version, "outputs": outputs,
        }  # fmt: skip
        given = self._record["id"]
        if isinstance(given, str) and given.isprintable():  # half a surrogate pair is not
            record["id"] = given
        if not tail:
            return JSONResponse(record)
        head = json.dumps(record).encode()
        return Response(
            head + tail,
            media_type="application/octet-stream",
            headers={JSON_LENGTH: str(len(head))},
        )


def _pictures(record: dict[str, Any], tail: bytes, limit: int) -> list[Content]:
    inputs = _objects(record.get("inputs"), "inputs")
    if len(inputs) != 1:
        raise HTTPException(400, f"{len(inputs)} inputs: send one, 'pixels' or 'images'.")
    tensor = inputs[0]
    shape = _shape(tensor)
    raw = _binary(tensor, tail)
    kind = (tensor.get("name"), tensor.get("datatype"))
    if kind == ("pixels", "UINT8"):
        if len(shape) != 4 or shape[3] != 3:
            raise HTTPException(400, f"pixels has the shape {shape}; send [N, height, width, 3].")
        number = shape[0]
    elif kind == ("images", "BYTES"):
        if len(shape) > 2:
            raise HTTPException(400, f"images has the shape {shape}; send [N].")
        number = math.prod(shape)
    else:
        raise HTTPException(
            400, f"No input {kind!r:.100}; send pixels as UINT8 or images as BYTES."
        )
    if number > limit:  # before any of them is looked at
        raise HTTPException(413, f"{number} pictures: the limit of a request is {limit}.")
    if kind[0] == "pixels":
        return list(_pixels(tensor, raw, shape))
    return list(_encoded(tensor, raw, shape))


def _binary(tensor: dict[str, Any], tail: bytes) -> bytes | None:
    """Return a tensor's binary data, if it has any."""
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or not 0 <= size <= len(tail):
        raise HTTPException(400, "binary_data_size is not the size of the data behind the JSON.")
    return tail[:size]


def _pixels(tensor: dict[str, Any], raw: bytes | None, shape: list[int]) -> NDArray[np.uint8]:
    if raw is None:
        leaves = _leaves(tensor, shape)
        try:
            raw = bytes(leaves) if set(map(type, leaves)) == {int} else None
        except ValueError:  # out of range
            raw = None
        if raw is None:
            raise HTTPException(400, "The data of pixels must be integers from 0 to 255.")
    if len(raw) != math.prod(shape):
        raise _wrong_size(tensor, shape, len(raw))
    return np.frombuffer(raw, np.uint8).reshape(shape)


def _encoded(tensor: dict[str, Any], raw: bytes | None, shape: list[int]) -> list[bytes]:
    if raw is not None:
        number = math.prod(shape)
        found = _from_bytes(raw, number)
        if len(found) != number:
            raise _wrong_size(tensor, shape, "more" if len(found) > number else len(found))
        return found
    try:
        return [base64.b64decode(text, validate=True) for text in _leaves(tensor, shape)]
    except (binascii.Error, ValueError, TypeError):
        raise HTTPException(400, "The data of images must be base64 strings.") from None


def _leaves(tensor: dict[str, Any], shape: list[int]) -> list[Any]:
    """Return the items of a tensor's flat or nested lists, if their number fits its shape."""
    number = math.prod(shape)
    data = tensor.get("data")
    if not isinstance(data, list):
        raise HTTPException(400, f"The data of {tensor['name']} is not a list.")
    while data and isinstance(data[0], list):
        if set(map(type, data)) != {list} or len(set(map(len, data))) != 1:
            raise HTTPException(400, f"The lists in {tensor['name']} differ in kind or length.")
        if len(data) * len(data[0]) > number:
            break
        data = list(chain.from_iterable(data))
    if len(data) != number or isinstance(data[0], list):
        raise _wrong_size(tensor, shape, len(data))
    return data


def _values(
    name: str, answers: Sequence[Answer], predictions: Sequence[Prediction]
) -> NDArray[Any]:
    if name == "probabilities":
        return np.stack([answer.predictions.probabilities[answer.row] for answer in answers])
    if name == "labels":
        return np.array([prediction.label for prediction in predictions], object)
    return np.array([bool(getattr(prediction, name)) for prediction in predictions])


def _to_bytes(values: NDArray[Any]) -> bytes:
    """Return a tensor in binary: little endian, and strings behind their lengths."""
    if values.dtype != object:
        return values.tobytes()
    texts = [text.encode() for text in values]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _from_bytes(raw: bytes, limit: int) -> list[bytes]:
    """Split a tensor in binary into its strings; stop at the first one over ``limit``."""
    found: list[bytes] = []
    at = 0
    while at < len(raw) and len(found) <= limit:
        if len(raw) - at < 4:
            raise HTTPException(400, "The binary data of images ends within a length.")
        (length,) = struct.unpack_from("<I", raw, at)
        if length > len(raw) - at - 4:
            raise HTTPException(400, "The binary data of images ends within a picture.")
        found.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def _wrong_size(tensor: dict[str, Any], shape: list[int], sent: int | str) -> HTTPException:
    number = math.prod(shape)
    return HTTPException(
        400, f"{tensor['name']} has the shape {shape}, {number} values, but {sent} were sent."
    )


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise HTTPException(400, f"'{name}' is not a list of objects.")
    return value


def _parameters(record: dict[str, Any]) -> dict[str, Any]:
    found = record.get("parameters")
    return found if isinstance(found, dict) else {}


def _shape(tensor: dict[str, Any]) -> list[int]:
    shape = tensor.get("shape")
    sides = shape if isinstance(shape, list) else []
    valid = all(type(side) is int and 0 < side <= MAX_SIDE for side in sides)
    if not valid or not 1 <= len(sides) <= 4:
        raise HTTPException(400, "'shape' must be a list of one to four positive integers.")
    return sides
