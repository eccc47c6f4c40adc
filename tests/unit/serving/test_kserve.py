from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest

from ilk.inference.predictions import Predictions

PATH = "/v2/models/m/infer"


@pytest.fixture
def pixels():
    return np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


def request(pixels):
    return {"id": "r7", "inputs": [{"name": "pixels", "datatype": "UINT8",
            "shape": list(pixels.shape), "data": pixels.reshape(-1).tolist()}]}  # fmt: skip


def outputs(record):
    return {o["name"]: o for o in record["outputs"]}


def test_pixels_in_json_are_answered_as_the_classifier_predicts(client, classifier, pixels):
    record = client.post(PATH, json=request(pixels)).json()
    expected = classifier.predict(pixels)
    assert (record["model_name"], record["model_version"], record["id"]) == ("m", "1", "r7")
    found = outputs(record)
    assert found["probabilities"]["shape"] == [3, 3]
    np.testing.assert_allclose(
        np.reshape(found["probabilities"]["data"], (3, 3)), expected.probabilities, atol=1e-6
    )
    assert found["labels"]["data"] == expected.labels
    assert found["accepted"]["data"] == [True] * 3
    assert found["unknown"]["data"] == [False] * 3


def test_encoded_pictures_come_as_base64(client, classifier, png):
    data = [base64.b64encode(png(i)).decode() for i in range(2)]
    tensor = {"name": "images", "datatype": "BYTES", "shape": [2], "data": data}
    record = client.post("/v2/models/m/versions/1/infer", json={"inputs": [tensor]}).json()
    assert outputs(record)["labels"]["data"] == classifier.predict([png(0), png(1)]).labels


def test_tensors_travel_in_binary_both_ways(client, classifier, pixels):
    head = json.dumps({
        "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape),
                    "parameters": {"binary_data_size": pixels.nbytes}}],
        "outputs": [{"name": "labels", "parameters": {"binary_data": True}},
                    {"name": "probabilities", "parameters": {"binary_data": True}}],
    }).encode()  # fmt: skip
    answer = client.post(
        PATH, content=head + pixels.tobytes(),
        headers={"inference-header-content-length": str(len(head))},
    )  # fmt: skip
    length = int(answer.headers["inference-header-content-length"])
    record, tail = json.loads(answer.content[:length]), answer.content[length:]
    sizes = [o["parameters"]["binary_data_size"] for o in record["outputs"]]
    labels, numbers = tail[: sizes[0]], tail[sizes[0] :]
    expected = classifier.predict(pixels)
    assert labels == b"".join(struct.pack("<I", len(n)) + n.encode() for n in expected.labels)
    np.testing.assert_allclose(
        np.frombuffer(numbers, np.float32).reshape(3, 3), expected.probabilities, atol=1e-6
    )


def test_encoded_pictures_in_binary(client, classifier, png):
    raw = b"".join(struct.pack("<I", len(png(i))) + png(i) for i in range(2))
    head = json.dumps({"inputs": [{"name": "images", "datatype": "BYTES", "shape": [2],
                       "parameters": {"binary_data_size": len(raw)}}]}).encode()  # fmt: skip
    headers = {"inference-header-content-length": str(len(head))}
    record = client.post(PATH, content=head + raw, headers=headers).json()
    assert outputs(record)["labels"]["data"] == classifier.predict([png(0), png(1)]).labels
    cut = client.post(PATH, content=head + raw[:-1], headers=headers)
    assert cut.status_code == 400


def changed(pixels, **changes):
    record = request(pixels)
    record["inputs"][0] |= changes
    return record


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"}, {"datatype": "FP32"}, {"shape": [3, 8, 8]}, {"shape": [1, 8, 8, 3]},
        {"shape": "x"}, {"shape": [0, 8, 8, 3]}, {"shape": [10**9, 8, 8, 3]}, {"shape": [True]},
        {"data": [1, 2]}, {"data": ["a"] * 576}, {"data": [0.5] * 576}, {"data": [256] * 576},
        {"data": [-1] * 576}, {"data": None}, {"data": [[1], 2]},
        {"parameters": {"binary_data_size": 5}}, {"parameters": {"binary_data_size": "x"}},
        {"name": "images", "datatype": "BYTES", "shape": [1], "data": ["?"]},
        {"name": "images", "datatype": "BYTES", "shape": [2], "data": ["aGk="]},
        {"name": "images", "datatype": "BYTES", "shape": [1], "data": [[["aGk="], 1]]},
    ],
)  # fmt: skip
def test_invalid_tensors_are_refused(client, pixels, changes):
    assert client.post(PATH, json=changed(pixels, **changes)).status_code in {400, 413}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"inputs": {}}', b'{"inputs": [1]}',
                                  b'{"inputs": []}', b"[" * 100_000, b"\xff"])  # fmt: skip
