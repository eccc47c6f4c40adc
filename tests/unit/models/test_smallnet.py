from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ilk.errors import UsageError
from ilk.models.smallnet import smallnet, whiten

NARROW = (8, 16, 16)


def net_of(seed=0, widths=NARROW):
    torch.manual_seed(seed)
    return smallnet(widths).eval()


def pictures(count=64, side=32, seed=0):
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 4, 4, generator=draw)
    smooth = F.interpolate(coarse, size=(side, side), mode="bilinear")
    return smooth + 0.1 * torch.randn(count, 3, side, side, generator=draw)


@pytest.mark.parametrize("side", [8, 9, 15, 16, 17, 24, 28, 32, 48, 64])
def test_pictures_of_8_to_64_pixels_become_one_feature_vector_each(side):
    with torch.no_grad():
        features = net_of()(pictures(2, side))
    assert features.shape == (2, NARROW[-1])
    assert features.isfinite().all()


def test_the_children_are_the_layer_groups():
    net = smallnet()
    assert [name for name, _ in net.named_children()] == ["whiten", "stage1", "stage2", "stage3"]
    assert net.num_features == 256


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    one, same, other = net_of(0).state_dict(), net_of(0).state_dict(), net_of(1).state_dict()
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["stage2.conv1.weight"], other["stage2.conv1.weight"])


def test_a_convolution_first_passes_on_what_it_gets():
    net = net_of()
    x = torch.randn(2, NARROW[0], 6, 6)
    torch.testing.assert_close(net.stage1.conv2(x), x)
    torch.testing.assert_close(net.stage2.conv1(x)[:, : NARROW[0]], x)


def test_whitening_decorrelates_the_pictures_and_gives_every_direction_both_signs():
    net, images = net_of(), pictures()
    whiten(net, images)
    with torch.no_grad():
        answers = F.conv2d(images, net.whiten.weight).transpose(0, 1).flatten(1)
    half = len(answers) // 2
    torch.testing.assert_close(answers[:half], -answers[half:])
    covariance = answers[:half] @ answers[:half].T / answers.shape[1]
    torch.testing.assert_close(covariance, torch.eye(half), atol=0.1, rtol=0)


def test_whitening_grey_pictures_leaves_out_colour():
    net, grey = net_of(), pictures()[:, :1].expand(-1, 3, -1, -1)
    whiten(net, grey)
    tint = torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert net.whiten.weight.isfinite().all()
    assert F.conv2d(tint, net.whiten.weight).abs().max() < 1e-3
    assert F.conv2d(grey[:1], net.whiten.weight).abs().max() > 0.5


def test_whitening_looks_at_no_more_pictures_than_the_limit_from_all_over():
    images = pictures(30)
    every_third, all_of_them = net_of(), net_of()
    whiten(every_third, images, limit=10)
    whiten(all_of_them, images[::3])
    assert torch.equal(every_third.whiten.weight, all_of_them.whiten.weight)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (3, 8, 8), (2, 3, 1, 8)])
def test_whitening_refuses_what_holds_no_patch(shape):
    with pytest.raises(UsageError, match="it needs"):
        whiten(net_of(), torch.zeros(shape))


def test_training_moves_all_but_the_whitening_filters():
    net = net_of().train()
    frozen = net.whiten.weight.clone()
    head = nn.Linear(net.num_features, 2)
    images = pictures(32, 16)
    labels = (images.mean(dim=(1, 2, 3)) > 0).long()
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=0.01)
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(head(net(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.any() for p in net.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert torch.equal(net.whiten.weight, frozen)


def test_a_fresh_plain_head_starts_near_even_odds_but_not_at_zero():
    net = net_of(widths=(64, 256, 256)).train()
    whiten(net, pictures())
    torch.manual_seed(0)
    with torch.no_grad():
        logits = nn.Linear(256, 10)(net(pictures()))
    assert 0.01 < logits.std() < 1


def test_the_memory_layout_and_bf16_change_little():
    net, images = net_of(), pictures(8)
    whiten(net, images)
    with torch.no_grad():
        plain = net(images)
        last = net.to(memory_format=torch.channels_last)
        torch.testing.assert_close(
            last(images.contiguous(memory_format=torch.channels_last)), plain, atol=1e-5, rtol=1e-4
        )
        with torch.autocast("cpu", torch.bfloat16):
            half = net(images)
    assert (half.float() - plain).abs().max() < 0.05 * plain.abs().max()


def test_it_can_be_exported_and_traced():
    net, images = net_of(), pictures(4)
    whiten(net, images)
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(net, (images,), dynamic_shapes=({0: batch},)).module()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates tracing; OpenVINO still goes by it
        traced = torch.jit.trace(net, images)
        more = pictures(7, seed=1)
        torch.testing.assert_close(exported(more), net(more))
        torch.testing.assert_close(traced(more), net(more))


def test_openvino_gives_the_same_features():
    from ilk.engines.openvino import import_openvino

    openvino = import_openvino()
    net, images = net_of(), pictures(4)
    whiten(net, images)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = openvino.convert_model(net, example_input=images)
        expected = net(images).numpy()
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(images.numpy())[0], expected, atol=1e-4)
