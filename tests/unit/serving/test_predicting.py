from __future__ import annotations

import io
import json
import logging
import threading
import time

import numpy as np
import pytest
from PIL import Image

from ilk.errors import UsageError
from ilk.serving import models as home
from ilk.serving.limits import Limits


def test_the_guides_call_names_a_picture_as_the_classifier_does(client, classifier, png):
    found = client.post("/predict", files={"image": ("a.png", png())})
    assert found.status_code == 200
    record = found.json()
    assert (record["model"], record["version"]) == ("m", "1")
    (row,) = record["predictions"]
    expected = classifier.predict(png())[0].to_dict()
    del expected["path"]
    assert row == {"name": "a.png"} | expected
    assert row["error"] is None


def test_the_body_itself_may_be_the_picture(client, png):
    curls = "application/x-www-form-urlencoded"  # whatever it sends
    for kind in ("image/png", "application/octet-stream", curls):
        found = client.post("/predict", content=png(), headers={"content-type": kind})
        assert found.json()["predictions"][0]["label"]
    assert client.post("/predict", content=png()).status_code == 200  # no type at all


def test_several_pictures_are_answered_in_order_and_a_broken_one_alone_has_an_error(client, png):
    files = [("image", (f"{i}.png", png(i))) for i in range(5)]
    files[2] = ("image", ("broken.png", png(2)[:60]))
    found = client.post("/predict", files=files)
    rows = found.json()["predictions"]
    assert found.status_code == 200
    assert [row["name"] for row in rows] == ["0.png", "1.png", "broken.png", "3.png", "4.png"]
    assert [row["error"] is None for row in rows] == [True, True, False, True, True]
    assert "damaged" in rows[2]["error"]
    assert rows[2]["label"] is None


def test_top_limits_the_classes(client, png):
    for top, number in ((1, 1), (2, 2), (9, 3)):
        found = client.post(f"/predict?top={top}", files={"image": png()})
        assert len(found.json()["predictions"][0]["top"]) == number
    assert client.post("/predict?top=0", files={"image": png()}).status_code == 422


