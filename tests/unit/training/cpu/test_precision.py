from __future__ import annotations

import numpy as np
import pytest
import torch

from ilk.errors import UsageError
from ilk.training.cpu import precision as precisions
from ilk.training.cpu.precision import Precision, pad_single_pixels, pick_precision

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False], ids=["with bf16", "without bf16"])
def has_bf16(request, monkeypatch):
    monkeypatch.setattr(precisions, "has_bf16", lambda _: request.param)
    return request.param


def test_auto_is_bf16_where_the_device_has_it(has_bf16):
    assert pick_precision("auto", "cpu") == Precision(CPU, "bf16" if has_bf16 else "fp32")


def test_bf16_is_refused_where_the_device_has_none(has_bf16):
    if has_bf16:
        assert pick_precision("bf16", "cpu").name == "bf16"
    else:
        with pytest.raises(UsageError, match="'cpu' has no bf16; give --precision fp32 or auto"):
            pick_precision("bf16", "cpu")


def test_fp32_is_always_to_be_had(has_bf16):
    assert pick_precision("fp32", "cpu") == Precision(CPU, "fp32")


def test_fp16_is_refused_on_a_cpu():
    with pytest.raises(UsageError, match="--precision fp16 needs a GPU"):
        pick_precision("fp16", "cpu")


def test_fp16_is_taken_on_a_gpu():
    assert pick_precision("fp16", "cuda").name == "fp16"


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_network_runs_in_the_numbers_asked_for(name, dtype):
    layer = torch.nn.Linear(2, 2)
    with Precision(CPU, name).autocast():
        assert layer(torch.ones(1, 2)).dtype == dtype


def test_on_a_cpu_pixels_stay_where_they_are():
    pixels = np.zeros((2, 4, 4, 3), np.uint8)
    tensor = Precision(CPU, "fp32").to_device(pixels)
    assert tensor.data_ptr() == pixels.ctypes.data
    assert not tensor.is_pinned()


def test_a_gpu_fetches_pixels_from_pinned_memory_without_being_waited_for(monkeypatch):
    done = []

    def pin_memory(tensor):
        done.append("pinned")
        return tensor

    def to(tensor, device, non_blocking=False):
        done.append((str(device), non_blocking))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr(torch.Tensor, "to", to)
    pixels = np.arange(6, dtype=np.uint8)
    fetched = Precision(torch.device("cuda:1"), "fp16").to_device(pixels)
    assert done == ["pinned", ("cuda:1", True)]
    assert fetched.tolist() == pixels.tolist()


def test_gradients_are_scaled_in_fp16_only():
    assert not Precision(CPU, "fp32").scaler().is_enabled()
    assert not Precision(CPU, "bf16").scaler().is_enabled()
    assert Precision(CPU, "fp16").scaler().is_enabled()


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (5, 2), (1, 0)])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_single_pixel_gets_company_and_the_answer_stays(kernel, padding, groups):
    net = torch.nn.Conv2d(4, 8, kernel, stride=2, padding=padding, groups=groups)
    pixel, picture = torch.randn(3, 4, 1, 1), torch.randn(3, 4, 6, 6)
    before = net(pixel), net(picture)
    seen = []
    pad_single_pixels(net)
    net.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape[2:])))
    for expected, x in zip(before, (pixel, picture), strict=True):
        torch.testing.assert_close(net(x), expected)
    assert seen == [(2, 2), (6, 6)]


def test_gradients_of_filters_that_see_padding_only_are_zero():
    """Without company they are uninitialised in bf16 on some processors."""
    net = torch.nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False)
    pad_single_pixels(net)
    for _ in range(5):
        dirt = [torch.full((size,), float("nan")) for size in (1000, 20000, 100000)]
        del dirt
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            net(torch.randn(4, 64, 1, 1)).float().sum().backward()
        assert (net.weight.grad[:, :, 0, 0] == 0).all()
        assert net.weight.grad.isfinite().all()


def test_a_convolution_that_would_answer_twice_is_left_alone():
    net = torch.nn.Conv2d(3, 3, 4, stride=2, padding=2)
    x = torch.randn(2, 3, 1, 1)
    before = net(x)
    pad_single_pixels(net)
    assert torch.equal(net(x), before)
