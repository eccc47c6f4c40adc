"""Convolution: quicker ways must give the same."""

import pytest
import torch
from torch import nn

from ilk.models.convolution import Convolution, apart, side_by_side

SHAPES = [  # pictures, channels in, out, side
    (12, 5, 7, 7),
    (7, 6, 6, 3),
    (201, 3, 4, 3),
    (100, 2, 2, 2),
    (4, 2, 3, 8),
    (1, 2, 3, 1),
]


def both(shape, kind=torch.bfloat16):
    """Return outputs and gradients of PyTorch's convolution and of ilk's."""
    pictures, before, after, side = shape
    torch.manual_seed(0)
    plain = nn.Conv2d(before, after, 3, padding=1, bias=False)
    ours = Convolution(before, after)
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
        "ilk.models.convolution.F.conv2d",
        lambda x, *a, **k: widths.append(x.shape[3]) or conv2d(x, *a, **k),
    )
    net = Convolution(2, 2).bfloat16()
    net(torch.randn(6, 2, 7, 7).bfloat16())
    with torch.no_grad():
        net(torch.randn(6, 2, 7, 7).bfloat16())
    net(torch.randn(6, 2, 31, 31).bfloat16())
    assert widths == [48, 7, 31]  # six rooms of 7 + 1; the others go PyTorch's own way


@pytest.mark.parametrize(
    ("pictures", "strips", "in_each"), [(12, 1, 12), (100, 1, 100), (201, 3, 67), (499, 5, 100)]
)
def test_pictures_come_back_apart_as_they_were_laid(pictures, strips, in_each):
    x = torch.arange(2.0 * pictures * 3 * 5 * 4).view(2 * pictures, 3, 5, 4)[:pictures]
    laid = side_by_side(x)
    assert laid.shape == (strips, 3, 5, in_each * 5)
    assert (laid[..., 4::5] == 0).all()
    assert torch.equal(apart(laid, pictures, 4), x)
