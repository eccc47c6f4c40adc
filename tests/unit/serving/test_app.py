from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from ilk.data.catalog import from_arrays
from ilk.data.sources import open_catalog
from ilk.errors import ModelError, OutputError, UsageError
from ilk.inference import Classifier
from ilk.serving import explaining
from ilk.serving.feedback import Correction, Feedback, corrections_in, export_feedback
from ilk.serving.models import Place


def test_it_is_ready_once_the_models_are_warm(ask, make_service, png):
    service = make_service(load=False)
    client = ask(service)
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 503
    assert client.post("/predict", content=png()).status_code == 503
    service.models.load()
    assert client.get("/v2/health/ready").status_code == 200
    assert client.post("/predict", content=png()).status_code == 200


def test_a_service_that_is_to_end_is_not_ready_but_still_answers(ask, make_service, png):
    service = make_service()
    client = ask(service)
    service.draining = True
    assert client.get("/v2/health/ready").status_code == 503
    answer = client.post("/predict", content=png())
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")


def test_models_and_versions_are_served_side_by_side(ask, make_service, model, png):
    client = ask(make_service(f"a@1={model}", f"a@2={model}", f"b={model}"))

    def answered(query):
        found = client.post(f"/predict{query}", content=png()).json()
        return found.get("model"), found.get("version")

    assert answered("") == ("a", "2")  # the first name, its last version
    assert answered("?model=a&version=1") == ("a", "1")
    assert answered("?model=a@1") == ("a", "1")
    assert answered("?model=b")[0] == "b"
    assert len(answered("?model=b")[1]) == 12  # of the file's SHA-256
    missing = client.post("/predict?model=c", content=png())
    assert missing.status_code == 404
    assert "there is a@1, a@2, b@" in missing.json()["detail"]


def test_two_of_the_same_name_and_version_are_refused(make_service, model):
    with pytest.raises(UsageError, match="Two models are called a@1"):
        make_service(f"a@1={model}", f"a@1={model}")


@pytest.mark.parametrize(
    "text, name, version",
    [("cats@2=x/model.safetensors", "cats", "2"), ("a@=../x", "a", ""), ("cats=x", "cats", ""),
     ("runs/cd/model.safetensors", "cd", ""), ("my.onnx", "my", ""),
     ("runs/a b/model.onnx", "a-b", "")],
)  # fmt: skip
def test_a_place_has_a_name(text, name, version):
    place = Place.of(text)
    assert (place.name, place.version) == (name, version)


@pytest.mark.parametrize("text", ["a/b=x", "=x", "a@b/c=x"])
def test_a_name_that_cannot_stand_in_an_address_is_refused(text):
    with pytest.raises(UsageError, match="is no name for a model"):
        Place.of(text)


def test_a_reload_swaps_and_a_bad_file_leaves_what_was(ask, make_service, loaded, model, png):
    client = ask(make_service(f"a={model}"))
    before = client.post("/predict", content=png()).json()["version"]

    def bad(_):
        raise ModelError("model.safetensors is damaged.")

    good, loaded.found = loaded.found, bad
    found = client.post("/reload")
    assert found.status_code == 422
    assert found.json()["detail"].endswith("The models from before still answer.")
    assert client.post("/predict", content=png()).json()["version"] == before
    loaded.found = good
    model.write_bytes(b"other weights")
    after = client.post("/reload").json()["models"]
    assert after != [f"a@{before}"]
    assert client.post("/predict", content=png()).json()["version"] == after[0].split("@")[1]


def test_a_model_of_other_classes_does_not_take_a_name_over(
    ask, make_service, loaded, classifier, png
):
    client = ask(make_service())
    spec = classifier.spec.model_copy(update={"classes": ("ant", "bee", "cow")})
    loaded.found = lambda _: Classifier(spec, classifier.engine, "other.safetensors")
    assert "knows other classes than 'm'" in client.post("/reload").json()["detail"]
    assert client.post("/predict", content=png()).json()["predictions"][0]["label"] != "ant"


def test_versions_of_other_classes_are_reloaded_each_in_its_place(
    ask, make_service, loaded, classifier, model, png
):
    other = model.with_name("other.safetensors")
    other.write_bytes(b"other weights")
    spec = classifier.spec.model_copy(update={"classes": ("ant", "bee", "cow")})
    classifiers = {model: classifier, other: Classifier(spec, classifier.engine, "other")}
    loaded.found = classifiers.get
    client = ask(make_service(f"c@1={model}", f"c@2={other}"))
    assert client.post("/reload").status_code == 200
    found = client.post("/predict?version=2", content=png()).json()
    assert found["predictions"][0]["label"] in spec.classes


