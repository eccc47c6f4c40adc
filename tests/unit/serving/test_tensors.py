from __future__ import annotations

import json
import tracemalloc

import pytest
from fastapi import HTTPException
from starlette.requests import Request

from ilk.serving.tensors import InferRequest

LONG = "a" * 300_000
COSTLY = {
    "one long string and many short": [LONG, *[""] * 1000],
    "a long string among numbers": [LONG, *[1] * 191],
    "lists of unequal length": [[1] * 191, [1]],
    "lists and numbers": [[1], *[1] * 191],
    "numbers and lists": [*[1] * 191, [1]],
    "empty lists": [[]] * 192,
    "many empty lists": [[]] * 100_000,
    "many numbers": [1] * 100_000,
    "many strings": [""] * 100_000,
    "the right number of strings": ["1"] * 192,
    "long integers": [10**4000, *[1] * 191],
    "more than 255": [256] * 192,
    "less than 0": [-1] * 192,
    "floats": [1.0] * 192,
    "one float": [1.5, *[1] * 191],
    "NaN": [float("nan")] * 192,
    "booleans": [True] * 192,
    "one boolean": [True, *[1] * 191],
    "nulls": [None] * 192,
    "objects": [{}] * 192,
    "an object": {"a": 1},
    "a string": "a" * 192,
    "a number": 7,
    "null": None,
}


def deep(leaf, levels):
    for _ in range(levels):
        leaf = [leaf]
    return leaf


@pytest.mark.parametrize("data", [*COSTLY.values(), deep(1, 500), deep([1] * 193, 500)],
                         ids=[*COSTLY, "depth", "depth and too many"])  # fmt: skip
@pytest.mark.parametrize("kind", ["pixels", "images"])
def test_invalid_data_is_refused_at_little_cost(data, kind):
    tensor = {"name": kind, "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": data}
    if kind == "images":
        tensor |= {"datatype": "BYTES", "shape": [3]}
    body = json.dumps({"inputs": [tensor]}).encode()
    tracemalloc.start()
    try:
        with pytest.raises(HTTPException) as refused:
            InferRequest.parse(Request({"type": "http", "headers": []}), body, 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused.value.status_code == 400
    assert kind in refused.value.detail
    assert len(refused.value.detail) < 200
    assert peak < 50_000 + 40 * len(body)  # json.loads takes most of it


def test_a_binary_tensor_is_split_no_further_than_its_shape_says():
    record = {"name": "images", "datatype": "BYTES", "shape": [2]}
    record["parameters"] = {"binary_data_size": 9_000_000}
    head = json.dumps({"inputs": [record]}).encode()
    length = (b"inference-header-content-length", str(len(head)).encode())
    body = head + bytes(9_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(
            HTTPException, match=r"images has the shape \[2\], 2 values, but more were sent"
        ):
            InferRequest.parse(Request({"type": "http", "headers": [length]}), body, 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(body) + 50_000  # its one copy
