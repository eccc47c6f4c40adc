from __future__ import annotations

import threading

import numpy as np
import pytest

from ilk.data.in_memory import from_arrays
from ilk.errors import ModelError, UsageError
from ilk.inference.classifier import Classifier
from ilk.serving.registry import ModelSource


class Closing(Classifier):
    """A classifier that notes when it is closed."""

    def __init__(self, classifier):
        super().__init__(classifier.spec, classifier.engine, classifier.source)
        self.closed = threading.Event()

    def close(self):
        self.closed.set()


@pytest.mark.parametrize(
    "text, name, version",
    [("cats@2=x/model.safetensors", "cats", "2"), ("a@=../x", "a", ""), ("cats=x", "cats", ""),
     ("runs/cd/model.safetensors", "cd", ""), ("my.onnx", "my", ""),
     ("runs/a b/model.onnx", "a-b", "")],
)  # fmt: skip
def test_a_source_has_a_name(text, name, version):
    source = ModelSource.parse(text)
    assert (source.name, source.version) == (name, version)


@pytest.mark.parametrize("text", ["a/b=x", "=x", "a@b/c=x"])
def test_a_name_that_cannot_be_used_in_a_url_is_refused(text):
    with pytest.raises(UsageError, match="is not a valid model name"):
        ModelSource.parse(text)


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


def test_two_models_of_the_same_name_and_version_are_refused(make_service, model):
    with pytest.raises(UsageError, match="Two models are called a@1"):
        make_service(f"a@1={model}", f"a@1={model}")


def test_a_reload_swaps_and_a_bad_file_changes_nothing(ask, make_service, loaded, model, png):
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


@pytest.mark.parametrize("change", [lambda f: f.write_bytes(b"more"), lambda f: f.unlink()])
def test_a_file_that_changes_while_it_is_loaded_is_not_served(
    ask, make_service, loaded, model, png, change
):
    client = ask(make_service(f"a={model}"))
    before, good = client.post("/predict", content=png()).json()["version"], loaded.found

    def changing(path):
        change(model)
        return good(path)

    loaded.found = changing
    found = client.post("/reload")
    assert (found.status_code, "changed while it was loaded" in found.text) == (422, True)
    assert client.post("/predict", content=png()).json()["version"] == before


def test_a_second_reload_at_the_same_time_is_refused(ask, make_service, loaded):
    client = ask(make_service())
    loading, release, good = threading.Event(), threading.Event(), loaded.found

    def slow(path):
        loading.set()
        assert release.wait(10)
        return good(path)

    loaded.found = slow
    first = threading.Thread(target=client.post, args=("/reload",))
    first.start()
    assert loading.wait(10)
    assert client.post("/reload").status_code == 409
    release.set()
    first.join()


def test_a_model_with_other_classes_does_not_take_over_a_name(
    ask, make_service, loaded, classifier, png
):
    client = ask(make_service())
    spec = classifier.spec.model_copy(update={"classes": ("ant", "bee", "cow")})
    loaded.found = lambda _: Classifier(spec, classifier.engine, "other.safetensors")
    assert "has other classes than 'm'" in client.post("/reload").json()["detail"]
    assert client.post("/predict", content=png()).json()["predictions"][0]["label"] != "ant"


def test_versions_with_different_classes_are_reloaded_each_in_its_place(
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


def golden(classifier, number):
    pictures = list(np.random.default_rng(0).integers(0, 256, (number, 8, 8, 3), dtype=np.uint8))
    return pictures, [p.label for p in classifier.predict(pictures)]


def test_a_model_that_gets_golden_pictures_wrong_is_not_served(make_service, classifier):
    pictures, labels = golden(classifier, 4)
    assert make_service(golden=from_arrays(pictures, labels)).ready
    wrong = ["cat" if label != "cat" else "dog" for label in labels]
    with pytest.raises(ModelError, match="it gets 4 of 4 golden pictures wrong"):
        make_service(golden=from_arrays(pictures, wrong))


def test_golden_pictures_go_through_the_network_in_batches(make_service, classifier, monkeypatch):
    pictures, labels = golden(classifier, 10)
    run, sizes = classifier.engine.run, []
    monkeypatch.setattr(
        classifier.engine, "run", lambda pixels: sizes.append(len(pixels)) or run(pixels)
    )
    make_service(golden=from_arrays(pictures, labels), batch=4)
    assert max(sizes) == 4


def test_a_replaced_model_is_closed_once_it_has_answered(make_service, model, loaded, classifier):
    old = Closing(classifier)
    loaded.found = lambda _: old
    service = make_service(f"a={model}")
    loaded.found = lambda _: classifier
    with service.models.lease(None, None) as served:
        service.models.load()
        service.models.check()
        assert not old.closed.is_set()
    served.batcher.wait()
    service.models.check()
    assert old.closed.wait(10)


def test_models_that_are_not_served_after_all_are_closed(make_service, model, loaded, classifier):
    first, second = Closing(classifier), Closing(classifier)
    loaded.found = {model: first, model.parent: second}.get
    service = make_service(f"a@1={model}", f"a@1={model.parent}", load=False)
    with pytest.raises(UsageError, match="Two models are called a@1"):
        service.models.load()
    service.models.close()
    assert first.closed.wait(10)
    assert second.closed.wait(10)


def test_a_model_that_is_refused_is_closed(make_service, loaded, classifier):
    service = make_service()
    spec = classifier.spec.model_copy(update={"classes": ("ant", "bee", "cow")})
    other = Closing(Classifier(spec, classifier.engine))
    loaded.found = lambda _: other
    with pytest.raises(ModelError, match="has other classes"):
        service.models.load()
    assert other.closed.is_set()


def test_a_service_that_ends_closes_its_models(make_service, loaded, classifier):
    served = Closing(classifier)
    loaded.found = lambda _: served
    make_service().models.close()
    assert served.closed.is_set()


def test_a_request_is_answered_by_the_model_that_it_asked_for_despite_a_reload(
    make_service, model, classifier
):
    service = make_service(f"a={model}")
    with service.models.lease(None, None) as served:
        model.write_bytes(b"other weights")
        service.models.load()
        assert service.models.find(None, None).version != served.version
        pixels = np.zeros((8, 8, 3), np.uint8)
        (future,) = served.batcher.submit([pixels])
        answer = future.result(timeout=10)
        assert answer.predictions.labels == classifier.predict(pixels).labels
        service.models.check()
        assert not served.batcher.ended
    served.batcher.wait()
    assert served.batcher.ended
