from __future__ import annotations

import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from ilk.inference.classifier import Classifier
from ilk.serving import registry


def until(condition):
    while not condition():
        time.sleep(0.005)


def test_a_form_is_answered_as_the_classifier_predicts(client, classifier, png):
    found = client.post("/predict", files={"image": ("a.png", png())})
    assert found.status_code == 200
    record = found.json()
    assert (record["model"], record["version"]) == ("m", "1")
    (row,) = record["predictions"]
    expected = classifier.predict(png())[0].to_dict()
    del expected["path"]
    assert row == {"name": "a.png"} | expected
    assert row["error"] is None


def test_a_picture_may_be_the_body(client, png):
    curl = "application/x-www-form-urlencoded"  # its default, whatever it sends
    for kind in ("image/png", "application/octet-stream", curl):
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
    "sent, status, detail",
    [
        ({"content": b""}, 400, "No picture"),
        ({"content": b"hello", "headers": {"content-type": "text/plain"}}, 415, "multipart"),
        ({"json": {"image": "..."}}, 415, "multipart"),
        ({"data": {"image": "text"}}, 422, "is not a picture"),
        ({"content": b"hello"}, 422, "is not a picture"),
        ({"files": {"image": b""}}, 422, "is empty"),
        ({"files": {"image": b"GIF89a" + bytes(50)}}, 422, "JPEG, PNG, WEBP"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        ({"content": b"--b\r\nx", "headers": {"content-type": "multipart/form-data; boundary=b"}},
         400, "form is"),
        ({"content": b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n--b',
          "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400,
         "form is incomplete"),
    ],
)  # fmt: skip
def test_a_body_without_a_picture_is_refused_with_a_reason(client, png, sent, status, detail):
    found = client.post("/predict", **sent)
    assert found.status_code == status
    assert detail in found.text
    assert client.post("/predict", files={"image": png()}).status_code == 200


def test_a_form_without_files_says_so(client):
    body = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext\r\n--b--\r\n'
    found = client.post(
        "/predict", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert (found.status_code, "No picture" in found.text) == (400, True)


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
    until(lambda: service.queue.held == 4)
    found = client.post("/predict", files={"image": png()})
    assert (found.status_code, found.headers["retry-after"]) == (429, "1")
    gate.set()
    for thread in asking:
        thread.join(10)
    assert [answer.status_code for answer in done] == [200, 200]
    until(lambda: service.queue.held == 0)  # the decoding threads come to it after the answer
    assert client.post("/predict", files={"image": png()}).status_code == 200
    assert b"ilk_shed_total 1.0" in client.get("/metrics").content


def test_past_the_deadline_there_is_504_and_the_place_is_free(ask, make_service, classifier, png):
    gate, run = threading.Event(), classifier.engine.run
    service = make_service(deadline_s=0.3, body_s=0.3)
    client = ask(service)
    classifier.engine.run = lambda pixels: gate.wait(10) and run(pixels)
    first = client.post("/predict", files={"image": png()})
    waiting = client.post("/predict", files={"image": png()})  # its batch has not begun
    assert (first.status_code, waiting.status_code) == (504, 504)
    gate.set()
    until(lambda: not service.queue.held)
    assert client.post("/predict", files={"image": png()}).status_code == 200


def test_a_hanging_network_is_given_up_and_the_service_recovers(
    ask, make_service, classifier, png, monkeypatch
):
    monkeypatch.setattr(registry, "MIN_STALL_S", 0.3)
    hang, run = threading.Event(), classifier.engine.run
    client = ask(make_service())
    hung = []

    def hanging(pixels):
        if not hung:
            hung.append(True)
            hang.wait(20)
        return run(pixels)

    classifier.engine.run = hanging
    lost = client.post("/predict", content=png())
    assert (lost.status_code, "did not answer" in lost.text) == (503, True)
    assert client.post("/predict", content=png()).status_code == 200
    assert client.get("/v2/health/live").status_code == 200
    hang.set()


def test_bodies_together_are_bounded(ask, make_service, png):
    client = ask(make_service(buffer_bytes=len(png()) - 1))
    assert client.post("/predict", content=png()).status_code == 429


def test_the_metrics_count_requests_classes_and_doubts(ask, classifier, png):
    client = ask()
    label = classifier.predict(png())[0].label
    client.post("/predict", files={"image": png()})
    client.post("/predict", files={"image": b"broken"})
    metrics = client.get("/metrics").text
    assert 'ilk_requests_total{code="200",route="/predict"} 1.0' in metrics
    assert 'ilk_requests_total{code="422",route="/predict"} 1.0' in metrics
    assert f'ilk_predictions_total{{label="{label}",model="m",version="1"}} 1.0' in metrics
    assert 'ilk_doubts_total{kind="unreadable",model="m",version="1"} 1.0' in metrics
    for stage in ("decode", "queue", "engine"):
        assert f'ilk_stage_seconds_count{{stage="{stage}"}} 1.0' in metrics
    assert "ilk_batch_size_count 1.0" in metrics
    assert "ilk_queue_depth 0.0" in metrics


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


def test_a_form_is_parsed_in_memory(client, png, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    large = png() + bytes(3_000_000)
    found = client.post("/predict", files={"image": large})
    assert found.json()["predictions"][0]["label"]


def test_a_form_of_too_many_parts_is_refused(client, png):
    files = [("image", png())] + [("note", (None, "x"))] * 64
    assert client.post("/predict", files=files).status_code == 413


class Heat:
    """Explains every picture by itself as a whole."""

    def heatmaps(self, pixels, _):
        return np.ones((1, *pixels.shape[1:3]), np.float32)


@pytest.fixture
def explaining(make_service, classifier, model):
    """A service whose explanations are made up; they need the file of the model only."""
    classifier.source = str(model)
    service = make_service(str(model))
    service.open_explainer = lambda file: Heat()
    return service


def test_a_prediction_is_explained_by_a_picture(ask, explaining, png):
    client = ask(explaining)
    found = client.post("/explain?label=dog", content=png())
    assert (found.status_code, found.headers["content-type"]) == (200, "image/jpeg")
    assert client.post("/explain?label=cow", content=png()).status_code == 404
    assert client.post("/explain", content=b"no").status_code == 422


def test_a_file_that_was_replaced_does_not_explain_the_answers_of_the_old_one(
    ask, explaining, model, png
):
    client = ask(explaining)
    model.write_bytes(b"other weights")
    found = client.post("/explain", content=png())
    assert (found.status_code, "has been replaced" in found.text) == (503, True)
    assert client.post("/reload").status_code == 200
    assert client.post("/explain", content=png()).status_code == 200
    model.write_bytes(b"weights again")  # the one in memory goes on explaining
    assert client.post("/explain", content=png()).status_code == 200


def test_an_exported_model_cannot_be_explained(ask, make_service, loaded, classifier, png):
    exported = Classifier(classifier.spec, classifier.engine, "m.onnx", exported=True)
    loaded.found = lambda _: exported
    client = ask(make_service())
    found = client.post("/explain", content=png())
    assert (found.status_code, "was exported" in found.text) == (409, True)
    found = client.post("/explain", content=bytes(20_000_000))  # whose body is not waited for
    assert found.status_code == 409
    assert not client.get("/about").json()["models"][0]["explains"]
