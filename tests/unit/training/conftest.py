"""A network that trains in milliseconds: two small convolutions on pictures of 8 x 8 pixels."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from ilk.data.catalog import from_arrays
from ilk.models import network as networks
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT
from ilk.models.network import build, bundle_of
from ilk.recipe import Recipe
from ilk.spec import Backbone, Preprocess, Spec
from ilk.training.cpu.precision import Precision
from ilk.training.distributed import ALONE
from ilk.training.examples import Examples
from ilk.training.history import Row
from ilk.training.interrupt import Interrupt
from ilk.training.loop import fit
from ilk.training.pixels import Kept
from ilk.training.progress import monitor as monitors
from ilk.training.progress.monitor import Monitor
from ilk.training.session import new_state
from ilk.training.state import State
from ilk.training.step import Step

FEATURES = 6
CLASSES = ("blue", "green", "red")
HUES = (2, 1, 0)  # the channel of each class
PRECISION = Precision(torch.device("cpu"), "fp32")
TAKES_TIME = {"seconds", "pictures_per_second"}


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Keep small work off the other cores, where handing it out takes longer than doing it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def backbone(name):
    """Return ``tiny``, or ``plain``: without norms and dropout, so that batches may be parted."""
    tiny = name == "tiny"
    parts = OrderedDict(
        conv1=nn.Conv2d(3, 4, 3, stride=2, padding=1),
        norm1=nn.BatchNorm2d(4) if tiny else nn.Identity(),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(4, FEATURES, 3, padding=1),
        norm2=nn.BatchNorm2d(FEATURES) if tiny else nn.Identity(),
        relu2=nn.ReLU(),
        pool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        drop=nn.Dropout(0.1 if tiny else 0),
    )
    return nn.Sequential(parts).eval()


def start(name="tiny", seed=0):
    """Return the bundle that a training begins with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net, head = backbone(name), nn.Linear(FEATURES, len(CLASSES))
    about = Backbone(name=name, features=FEATURES, mean=(0.3,) * 3, std=(0.2,) * 3)
    spec = Spec(backbone=about, preprocess=Preprocess(imgsz=8), classes=CLASSES)
    made = bundle_of(net, spec)
    made.tensors[HEAD_WEIGHT] = head.weight.detach().numpy()
    made.tensors[HEAD_BIAS] = head.bias.detach().numpy()
    return made


def coloured_pixels(number, seed=0):
    """Return noisy pixels in the colour of their class, and the classes."""
    rng = np.random.default_rng(seed)
    targets = np.arange(number) % len(CLASSES)
    pixels = rng.integers(0, 140, (number, 8, 8, 3)).astype(np.uint8)
    for picture, k in zip(pixels, targets, strict=True):
        picture[..., HUES[k]] += 30
    return pixels, targets


def examples_of(train=16, val=6, seed=0):
    """Return pictures to learn from, then pictures to choose by."""
    pixels, targets = coloured_pixels(train + val, seed)
    rows = np.arange(train + val)
    splits = ["train"] * train + ["val"] * val
    catalog = from_arrays(pixels, [CLASSES[k] for k in targets], splits=splits)
    return Examples(
        catalog, Kept(pixels, {}), targets, rows[:train], rows[train:], rows[:0], CLASSES
    )


def recipe_of(**fields):
    usual = {"mode": "finetune", "epochs": 3, "batch": 4, "lr": 0.05, "momentum": 0.9}
    return Recipe(**{**usual, **fields})


class NoCheckpoints:
    """Keeps nothing."""

    def due(self):
        return False

    def for_good(self, epoch):
        return False

    def write(self, snapshot, wait=False):
        return True

    def keep(self, snapshot):
        self.write(snapshot)

    def write_best(self, bundle):
        pass


class EveryStep(NoCheckpoints):
    """Keeps a snapshot of every step, in memory."""

    def __init__(self):
        self.kept = []

    def due(self):
        return True

    def write(self, snapshot, wait=False):
        self.kept.append(snapshot)
        return True


class Training:
    """Everything that `fit` takes, made small; made anew, it begins anew."""

    def __init__(self, folder, examples=None, checkpoints=None, name="tiny", **fields):
        self.recipe = recipe_of(**fields)
        self.examples = examples or examples_of()
        self.state = new_state(start(name), self.examples, self.recipe, PRECISION)
        self.step = step_of(self.recipe, self.examples)
        self.monitor = Monitor(folder, self.examples, self.recipe)
        self.interrupt = Interrupt(folder)
        self.checkpoints = checkpoints or NoCheckpoints()

    def fit(self, world=ALONE):
        """Train to the end, or until someone stops it; return the state."""
        fit(
            self.state,
            self.examples,
            self.recipe,
            self.step,
            self.checkpoints,
            self.monitor,
            self.interrupt,
            world,
        )
        return self.state


def step_of(recipe, examples, imgsz=8):
    targets = examples.targets[examples.train]
    return Step(recipe, PRECISION, targets, len(examples.classes), imgsz)


def differences(one: State, other: State):
    """Name what differs between two trainings, but for the time that they took."""
    found = []
    for name in ("epoch", "step", "total_steps", "running", "pieces", "astray"):
        if getattr(one, name) != getattr(other, name):
            found.append(name)
    if [timeless(r) for r in one.history] != [timeless(r) for r in other.history]:
        found.append("history")
    mine, yours = one.snapshot().tensors, other.snapshot().tensors
    found += sorted(mine.keys() ^ yours.keys())
    found += [n for n in mine.keys() & yours.keys() if not torch.equal(mine[n], yours[n])]
    if (one.best and (one.best.epoch, one.best.scores)) != (
        other.best and (other.best.epoch, other.best.scores)
    ):
        found.append("best")
    return found


def timeless(row: Row):
    return {k: v for k, v in row.to_dict().items() if k not in TAKES_TIME}


class Lab:
    """What the tests of the training loop share."""

    classes = CLASSES
    precision = PRECISION
    start = staticmethod(start)
    pixels = staticmethod(coloured_pixels)
    examples = staticmethod(examples_of)
    recipe = staticmethod(recipe_of)
    step = staticmethod(step_of)
    differences = staticmethod(differences)
    timeless = staticmethod(timeless)
    every_step = EveryStep

    def __init__(self, folder):
        self.folder = folder

    def training(self, **options):
        return Training(self.folder, **options)

    def network(self, name="tiny", seed=0):
        return build(start(name, seed))


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Return a `Lab`: ``tiny`` is a backbone there, and curves are not drawn, which takes long."""
    monkeypatch.setattr(networks, "create", backbone)
    monkeypatch.setattr(monitors, "plot_curves", lambda *_: None)
    return Lab(tmp_path)