def test_golden_pictures_must_be_named_right(make_service, classifier):
    pictures = list(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8))
    labels = [p.label for p in classifier.predict(pictures)]
    assert make_service(golden=from_arrays(pictures, labels)).ready
    wrong = ["cat" if label != "cat" else "dog" for label in labels]
    with pytest.raises(ModelError, match="of 4 golden pictures it names 4 otherwise"):
        make_service(golden=from_arrays(pictures, wrong))


def test_without_the_key_only_health_page_and_figures_are_open(ask, png):
    client = ask(api_key="open sesame")
    for path in ("/", "/docs", "/openapi.json", "/metrics", "/v2/health/ready", "/page/page.js"):
        assert client.get(path).status_code == 200
    for headers in ({}, {"x-api-key": "wrong"}, {"authorization": "Basic open sesame"}):
        assert client.post("/predict", content=png(), headers=headers).status_code == 401
        assert client.get("/about", headers=headers).status_code == 401
        assert client.post("/reload", headers=headers).status_code == 401
    for headers in ({"x-api-key": "open sesame"}, {"authorization": "Bearer open sesame"}):
        assert client.post("/predict", content=png(), headers=headers).status_code == 200


def test_the_document_asks_for_the_key(ask):
    assert ask(api_key="k").get("/openapi.json").json()["security"] == [{"key": []}]
    assert "security" not in ask().get("/openapi.json").json()


def test_pages_of_other_sites_may_not_ask_unless_allowed(ask, png):
    other = {"origin": "https://evil.example"}
    client = ask()
    assert client.post("/predict", content=png(), headers=other).status_code == 403
    assert client.post("/reload", headers={"origin": "null"}).status_code == 403
    own = {"origin": "http://ilk.test"}
    assert client.post("/predict", content=png(), headers=own).status_code == 200
    allowed = ask(origins=("https://evil.example",))
    answer = allowed.post("/predict", content=png(), headers=other)
    assert answer.headers["access-control-allow-origin"] == "https://evil.example"


def test_an_allowed_page_may_ask_first_and_can_read_why_it_was_refused(ask, png):
    other = {"origin": "https://shop.example"}
    client = ask(api_key="k", origins=("https://shop.example",))
    wanted = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key",
    }
    preflight = client.options("/predict", headers=other | wanted)
    assert preflight.status_code == 200
    refused = client.post("/predict", content=png(), headers=other)
    assert refused.status_code == 401
    for found in (preflight, refused):
        assert found.headers["access-control-allow-origin"] == "https://shop.example"
    assert "retry-after" in refused.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "host, origin, status",
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000", 200),
        ("localhost:8000", "http://localhost:8000", 200),
        ("[::1]:8000", "http://[::1]:8000", 200),
        ("evil.example", "http://evil.example", 403),  # a name that now means this machine
        ("ilk.test", "http://[", 403),
    ],
)
def test_on_this_machine_alone_its_own_pages_are_those_of_loopback(ask, png, host, origin, status):
    headers = {"host": host, "origin": origin}
    assert ask(local=True).post("/predict", content=png(), headers=headers).status_code == status


def test_refusals_are_counted_by_route(ask, png):
    client = ask(api_key="k")
    client.post("/predict", content=png())
    client.post("/somewhere/predict", content=png())
    figures = client.get("/metrics").text
    assert 'ilk_requests_total{code="401",route="/predict"} 1.0' in figures
    assert 'ilk_requests_total{code="401",route="other"} 1.0' in figures


def test_the_page_and_its_parts_come_from_here_alone(client):
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in ("page.js", "page.css", "icon.svg"):
        assert f"/page/{name}" in page.text
        text = client.get(f"/page/{name}").text
        assert "https://" not in text
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert client.get("/page/../app.py").status_code == 404
    docs = client.get("/docs").text
    assert "https://" not in docs
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def test_the_page_learns_what_it_must_know(client):
    about = client.get("/about").json()
    (model,) = about["models"]
    assert model["classes"] == ["cat", "dog", "eel"]
    assert model["explains"]
    assert about["feedback"]


