"""Tensors: what a request of the Open Inference Protocol holds, and what answers it.

In JSON, or in binary behind it, as Triton's extension "Binary Tensor Data" has it.
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
from fastapi import Request, Response
from numpy.typing import NDArray
from starlette.responses import JSONResponse

from ilk.data.catalog import Content
from ilk.serving.batcher import Answer
from ilk.serving.models import Served
from ilk.serving.refusals import Refusal

JSON_LENGTH = "inference-header-content-length"
LENGTH = re.compile(r"[0-9]{1,12}")
LONGEST = 100_000  # of a tensor's sides
OUTPUTS = {"probabilities": "FP32", "labels": "BYTES", "accepted": "BOOL", "unknown": "BOOL"}


class Asked:
    """A request: its pictures, and the outputs that it wants.

    Attributes
    ----------
    pictures : list
        Pixels, or encoded pictures.
    """

    def __init__(self, record: dict[str, Any], pictures: list[Content]) -> None:
        self.pictures = pictures
        # What a client sent besides may take thirty times the memory of its text.
        self._record = {key: record.get(key) for key in ("id", "outputs", "parameters")}

    @classmethod
    def read(cls, request: Request, body: bytes, most: int) -> Asked:
        """Read the JSON, and the binary tensors that may follow it.

        Raises
        ------
        Refusal
            It is damaged, or has more than ``most`` pictures.
        """
        given = request.headers.get(JSON_LENGTH, str(len(body)))
        if not LENGTH.fullmatch(given) or int(given) > len(body):
            raise Refusal(400, f"{JSON_LENGTH} is longer than the body.")
        try:
            record = json.loads(body[: int(given)])
        except (ValueError, RecursionError):
            raise Refusal(400, "The body is not JSON.") from None
        if not isinstance(record, dict):
            raise Refusal(400, "The body is no JSON object.")
        return cls(record, _pictures(record, body[int(given) :], most))

    def answered(self, served: Served, answers: Sequence[Answer]) -> Response:
        """Return the response: in JSON, with tensors behind it that were asked for in binary."""
        wanted = _objects(self._record["outputs"] or [], "outputs")
        binary = _parameters(self._record).get("binary_data_output") is True
        names = {str(w.get("name")): _parameters(w).get("binary_data", binary) for w in wanted}
        names = names or dict.fromkeys(OUTPUTS, binary)
        strange = [name for name in names if name not in OUTPUTS]
        if strange:
            raise Refusal(400, f"No output {strange[0][:100]!r}; there is {', '.join(OUTPUTS)}.")
        outputs: list[dict[str, Any]] = []
        tail = b""
        for name, in_binary in names.items():
            values = _values(name, answers)
            output: dict[str, Any] = {
                "name": name, "datatype": OUTPUTS[name], "shape": list(values.shape),
            }  # fmt: skip
            if in_binary is True:
                raw = _joined(values)
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


def _pictures(record: dict[str, Any], tail: bytes, most: int) -> list[Content]:
    inputs = _objects(record.get("inputs"), "inputs")
    if len(inputs) != 1:
        raise Refusal(400, f"{len(inputs)} inputs came; send one: 'pixels' or 'images'.")
    tensor = inputs[0]
    shape = _shape(tensor)
    raw = _binary(tensor, tail)
    kind = (tensor.get("name"), tensor.get("datatype"))
    if kind == ("pixels", "UINT8"):
        if len(shape) != 4 or shape[3] != 3:
            raise Refusal(400, f"pixels has the shape {shape}; send [N, height, width, 3].")
        number = shape[0]
    elif kind == ("images", "BYTES"):
        if len(shape) > 2:
            raise Refusal(400, f"images has the shape {shape}; send [N].")
        number = math.prod(shape)
    else:
        raise Refusal(400, f"No input {kind!r:.100}; send pixels as UINT8, or images as BYTES.")
    if number > most:  # before any of them is looked at
        raise Refusal(413, f"{number} pictures came; a request takes {most}.")
    if kind[0] == "pixels":
        return list(_pixels(tensor, raw, shape))
    return list(_encoded(tensor, raw, shape))


def _binary(tensor: dict[str, Any], tail: bytes) -> bytes | None:
    """Return a tensor's binary data, if it has any."""
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or not 0 <= size <= len(tail):
        raise Refusal(400, "binary_data_size is not the size of what follows the JSON.")
    return tail[:size]


