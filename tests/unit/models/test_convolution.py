"""Convolution: quicker ways must give the same."""

import pytest
import torch
from torch import nn

from ilk.models.convolution import Convolution, apart, side_by_side

SHAPES = [
    # pictures, channels in, out, side, kernel, stride, padding
    (12, 5, 7, 15, 4, 2, 1),
    (10, 3, 6, 7, 4, 2, 1),
    (7, 6, 6, 7, 3, 1, 1),
    (6, 4, 4, 3, 3, 1, 1),
    (4, 2, 3, 8, 2, 2, 0),
    (4, 2, 3, 6, 5, 3, 2),
    (1, 2, 3, 1, 3, 1, 1),
]


def both(shape, kind=torch.bfloat16):
    """Return outputs and gradients of PyTorch's convolution and of ilk's."""
    pictures, before, after, side, *rest = shape
    torch.manual_seed(0)
    plain = nn.Conv2d(before, after, rest[0], stride=rest[1], padding=rest[2], bias=False)
    ours = Convolution(before, after, rest[0], stride=rest[1], padding=rest[2], bias=False)
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(pictures, before, side, side)
    answers = []
    for net in (plain.to(kind), ours.to(kind)):
        seen = x.to(kind, memory_format=torch.channels_last).requires_grad_()
        y = net(seen)
        (y.float() ** 2).sum().backward()
        answers.append((y, seen.grad, net.weight.grad))
    return zip(*answers, strict=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_those_of_pytorch(shape):
    for theirs, ours in both(shape):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        torch.testing.assert_close(
            ours, theirs, rtol=0.02, atol=0.02 * float(theirs.detach().abs().max())
        )


def test_float32_is_untouched():
    for theirs, ours in both(SHAPES[0], torch.float32):
        assert torch.equal(theirs, ours)


def test_narrow_pictures_are_laid_side_by_side_only_where_gradients_are_wanted(monkeypatch):
    widths = []
    conv2d = nn.functional.conv2d
    monkeypatch.setattr(
        "ilk.models.convolution.F.conv2d", lambda x, *a: widths.append(x.shape[3]) or conv2d(x, *a)
    )
    net = Convolution(2, 2, 3, padding=1, bias=False).bfloat16()
    net(torch.randn(6, 2, 7, 7).bfloat16())
    with torch.no_grad():
        net(torch.randn(6, 2, 7, 7).bfloat16())
    net(torch.randn(6, 2, 31, 31).bfloat16())
    assert widths == [48, 7, 31]  # six rooms of 7 + 1; the others go PyTorch's own way


def test_pictures_come_back_apart_as_they_were_laid():
    pictures = torch.arange(2.0 * 6 * 3 * 5 * 4).view(12, 3, 5, 4)
    strips = side_by_side(pictures, 6)
    assert strips.shape == (1, 3, 5, 72)
    assert (strips[..., 4:6] == 0).all()
    assert torch.equal(apart(strips, 6, 4, 12), pictures)
