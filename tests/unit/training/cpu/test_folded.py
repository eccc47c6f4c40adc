"""Folded: the network must answer and learn as if its norms were where they are."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ilk.models.network import Network
from ilk.spec import Backbone
from ilk.training.cpu.folded import FoldedNorms, foldable
from ilk.training.cpu.precision import pick_precision


class Net(nn.Module):
    """Two convolutions with norms; ``elsewhere`` uses the first one's output past its norm."""

    def __init__(self, elsewhere=False, norms=True):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 2, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.norm2 = nn.BatchNorm2d(8, affine=norms)
        self.elsewhere = elsewhere

    def forward(self, x):
        x = self.conv1(x)
        y = F.relu(self.norm1(x))
        y = self.norm2(self.conv2(y))
        return (y + x if self.elsewhere else y).mean((2, 3))


@pytest.fixture
def make():
    def network(**how):
        torch.manual_seed(0)
        net = Net(**how)
        for norm in (net.norm1, net.norm2):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            if norm.affine:
                nn.init.normal_(norm.weight)
                nn.init.normal_(norm.bias)
        spec = Backbone(name="resnet18", features=8, mean=(0.5,) * 3, std=(0.2,) * 3)
        return Network(net, spec, nn.Linear(8, 2)).eval()

    return network


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)


def learned(network, pixels, pairs):
    network.zero_grad()
    with FoldedNorms(pairs):
        features, logits = network(pixels)
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    return features, {name: p.grad for name, p in network.named_parameters()}


@pytest.mark.parametrize("norms", [True, False])
def test_features_and_gradients_are_those_of_the_unfolded_network(make, pixels, norms):
    network = make(norms=norms)
    pairs = foldable(network, pixels)
    assert len(pairs) == 2
    plain, gradients = learned(network, pixels, {})
    folded, others = learned(network, pixels, pairs)
    torch.testing.assert_close(folded, plain)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=1e-5)


def test_the_norms_own_pass_falls_away(make, pixels):
    network = make()
    pairs = foldable(network, pixels)
    with torch.profiler.profile() as profiler, FoldedNorms(pairs):
        network(pixels)
    assert not [row.key for row in profiler.key_averages() if "batch_norm" in row.key]


def test_a_norm_that_learns_its_statistics_stays(make, pixels):
    network = make()
    network.backbone.norm1.train()
    before = copy.deepcopy(network.state_dict())
    assert list(foldable(network, pixels)) == [network.backbone.conv2]
    assert network.backbone.norm1.training
    assert not network.backbone.norm2.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_nothing_is_folded_where_the_convolution_is_used_elsewhere_too(make, pixels):
    assert foldable(make(elsewhere=True), pixels) == {}


def test_a_copy_of_the_network_is_left_alone(make, pixels):
    network = make()
    pairs = foldable(network, pixels)
    other = copy.deepcopy(network)
    plain = other.features(pixels)
    with FoldedNorms(pairs):
        assert torch.equal(other.features(pixels), plain)


def test_in_bf16_too(make, pixels):
    network = make()
    pairs = foldable(network, pixels)
    with pick_precision("auto", "cpu").autocast(), FoldedNorms(pairs):
        features, _ = network(pixels)
    torch.testing.assert_close(features.float(), network(pixels)[0], rtol=0.1, atol=0.1)
