from __future__ import annotations

import importlib
import os
import pickle
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ilk.errors import UsageError, WeightsError
from ilk.models import weights
from ilk.models.backbones import create
from ilk.models.weights import Package, pretrained

NAME = "test_resnet"


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(1)
    return create(NAME, classes=None).state_dict()


@pytest.fixture
def nowhere(monkeypatch):
    monkeypatch.setattr(weights, "_in_hub_cache", lambda _: None)
    monkeypatch.setattr(weights, "_hub_answers", lambda: False)


def resized(state, classes):
    head = [k for k in state if k.startswith("fc.")]
    assert head
    return {**state, **{k: state[k][:1].repeat(classes, *[1] * (state[k].ndim - 1)) for k in head}}


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("classes", [1000, 7, 0])
def test_a_file_is_loaded_whatever_its_classifier(state, tmp_path, ending, classes):
    file = tmp_path / f"weights{ending}"
    kept = resized(state, classes) if classes else {k: v for k, v in state.items() if "fc" not in k}
    save = torch.save if ending == ".pth" else save_file
    save(kept, file)
    model, source = pretrained(NAME, file)
    assert source == f"file {file.name}"
    assert not model.training
    own = model.state_dict()
    assert not any(k.startswith("fc") for k in own)
    for key, tensor in own.items():
        assert torch.equal(tensor, state[key])


def test_a_checkpoint_that_wraps_its_state_dict_is_loaded(state, tmp_path):
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
    model, _ = pretrained(NAME, tmp_path / "w.pth")
    assert torch.equal(model.state_dict()["conv1.0.weight"], state["conv1.0.weight"])


def refusal(state, tmp_path, name=NAME):
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        pretrained(name, tmp_path / "w.pth")
    assert "w.pth" in str(caught.value)
    return str(caught.value)


def test_weights_that_do_not_fit_are_refused(state, tmp_path):
    first = "conv1.0.weight"
    assert "lacks" in refusal({k: v for k, v in state.items() if k != first}, tmp_path)
    assert "also holds more" in refusal({**state, "more": state[first]}, tmp_path)
    assert f"{first} has shape [1, 2]" in refusal({**state, first: torch.zeros(1, 2)}, tmp_path)
    assert "does not fit" in refusal(state, tmp_path, name="test_vit")
    assert "does not fit" in refusal({}, tmp_path)


@pytest.mark.parametrize("content", [3, "x", [1, 2], torch.zeros(3), {"state_dict": 3}, {1: 2}])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    refusal(content, tmp_path)


def test_a_state_dict_of_other_things_than_tensors_is_refused(state, tmp_path):
    assert "conv1.0.weight" in refusal({**state, "conv1.0.weight": 3}, tmp_path)


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("write", [torch.save, lambda x, f: f.write_bytes(pickle.dumps(x))])
@pytest.mark.parametrize("ending", ["pth", "bin", "safetensors"])
def test_a_pickle_payload_is_refused_and_not_executed(tmp_path, write, ending):
    marker, file = tmp_path / "executed", tmp_path / f"evil.{ending}"
    write({"x": Payload(marker)}, file)
    with pytest.raises(WeightsError, match=r"evil.* cannot be read as weights"):
        pretrained(NAME, file)
    assert not marker.exists()


@pytest.mark.parametrize("junk", [b"", b"junk", b"PK\x03\x04" + b"\0" * 40])
def test_a_damaged_file_is_refused(tmp_path, junk):
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(junk)
        with pytest.raises(WeightsError, match="cannot be read as weights"):
            pretrained(NAME, tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no weights file"):
        pretrained(NAME, tmp_path / "none.pth")


@pytest.mark.usefixtures("nowhere")
def test_without_weights_and_network_the_message_names_three_ways():
    with pytest.raises(WeightsError) as caught:
        pretrained("resnet18")
    for way in ("--weights FILE", "connect to the network", "ilk[weights]", "efficientnet_lite0"):
        assert way in str(caught.value)


@pytest.mark.usefixtures("nowhere")
def test_without_the_package_the_message_says_how_to_install_it(monkeypatch):
    absent = Package("absent", "ilk_no_such_module", "x.pth", "")
    monkeypatch.setitem(weights.PACKAGES, NAME, absent)
    with pytest.raises(WeightsError, match=r"install the weight packages \(pip install"):
        pretrained(NAME)
    assert weights.where(NAME).startswith("pip install")
    assert weights.where("resnet18").startswith("Hugging Face hub")


@pytest.fixture
def package(state, tmp_path, monkeypatch):
    """A package whose weights have timm's order and shapes, under other names."""
    folder = tmp_path / "ilk_fake_weights"
    folder.mkdir()
    (folder / "__init__.py").touch()
    torch.save({f"other.{i}": v for i, v in enumerate(state.values())}, folder / "w.pth")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    digest = weights.hashlib.sha256((folder / "w.pth").read_bytes()).hexdigest()
    package = Package("fake-weights", "ilk_fake_weights", "w.pth", digest)
    monkeypatch.setitem(weights.PACKAGES, NAME, package)
    return folder / "w.pth"


@pytest.mark.usefixtures("nowhere")
def test_a_package_is_used_without_being_imported(package, state):
    model, source = pretrained(NAME)
    assert source == "package fake-weights"
    assert "ilk_fake_weights" not in sys.modules
    assert weights.where(NAME) == "here, as a Python package"
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[key])


@pytest.mark.usefixtures("nowhere")
def test_a_package_with_other_bytes_is_refused(package):
    package.write_bytes(package.read_bytes() + b"x")
    with pytest.raises(WeightsError, match=r"fake-weights have been altered.*SHA-256"):
        pretrained(NAME)
    package.unlink()
    with pytest.raises(WeightsError, match="Install it again"):
        pretrained(NAME)


@pytest.mark.usefixtures("package")
def test_what_lies_in_the_hub_cache_comes_first(state, tmp_path, monkeypatch):
    cached = tmp_path / "model.safetensors"
    save_file(state, cached)
    monkeypatch.setattr(weights, "_in_hub_cache", lambda _: Path(cached))
    _, source = pretrained(NAME)
    assert source.startswith("hub timm/")


@pytest.fixture
def answering():
    """Return the address of a server that answers each request with 404, and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.fixture
def hub(monkeypatch):
    """Return a function that says where the hub is."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return lambda address: monkeypatch.setattr(constants, "ENDPOINT", address)


def test_offline_is_believed_without_a_connection(monkeypatch, hub, answering):
    from huggingface_hub import constants

    address, asked = answering
    hub(address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not weights._hub_answers()
    assert asked == []


def test_a_hub_that_answers(hub, answering):
    hub(answering[0])
    assert weights._hub_answers()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://hub.invalid", "nonsense"])
def test_a_hub_that_does_not_answer(hub, address):
    hub(address)
    assert not weights._hub_answers()


def test_a_hub_behind_a_proxy_is_asked_through_it(hub, answering, monkeypatch):
    address, asked = answering
    hub("http://hub.invalid")
    monkeypatch.setenv("http_proxy", address)
    assert weights._hub_answers()
    assert asked == ["http://hub.invalid/"]
