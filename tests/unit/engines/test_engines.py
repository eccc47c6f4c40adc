from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ilk import engines
from ilk.engines import Options, find_prepared, open_backbone, open_engine, openvino
from ilk.errors import EngineError, UsageError
from ilk.models.bundle import Bundle
from ilk.spec import Preprocess


def test_options_resolve_to_openvino_on_a_cpu_where_it_is_installed(monkeypatch):
    assert Options("cpu").resolved() == Options("cpu", "openvino")
    monkeypatch.setattr("ilk.engines.installed", lambda module: False)
    assert Options("cpu").resolved() == Options("cpu", "pytorch")


def test_options_keep_what_was_asked_for():
    asked = Options("cpu", "pytorch", "fp32")
    assert asked.resolved() == asked
    assert Options("auto", "openvino", "bf16").resolved() == Options("cpu", "openvino", "bf16")


def test_openvino_on_a_gpu_is_refused():
    with pytest.raises(UsageError, match=r"runs on the CPU; drop --device cuda:1"):
        Options("cuda:1", "openvino").resolved()


def test_a_device_that_is_not_here_is_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="No device 'cuda' here; there is: cpu"):
        Options("cuda", "pytorch").resolved()


@pytest.fixture
def no_conversion(monkeypatch):
    def fail(*_):
        raise EngineError("OpenVINO cannot convert this.")

    monkeypatch.setattr(engines, "prepare_in_subprocess", fail)
    monkeypatch.setattr(engines, "_start", lambda bundle, options: options.engine)


@pytest.mark.usefixtures("no_conversion")
def test_a_failed_conversion_falls_back_to_pytorch_with_a_warning(bundle, tmp_path, caplog):
    assert open_engine(bundle, tmp_path / "m", Options("cpu")) == "pytorch"
    assert "cannot convert this. Falling back to PyTorch" in caplog.text


@pytest.mark.usefixtures("no_conversion")
def test_a_failed_conversion_is_an_error_where_openvino_was_asked_for(bundle, tmp_path):
    with pytest.raises(EngineError, match="cannot convert this"):
        open_engine(bundle, tmp_path / "m", Options("cpu", "openvino"))


def test_a_graph_counts_only_when_whole(bundle):
    folder = openvino.graph_file(bundle).parent
    folder.mkdir(parents=True)
    assert not openvino.has_graph(bundle)
    (folder / "graph.xml").touch()
    assert not openvino.has_graph(bundle)
    (folder / "graph.bin").touch()
    assert openvino.has_graph(bundle)


def test_a_graph_in_a_read_only_cache_counts(bundle, monkeypatch):
    folder = openvino.graph_file(bundle).parent
    folder.mkdir(parents=True)
    for name in ("graph.xml", "graph.bin"):
        (folder / name).touch()

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.utime", refuse)
    assert openvino.has_graph(bundle)


@pytest.fixture
def reads(monkeypatch):
    """The files that bundles were read from; every graph is there, and engines start at once."""
    files, load = [], Bundle.load
    monkeypatch.setattr(Bundle, "load", lambda path: files.append(path) or load(path))
    monkeypatch.setattr(openvino, "has_graph", lambda _: True)
    monkeypatch.setattr(engines, "_start", lambda bundle, options: options.engine)
    return files


@pytest.mark.parametrize("engine", ["openvino", "pytorch"])
def test_a_backbone_that_is_prepared_is_read_once(bare_bundle, reads, engine):
    arguments = ("resnet18", None, Preprocess(imgsz=8), Options("cpu", engine))
    assert find_prepared(*arguments) is None
    file = Path(engines.backbone_job(*arguments[:3]).path)
    bare_bundle.save(file)
    found = find_prepared(*arguments)
    bundle, started = open_backbone(*arguments, found=found)
    assert (bundle.spec, started) == (bare_bundle.spec, engine)
    assert reads == [file]
    open_backbone(*arguments)
    assert reads == [file, file]


def test_a_model_that_was_read_is_not_read_again(bundle, tmp_path, reads):
    file = tmp_path / "model.safetensors"
    bundle.save(file)
    assert open_engine(bundle, file, Options("cpu", "openvino")) == "openvino"
    assert reads == []


def test_the_pytorch_engine_takes_any_pixels(monkeypatch):
    import torch
    from torch import nn

    from ilk.engines import pytorch

    class Mean(nn.Module):
        def features(self, pixels):
            return pixels.float().mean(dim=(1, 2))

        def logits(self, features):
            return None

    monkeypatch.setattr(pytorch, "build", lambda _: Mean())
    engine = pytorch.PyTorchEngine(None, "cpu", "fp32")
    assert engine.name == f"pytorch-{torch.__version__}-cpu-fp32"
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    pixels.flags.writeable = False
    for view in (pixels, pixels[..., ::-1], pixels[:, ::2], pixels[:0]):
        found = engine.run(view)
        assert found.logits is None
        np.testing.assert_allclose(found.features, view.mean(axis=(1, 2)), rtol=1e-6)