def test_a_correction_is_kept_once_a_picture_and_becomes_a_catalog(client, png, tmp_path):
    def correct(seed, label, **more):
        return client.post("/feedback", files={"image": png(seed)}, data={"label": label, **more})

    assert correct(0, "dog", predicted="cat").json() == {"corrections": 1}
    assert correct(1, "eel").json() == {"corrections": 2}
    assert correct(0, "eel").json() == {"corrections": 2}  # on second thoughts
    assert correct(0, "cow").status_code == 422
    assert client.post("/feedback", files={"image": png()}).status_code == 422
    assert client.post("/feedback", content=png()).status_code == 415
    cut = {"image": png()[:100]}
    assert client.post("/feedback", files=cut, data={"label": "cat"}).status_code == 422
    two = [("image", png(0)), ("image", png(1))]
    assert client.post("/feedback", files=two, data={"label": "cat"}).status_code == 413
    assert (
        client.post("/feedback", files={"image": b"no"}, data={"label": "cat"}).status_code == 422
    )
    assert export_feedback(tmp_path / "corrections", tmp_path / "new") == 2
    catalog = open_catalog(tmp_path / "new" / "catalog.csv")
    assert [p.label for p in catalog.pictures] == ["eel", "eel"]
    assert {p.read() for p in catalog.pictures} == {png(0), png(1)}
    with pytest.raises(UsageError, match="is not empty"):
        export_feedback(tmp_path / "corrections", tmp_path / "new")


def test_without_a_file_corrections_are_not_taken(ask, png):
    client = ask(store=False)
    found = client.post("/feedback", files={"image": png()}, data={"label": "cat"})
    assert found.status_code == 404
    assert not client.get("/about").json()["feedback"]


def test_a_file_of_something_else_holds_no_corrections(tmp_path):
    (tmp_path / "notes.txt").write_text("notes, and nothing but notes" * 50)
    with pytest.raises(OutputError, match="cannot hold corrections"):
        Feedback(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="There is no file"):
        export_feedback(tmp_path / "missing", tmp_path / "x")
    with pytest.raises(OutputError):
        Feedback(tmp_path / "no" / "folder")


def test_an_export_touches_nothing_and_has_one_label_a_picture(tmp_path, png):
    store = Feedback(tmp_path / "c")
    store.add(Correction(png(), "a", "1", "cat", "dog"))
    store.add(Correction(png(), "b", "1", "cat", "eel"))
    assert export_feedback(tmp_path / "c", tmp_path / "new") == 1
    assert [p.label for p in open_catalog(tmp_path / "new" / "catalog.csv").pictures] == ["eel"]
    with closing(sqlite3.connect(tmp_path / "other")) as database:
        database.execute("create table recipes (name text)")
    before = (tmp_path / "other").read_bytes()
    with pytest.raises(OutputError, match="cannot hold corrections"):
        export_feedback(tmp_path / "other", tmp_path / "newer")
    assert (tmp_path / "other").read_bytes() == before


def test_corrections_survive_the_service(tmp_path):
    Feedback(tmp_path / "c").add(Correction(b"x", "m", "1", "cat", "dog"))
    assert [dataclasses.astuple(c) for c in corrections_in(tmp_path / "c")] == [
        (b"x", "m", "1", "cat", "dog")
    ]
    with sqlite3.connect(tmp_path / "c") as database:
        assert database.execute("select count(*) from corrections").fetchone() == (1,)
    database.close()


def test_an_exported_model_cannot_be_explained(ask, make_service, loaded, classifier, png):
    exported = Classifier(classifier.spec, classifier.engine, "m.onnx", exported=True)
    loaded.found = lambda _: exported
    client = ask(make_service())
    found = client.post("/explain", content=png())
    assert (found.status_code, "was exported" in found.text) == (409, True)
    assert not client.get("/about").json()["models"][0]["explains"]


def test_a_file_that_was_replaced_does_not_explain_what_the_old_one_answers(
    ask, make_service, classifier, model, png, monkeypatch
):
    class Warm:
        def __init__(self, _):
            pass

        def heatmaps(self, pixels, _):
            return np.ones((1, *pixels.shape[1:3]), np.float32)

    monkeypatch.setattr(explaining, "Explainer", Warm)
    monkeypatch.setattr(explaining.Bundle, "load", lambda _: None)
    classifier.source = str(model)
    client = ask(make_service(str(model)))
    model.write_bytes(b"other weights")
    found = client.post("/explain", content=png())
    assert (found.status_code, "was replaced" in found.text) == (503, True)
    assert client.post("/reload").status_code == 200
    assert client.post("/explain", content=png()).status_code == 200
    model.write_bytes(b"weights again")  # what was loaded goes on explaining
    assert client.post("/explain", content=png()).status_code == 200
