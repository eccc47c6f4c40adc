"""Depthwise: gradients in float32 must be those of the plain convolution."""

import pytest
import torch
from torch import nn

from ilk.training.cpu import depthwise
from ilk.training.cpu.depthwise import FastDepthwise


def gradients(net, x, *, quick):
    x = x.clone().requires_grad_()
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        if quick:
            with FastDepthwise():
                y = net(x)
        else:
            y = net(x)
    assert y.dtype == torch.bfloat16
    (y.float() ** 2).sum().backward()
    return y, x.grad, *(p.grad for p in net.parameters())


@pytest.fixture
def calls(monkeypatch):
    seen = []
    real = depthwise._convolved
    monkeypatch.setattr(depthwise, "_convolved", lambda *a: seen.append(a) or real(*a))
    return seen


@pytest.mark.parametrize(
    ("kernel", "stride", "bias"), [(3, 2, False), (5, 1, False), (5, 2, True), (7, 1, True)]
)
def test_the_slow_ones_give_what_pytorch_gives(calls, kernel, stride, bias):
    torch.manual_seed(0)
    net = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=bias)
    x = torch.randn(2, 6, 9, 9)
    plain, quick = gradients(net, x, quick=False), gradients(net, x, quick=True)
    assert len(calls) == 1
    for one, other in zip(plain, quick, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(
            one, other, rtol=0.05, atol=0.05 * float(one.detach().abs().max())
        )


@pytest.mark.parametrize(
    "net",
    [
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.Conv2d(6, 6, 5, 2),
        nn.Conv2d(6, 6, 5, 2, groups=2),
        nn.Conv2d(6, 6, 5, padding="same", groups=6),
    ],
    ids=["quick already", "dense", "grouped", "padding in words"],
)
def test_all_others_go_pytorchs_own_way(calls, net):
    x = torch.randn(2, 6, 9, 9)
    for one, other in zip(
        gradients(net, x, quick=False), gradients(net, x, quick=True), strict=True
    ):
        assert torch.equal(one, other)
    assert calls == []


def test_without_gradients_nothing_stands_in(calls):
    with torch.no_grad(), FastDepthwise():
        nn.Conv2d(6, 6, 5, 2, groups=6)(torch.randn(1, 6, 9, 9))
    assert calls == []


def test_frozen_filters_get_no_gradient():
    net = nn.Conv2d(6, 6, 5, groups=6, bias=False).requires_grad_(False)
    x = torch.randn(1, 6, 9, 9, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16), FastDepthwise():
        net(x).float().sum().backward()
    assert net.weight.grad is None
    assert x.grad is not None