def _pixels(tensor: dict[str, Any], raw: bytes | None, shape: list[int]) -> NDArray[np.uint8]:
    if raw is None:
        leaves = _leaves(tensor, shape)
        try:
            raw = bytes(leaves) if set(map(type, leaves)) == {int} else None
        except ValueError:  # out of range
            raw = None
        if raw is None:
            raise Refusal(400, "The data of pixels holds more than whole numbers of 0 to 255.")
    if len(raw) != math.prod(shape):
        raise _not_of(tensor, shape, len(raw))
    return np.frombuffer(raw, np.uint8).reshape(shape)


def _encoded(tensor: dict[str, Any], raw: bytes | None, shape: list[int]) -> list[bytes]:
    if raw is not None:
        number = math.prod(shape)
        found = _split(raw, number)
        if len(found) != number:
            raise _not_of(tensor, shape, "more" if len(found) > number else len(found))
        return found
    try:
        return [base64.b64decode(text, validate=True) for text in _leaves(tensor, shape)]
    except (binascii.Error, ValueError, TypeError):
        raise Refusal(400, "The data of images holds more than base64 texts.") from None


def _leaves(tensor: dict[str, Any], shape: list[int]) -> list[Any]:
    """Return what a tensor's lists hold, flat or nested, once their number is that of its shape."""
    number = math.prod(shape)
    data = tensor.get("data")
    if not isinstance(data, list):
        raise Refusal(400, f"The data of {tensor['name']} is no list.")
    while data and isinstance(data[0], list):
        if set(map(type, data)) != {list} or len(set(map(len, data))) != 1:
            raise Refusal(
                400, f"The data of {tensor['name']} holds lists of unequal kind or length."
            )
        if len(data) * len(data[0]) > number:
            break
        data = list(chain.from_iterable(data))
    if len(data) != number or isinstance(data[0], list):
        raise _not_of(tensor, shape, len(data))
    return data


def _values(name: str, answers: Sequence[Answer]) -> NDArray[Any]:
    rows = [(answer.predictions, answer.row) for answer in answers]
    if name == "probabilities":
        return np.stack([p.probabilities[row] for p, row in rows])
    if name == "labels":
        return np.array([p.labels[row] for p, row in rows], object)
    if name == "accepted":
        return np.array([bool(p.accepted[row]) for p, row in rows])
    return np.array([bool(p.unknown[row]) for p, row in rows])


def _joined(values: NDArray[Any]) -> bytes:
    """Return a tensor in binary: little endian; texts with their lengths before them."""
    if values.dtype != object:
        return values.tobytes()
    texts = [text.encode() for text in values]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _split(raw: bytes, most: int) -> list[bytes]:
    """Take binary data apart, into no more than one item over ``most``."""
    found: list[bytes] = []
    at = 0
    while at < len(raw) and len(found) <= most:
        if len(raw) - at < 4:
            raise Refusal(400, "The binary data of images end within a length.")
        (length,) = struct.unpack_from("<I", raw, at)
        if length > len(raw) - at - 4:
            raise Refusal(400, "The binary data of images end within a picture.")
        found.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def _not_of(tensor: dict[str, Any], shape: list[int], came: int | str) -> Refusal:
    number = math.prod(shape)
    return Refusal(400, f"{tensor['name']} has the shape {shape}: {number} values; {came} came.")


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Refusal(400, f"'{name}' is no list of objects.")
    return value


def _parameters(record: dict[str, Any]) -> dict[str, Any]:
    found = record.get("parameters")
    return found if isinstance(found, dict) else {}


def _shape(tensor: dict[str, Any]) -> list[int]:
    shape = tensor.get("shape")
    listed = shape if isinstance(shape, list) else []
    whole = all(type(side) is int and 0 < side <= LONGEST for side in listed)
    if not whole or not 1 <= len(listed) <= 4:
        raise Refusal(400, "'shape' is no list of one to four whole numbers above 0.")
    return listed
