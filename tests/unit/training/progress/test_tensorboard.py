from __future__ import annotations

import io
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from ilk.errors import UsageError
from ilk.models.network import Network
from ilk.spec import Backbone
from ilk.training.history import Row
from ilk.training.progress.tensorboard import TensorBoard

CLASSES = ("cat", "dog", "eel")


class Small(nn.Module):
    """A backbone with what real ones have: norms, dropout, work in place, blocks, tokens."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(nn.ReLU(), nn.Dropout()))
        self.token = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 5)
        self.classifier = nn.Identity()

    def forward(self, x):
        x = self.blocks(self.act(self.norm(self.stem(x)))).mean((2, 3)) * self.token
        return self.classifier(self.head(x))


@pytest.fixture
def network():
    torch.manual_seed(0)
    spec = Backbone(name="resnet18", features=5, mean=(0.5,) * 3, std=(0.25,) * 3)
    return Network(Small(), spec, nn.Linear(5, 3)).train()


@pytest.fixture
def pixels():
    values = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    return torch.from_numpy(values)


@pytest.fixture
def board(tmp_path):
    board = TensorBoard(tmp_path)
    yield board
    board.close()


def backward(network, pixels):
    _, logits = network(pixels)
    nn.functional.cross_entropy(logits, torch.arange(len(pixels)) % 3).backward()


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    return events.Reload()


def scalars(folder, tag):
    return {event.step: event.value for event in read(folder).Scalars(tag)}


def shown(folder, tag):
    [*_, event] = read(folder).Images(tag)
    with Image.open(io.BytesIO(event.encoded_image_string)) as image:
        return np.asarray(image.convert("RGB"))


def row(epoch, **changes):
    values = {"val_loss": 0.4, "val_accuracy": 0.8, "val_macro_f1": 0.7, **changes}
    return Row(epoch, epoch * 100, 1.0, 0.01, 0.5 / epoch, 0.9, pictures_per_second=10, **values)


def test_rows_can_be_read_at_once_and_what_is_none_is_left_out(board, tmp_path):
    board.scalars(row(1, val_loss=None, val_accuracy=None, val_macro_f1=None))
    assert set(read(tmp_path).Tags()["scalars"]) == {
        "loss/train", "accuracy/train", "lr", "epoch", "pictures_per_second",
    }  # fmt: skip
    board.scalars(row(2))
    assert scalars(tmp_path, "loss/train") == {100: 0.5, 200: 0.25}
    assert scalars(tmp_path, "macro_f1/val") == {200: pytest.approx(0.7)}


def test_a_resumed_run_overwrites_what_came_later(board, tmp_path):
    for epoch in (1, 2, 3):
        board.scalars(row(epoch))
    board.close()
    resumed = TensorBoard(tmp_path, first_step=200)
    resumed.scalars(row(4))
    resumed.close()
    assert [*scalars(tmp_path, "loss/train")] == [100, 200, 400]


def test_a_fresh_run_in_an_old_folder_overwrites_all(board, tmp_path):
    board.scalars(row(1))
    board.close()
    fresh = TensorBoard(tmp_path)
    fresh.scalars(row(2))
    fresh.close()
    assert [*scalars(tmp_path, "loss/train")] == [200]


def test_gradient_norms_are_of_each_part_and_in_total(board, tmp_path, network, pixels):
    board.gradient_norms(0, network)
    backward(network, pixels)
    network.backbone.stem.weight.grad = network.backbone.stem.bias.grad = None
    board.gradient_norms(7, network)
    board.close()
    found = {
        tag.removeprefix("gradient_norm/"): scalars(tmp_path, tag)
        for tag in read(tmp_path).Tags()["scalars"]
    }
    assert set(found) == {"norm", "blocks", "tokens", "backbone.head", "head", "total"}
    gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    head = [p.grad.flatten() for p in network.head.parameters()]
    assert found["total"] == {7: pytest.approx(float(torch.cat(gradients).norm()), rel=1e-5)}
    assert found["head"] == {7: pytest.approx(float(torch.cat(head).norm()), rel=1e-5)}


def test_histograms_are_of_every_layer(board, tmp_path, network, pixels):
    backward(network, pixels)
    board.histograms(3, network, pixels)
    board.close()
    events = read(tmp_path)
    tags = set(events.Tags()["histograms"])
    with_weights = {"stem", "norm", "blocks.0", "backbone.head", "head"}
    assert {t.partition("/")[2] for t in tags if "weights" in t} == with_weights | {"tokens"}
    assert {t.partition("/")[2] for t in tags if "gradients" in t} == with_weights | {"tokens"}
    activations = {t.partition("/")[2] for t in tags if "activations" in t}
    assert activations == with_weights | {"act", "blocks.1"}
    [weights] = events.Histograms("weights/head")
    assert weights.step == 3
    assert weights.histogram_value.num == 5 * 3 + 3
    largest = max(float(p.detach().max()) for p in network.head.parameters())
    assert weights.histogram_value.max == pytest.approx(largest, abs=1e-6)


def test_activations_are_those_before_the_next_layer_works_in_place(
    board, tmp_path, network, pixels
):
    board.histograms(0, network, pixels)
    board.close()
    [before] = read(tmp_path).Histograms("activations/norm")
    [after] = read(tmp_path).Histograms("activations/act")
    assert before.histogram_value.min < 0 == after.histogram_value.min


def test_histograms_change_nothing(board, network, pixels):
    backward(network, pixels)
    network.backbone.norm.eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    gradients = [p.grad.clone() for p in network.parameters()]
    modes = [module.training for module in network.modules()]
    random = torch.get_rng_state()
    for _ in range(2):
        board.histograms(0, network, pixels)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    now = [p.grad for p in network.parameters()]
    assert all(map(torch.equal, now, gradients))
    assert [module.training for module in network.modules()] == modes
    assert not all(modes)
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks for module in network.modules())


def test_nothing_is_changed_if_the_network_fails(board, network, pixels):
    with pytest.raises(RuntimeError):
        board.histograms(0, network, pixels[..., :2])
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


def test_histograms_of_large_layers_are_of_a_sample(board, tmp_path, network, pixels):
    network.backbone.stem = nn.Conv2d(3, 4, 1)
    large = pixels.repeat(30, 3, 3, 1)
    board.histograms(0, network, large)
    board.close()
    [found] = read(tmp_path).Histograms("activations/stem")
    image = large.permute(0, 3, 1, 2).float() * network.scale + network.shift
    values = network.backbone.stem(image).detach()
    assert found.histogram_value.num == 99_991 < values.numel()
    mean = found.histogram_value.sum / found.histogram_value.num
    assert mean == pytest.approx(float(values.mean()), abs=0.02)


def test_what_is_not_finite_is_told_and_crashes_nothing(board, tmp_path, network, pixels):
    backward(network, pixels)
    with torch.no_grad():
        network.head.weight[0, 0] = math.nan
        network.backbone.stem.weight.fill_(math.inf)
        network.backbone.token.fill_(1e30)
        network.head.bias.grad.fill_(math.nan)
    board.gradient_norms(1, network)
    board.histograms(1, network, pixels)
    board.scalars(row(1, val_loss=math.inf, val_accuracy=math.nan))
    board.pictures(1, torch.full((2, 8, 8, 3), math.nan), torch.tensor([0, 1]), CLASSES)
    board.close()
    assert scalars(tmp_path, "not_finite/weights/head") == {1: pytest.approx(1 / 18)}
    assert math.isnan(scalars(tmp_path, "gradient_norm/total")[1])
    assert scalars(tmp_path, "loss/val") == {100: math.inf}
    assert "weights/tokens" in read(tmp_path).Tags()["histograms"]


def test_pictures_are_shown_in_a_grid_with_their_labels(board, tmp_path, pixels):
    board.pictures(1, pixels, np.arange(20) % 3, CLASSES)
    board.close()
    sheet = shown(tmp_path, "pictures/train")
    step = 128 + 8
    assert sheet.shape == (4 * (step + 40) + 8, 4 * step + 8, 3)
    first = sheet[8 : 8 + 128, 8 : 8 + 128]
    assert np.array_equal(first[::16, ::16], pixels[0].numpy())
    caption = sheet[8 + 128 : 8 + 128 + 40, 8 : 8 + 128]
    assert 20 < (caption.min(axis=2) < 128).sum() < 1000


@pytest.mark.parametrize(("side", "drawn"), [(5, 130), (32, 128), (150, 150), (300, 224)])
def test_pictures_are_shown_at_a_size_that_can_be_seen(board, tmp_path, side, drawn):
    board.pictures(1, torch.full((1, side, side, 3), 40.0), torch.tensor([0]), CLASSES)
    board.close()
    sheet = shown(tmp_path, "pictures/train")
    assert sheet.shape == (drawn + 40 + 16, drawn + 16, 3)
    assert (sheet[8:-48, 8:-8] == 40).all()


def captions_of(folder, labels, classes=CLASSES):
    """Return what is drawn beneath one grey picture, as pixels."""
    board = TensorBoard(folder)
    board.pictures(1, torch.full((1, 128, 128, 3), 99, dtype=torch.uint8), labels, classes)
    board.close()
    return shown(folder, "pictures/train")[8 + 128 :]


def test_mixed_pictures_are_labelled_with_both_classes(tmp_path):
    hard = captions_of(tmp_path / "hard", torch.tensor([0]))
    mixed = captions_of(tmp_path / "mixed", torch.tensor([[0.7, 0.3, 0.0]]))
    smooth = captions_of(tmp_path / "smooth", torch.tensor([[0.95, 0.05, 0.0]]))

    def lines(caption):
        ink = (caption.min(axis=2) < 128).any(axis=1)
        return [bool(ink[:20].any()), bool(ink[22:].any())]

    assert lines(hard) == lines(smooth) == [True, False]
    assert lines(mixed) == [True, True]
    assert not np.array_equal(hard, smooth)


def test_any_name_can_be_drawn(tmp_path):
    for i, name in enumerate(("", "猫", "a\nb\tc", "x" * 500, "\udcff", "🐈")):
        captions_of(tmp_path / str(i), torch.tensor([0]), (name,))
    long = captions_of(tmp_path / "3", torch.tensor([0]), ("x" * 500,))
    assert (long[:, -8:] == 255).all()


def test_wrong_answers_are_shown_and_right_ones_are_not(board, tmp_path, pixels):
    labels = np.array([0, 1, 2, 0, 1])
    board.wrong(1, pixels[:5], labels, labels, CLASSES)
    assert "pictures/wrong" not in read(tmp_path).Tags()["images"]
    board.wrong(2, pixels[:5].numpy(), labels, np.array([0, 1, 1, 0, 2]), CLASSES)
    board.close()
    sheet = shown(tmp_path, "pictures/wrong")
    assert sheet.shape == (128 + 40 + 16, 2 * 136 + 8, 3)
    assert np.array_equal(sheet[8:136:16, 8:136:16], pixels[2].numpy())
    assert np.array_equal(sheet[8:136:16, 144:272:16], pixels[4].numpy())


def test_at_most_sixteen_wrong_answers_are_shown(board, tmp_path, pixels):
    board.wrong(1, pixels, torch.zeros(20).long(), torch.ones(20).long(), CLASSES)
    board.close()
    assert shown(tmp_path, "pictures/wrong").shape[0] == 4 * (128 + 40 + 8) + 8


def test_the_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'ilk\[tensorboard\]'"):
        TensorBoard(tmp_path)