@pytest.mark.parametrize(
    "sent, status, said",
    [
        ({"content": b""}, 400, "No picture came"),
        ({"content": b"hello", "headers": {"content-type": "text/plain"}}, 415, "multipart"),
        ({"json": {"image": "..."}}, 415, "multipart"),
        ({"data": {"image": "text"}}, 422, "is not a picture"),
        ({"content": b"hello"}, 422, "is not a picture"),
        ({"files": {"image": b""}}, 422, "is empty"),
        ({"files": {"image": b"GIF89a" + bytes(50)}}, 422, "JPEG, PNG, WEBP"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        ({"content": b"--b\r\nx", "headers": {"content-type": "multipart/form-data; boundary=b"}},
         400, "form is"),
        ({"content": b"--b\r\n\r\nx\r\n--b", "headers":
          {"content-type": "multipart/form-data; boundary=b"}}, 400, "form is incomplete"),
    ],
)  # fmt: skip
def test_what_is_no_picture_gets_a_reason(client, png, sent, status, said):
    found = client.post("/predict", **sent)
    assert found.status_code == status
    assert said in found.text
    assert client.post("/predict", files={"image": png()}).status_code == 200


def test_a_form_without_files_says_so(client):
    body = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext\r\n--b--\r\n'
    found = client.post(
        "/predict", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert (found.status_code, "No picture came" in found.text) == (400, True)


def test_too_many_files_are_refused(ask, make_service, png):
    client = ask(make_service(files=3, queue=8))
    files = [("image", (f"{i}.png", png())) for i in range(4)]
    assert client.post("/predict", files=files).status_code == 413
    assert client.post("/predict", files=files[:3]).status_code == 200


def test_a_large_body_is_refused_announced_or_not(ask, make_service, png):
    client = ask(make_service(body_bytes=2_000))
    assert client.post("/predict", content=bytes(2_001)).status_code == 413

    def pieces():
        for _ in range(30):
            yield bytes(100)

    assert client.post("/predict", content=pieces()).status_code == 413
    assert client.post("/predict", content=png()).status_code == 200


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(client, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    for kind in ("PNG", "JPEG", "WEBP"):
        file = io.BytesIO()
        Image.new("RGB", (200, 100)).save(file, kind)
        found = client.post("/predict", content=file.getvalue())
        assert found.status_code == 422
        assert "over the limit" in found.text or "limit of" in found.text


def test_formats_are_taken_on_request(ask, make_service, noise, encoded):
    gif = encoded(noise(), "GIF")
    assert ask(make_service()).post("/predict", content=gif).status_code == 422
    assert ask(make_service(formats=("GIF",))).post("/predict", content=gif).status_code == 200


def test_a_full_queue_is_refused_at_once_and_empties_again(ask, make_service, classifier, png):
    gate, run = threading.Event(), classifier.engine.run
    service = make_service(queue=4, files=4)
    classifier.engine.run = lambda pixels: gate.wait(10) and run(pixels)
    client = ask(service)
    done = []
    asking = [
        threading.Thread(
            target=lambda: done.append(client.post("/predict", files=[("image", png())] * 2))
        )
        for _ in range(2)
    ]
    for thread in asking:
        thread.start()
    while service.room.pictures < 4:
        time.sleep(0.005)
    began = time.monotonic()
    found = client.post("/predict", files={"image": png()})
    assert time.monotonic() - began < 1
    assert (found.status_code, found.headers["retry-after"]) == (429, "1")
    gate.set()
    for thread in asking:
        thread.join(10)
    assert [answer.status_code for answer in done] == [200, 200]
    assert service.room.pictures == 0
    assert client.post("/predict", files={"image": png()}).status_code == 200
    assert b"ilk_shed_total 1.0" in client.get("/metrics").content


def test_past_the_deadline_there_is_504_and_the_place_is_free(ask, make_service, classifier, png):
    gate, run = threading.Event(), classifier.engine.run
    service = make_service(deadline_s=0.3, body_s=0.3)
    client = ask(service)
    classifier.engine.run = lambda pixels: gate.wait(10) and run(pixels)
    began = time.monotonic()
    first = client.post("/predict", files={"image": png()})
    waiting = client.post("/predict", files={"image": png()})  # its batch has not begun
    assert (first.status_code, waiting.status_code) == (504, 504)
    assert time.monotonic() - began < 2
    gate.set()
    while service.room.pictures:
        time.sleep(0.005)
    assert client.post("/predict", files={"image": png()}).status_code == 200


def test_a_hanging_network_is_given_up_and_the_service_recovers(
    ask, make_service, classifier, png, monkeypatch
):
    monkeypatch.setattr(home, "SHORTEST_STALL_S", 0.3)
    hang, run = threading.Event(), classifier.engine.run
    client = ask(make_service())
    hung = []

    def hanging(pixels):
        if not hung:
            hung.append(True)
            hang.wait(20)
        return run(pixels)

    classifier.engine.run = hanging
    began = time.monotonic()
    lost = client.post("/predict", content=png())
    assert (lost.status_code, "did not answer" in lost.text) == (503, True)
    assert client.post("/predict", content=png()).status_code == 200
    assert time.monotonic() - began < 5
    assert client.get("/v2/health/live").status_code == 200
    hang.set()


def test_bodies_together_are_bounded(ask, make_service, png):
    client = ask(make_service(buffer_bytes=len(png()) - 1))
    assert client.post("/predict", content=png()).status_code == 429


def test_a_line_a_request_names_it_and_nothing_of_the_picture(client, png, caplog):
    with caplog.at_level(logging.INFO, "ilk.requests"):
        answer = client.post(
            "/predict?top=1", files={"image": ("secret.png", png())}, headers={"x-request-id": "r1"}
        )
        other = client.post("/predict", content=b"", headers={"x-request-id": "no good id"})
    assert answer.headers["x-request-id"] == "r1"
    assert len(other.headers["x-request-id"]) == 32
    lines = [json.loads(r.message) for r in caplog.records if r.name == "ilk.requests"]
    first, second = lines[-2:]
    assert (first["id"], first["code"], first["path"]) == ("r1", 200, "/predict")
    assert (first["model"], first["pictures"]) == ("m@1", 1)
    assert second["code"] == 400
    assert "secret" not in caplog.text


def test_the_metrics_count_requests_classes_and_doubts(client, classifier, png):
    label = classifier.predict(png())[0].label
    client.post("/predict", files={"image": png()})
    client.post("/predict", files={"image": b"broken"})
    told = client.get("/metrics").text
    assert 'ilk_requests_total{code="200",route="/predict"} 1.0' in told
    assert 'ilk_requests_total{code="422",route="/predict"} 1.0' in told
    assert f'ilk_predictions_total{{label="{label}",model="m",version="1"}} 1.0' in told
    assert 'ilk_doubts_total{kind="unreadable",model="m",version="1"} 1.0' in told
    for stage in ("decode", "queue", "engine"):
        assert f'ilk_stage_seconds_count{{stage="{stage}"}} 1.0' in told
    assert "ilk_batch_size_count 1.0" in told
    assert "ilk_queue_depth 0.0" in told


@pytest.mark.parametrize(
    "wrong", [{"queue": 0}, {"formats": ("HEIC",)}, {"formats": ()}, {"queue": 8, "files": 9}]
)
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError):
        Limits(**wrong)


def test_a_picture_is_answered_alike_alone_and_among_others(ask, make_service, classifier, png):
    client = ask(make_service())
    alone = [client.post("/predict", files={"image": png(i)}).json() for i in range(8)]
    answers = {}

    def one(i):
        answers[i] = client.post("/predict", files={"image": png(i)}).json()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    for i in range(8):
        a, b = (x["predictions"][0]["probability"] for x in (alone[i], answers[i]))
        np.testing.assert_allclose(a, b, atol=1e-5)