def test_bodies_that_are_not_a_request_are_refused(client, body):
    assert client.post(PATH, content=body).status_code == 400


def test_an_unknown_output_is_refused(client, pixels):
    record = request(pixels) | {"outputs": [{"name": "depth"}]}
    found = client.post(PATH, json=record)
    assert (found.status_code, "choose from probabilities" in found.text) == (400, True)


def test_a_broken_picture_among_tensors_says_which(client, png):
    data = [base64.b64encode(content).decode() for content in (png(), b"broken")]
    tensor = {"name": "images", "datatype": "BYTES", "shape": [2], "data": data}
    found = client.post(PATH, json={"inputs": [tensor]})
    assert found.status_code == 422
    assert "Picture 1 is not a picture" in found.json()["error"]


def test_models_describe_themselves(client):
    record = client.get("/v2/models/m").json()
    assert record["inputs"][0] == {"name": "pixels", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}
    assert record["outputs"][0]["shape"] == [-1, 3]
    assert client.get("/v2/models/m/ready").status_code == 200
    assert client.get("/v2/models/x/ready").status_code == 404
    assert client.get("/v2").json()["name"] == "ilk"
    assert [m["name"] for m in client.get("/v2/models").json()["models"]] == ["m"]


@pytest.mark.parametrize("length", ["\xb2", "9" * 5_000, "-1", " 5"])
def test_an_invalid_length_is_refused(client, length):
    headers = [(b"inference-header-content-length", length.encode("latin-1"))]
    assert client.post(PATH, content=b"{}", headers=headers).status_code == 400


def test_an_id_that_is_not_printable_is_not_returned(client, pixels):
    body = json.dumps(request(pixels)).replace('"r7"', '"\\ud800"')
    found = client.post(PATH, content=body)
    assert found.status_code == 200
    assert "id" not in found.json()


@pytest.mark.parametrize("shape", [[5], [1, 5]])
def test_the_number_of_pictures_is_limited_whatever_their_shape(ask, make_service, png, shape):
    data = [base64.b64encode(png()).decode()] * 5
    tensor = {"name": "images", "datatype": "BYTES", "shape": shape, "data": data}
    found = ask(make_service(files=4)).post(PATH, json={"inputs": [tensor]})
    assert found.status_code == 413


def test_the_work_for_an_answer_does_not_grow_with_its_batch(client, pixels, monkeypatch):
    computed = []
    for name in ("labels", "accepted", "unknown"):  # each is computed for a whole batch
        original = getattr(Predictions, name).fget
        counting = property(lambda self, f=original: computed.append(1) or f(self))
        monkeypatch.setattr(Predictions, name, counting)
    many = np.concatenate([pixels] * 8)
    assert client.post(PATH, json=request(many)).status_code == 200
    assert len(computed) <= 3  # for each output once, not for each picture


@pytest.mark.parametrize("kind", [["pixels"], {"a": 300 * "b"}, 300 * "c", None])
def test_an_invalid_name_is_refused(client, pixels, kind):
    found = client.post(PATH, json=changed(pixels, name=kind))
    assert found.status_code == 400
    assert len(found.text) < 300


def nested(pixels, *shape):
    return pixels.reshape(shape).tolist()


@pytest.mark.parametrize("shape", [(576,), (3, 8, 8, 3), (3, 192), (1, 1, 576), (24, 24)])
def test_pixels_may_be_nested(client, classifier, pixels, shape):
    found = client.post(PATH, json=changed(pixels, data=nested(pixels, *shape)))
    np.testing.assert_allclose(
        np.reshape(outputs(found.json())["probabilities"]["data"], (3, 3)),
        classifier.predict(pixels).probabilities,
        atol=1e-6,
    )


def test_too_many_pictures_are_refused_before_their_data_is_looked_at(ask, make_service):
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [5, 8, 8, 3], "data": ["x"]}
    found = ask(make_service(files=4)).post(PATH, json={"inputs": [tensor]})
    assert found.status_code == 413
