"""A network that trains in milliseconds: two small convolutions on pictures of 8 x 8 pixels."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ilk.data.in_memory import from_arrays
from ilk.models import network as networks
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT
from ilk.models.network import build, bundle_of
from ilk.recipe import Recipe
from ilk.runtime import silent
from ilk.spec import Backbone, Preprocess, Spec
from ilk.training.cpu.precision import Precision
from ilk.training.distributed import SINGLE_PROCESS
from ilk.training.examples import Batch, Examples
from ilk.training.history import Row
from ilk.training.interrupt import Interrupt
from ilk.training.loop import Trainer
from ilk.training.pixels import CachedPixels
from ilk.training.plan import Plan
from ilk.training.progress import monitor as monitors
from ilk.training.progress.monitor import Monitor
from ilk.training.state import State
from ilk.training.step import Step
from ilk.training.train_network import new_state

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
    """Return ``tiny``, or ``plain``: without norms and dropout, so that batches can be divided."""
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
    """Return the bundle that a training starts from."""
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
    """Return training pictures, then validation pictures."""
    pixels, targets = coloured_pixels(train + val, seed)
    indices = np.arange(train + val)
    splits = ["train"] * train + ["val"] * val
    catalog = from_arrays(pixels, [CLASSES[k] for k in targets], splits=splits)
    return Examples(
        catalog,
        CachedPixels(pixels, {}),
        targets,
        indices[:train],
        indices[train:],
        indices[:0],
        CLASSES,
    )


def recipe_of(**fields):
    usual = {"mode": "finetune", "epochs": 3, "batch": 4, "lr": 0.05, "momentum": 0.9}
    return Recipe(**{**usual, **fields})


class NoCheckpoints:
    """Keeps nothing."""

    def due(self):
        return False

    def keeps_epoch(self, epoch):
        return False

    def write(self, snapshot, wait=False):
        return True

    def write_epoch(self, snapshot):
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


class Training(Trainer):
    """A `Trainer` with everything small; a new one starts from the beginning."""

    def __init__(self, folder, examples=None, checkpoints=None, name="tiny", **fields):
        recipe, examples = recipe_of(**fields), examples or examples_of()
        super().__init__(
            state=new_state(start(name), examples, recipe, PRECISION),
            examples=examples,
            plan=Plan(recipe, examples.catalog, folder, PRECISION),
            step=step_of(recipe, examples),
            checkpoints=checkpoints or NoCheckpoints(),
            monitor=Monitor(folder, examples, recipe),
            interrupt=Interrupt(folder),
        )
        self.recipe = recipe

    def fit(self, world=SINGLE_PROCESS):
        """Train to the end, or until it is interrupted; return the state."""
        self.plan = replace(self.plan, world=world)
        super().fit()
        return self.state


def step_of(recipe, examples, imgsz=8, world=SINGLE_PROCESS):
    targets = examples.targets[examples.train]
    return Step(recipe, PRECISION, targets, len(examples.classes), imgsz, world)


def batch_of(examples, indices, total=None):
    """Return some pictures as a batch, of ``total`` in all processes."""
    indices = np.array(indices)
    pixels, targets = examples.source.pixels[indices], examples.targets[indices]
    return Batch(pixels, indices, targets, total or len(indices))


def differences(one: State, other: State):
    """Name what differs between two trainings, but for the time that they took."""
    found = []
    for name in ("epoch", "step", "total_steps", "sums", "micro_batches", "diverged_at"):
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
    batch = staticmethod(batch_of)
    differences = staticmethod(differences)
    timeless = staticmethod(timeless)
    every_step = EveryStep

    def __init__(self, folder):
        self.folder = folder

    def training(self, **options):
        return Training(self.folder, **options)

    def plan(self, examples=None, world=SINGLE_PROCESS, progress=silent, **fields):
        catalog = (examples or examples_of()).catalog
        recipe = recipe_of(**fields)
        return Plan(recipe, catalog, self.folder, PRECISION, world=world, progress=progress)

    def network(self, name="tiny", seed=0):
        return build(start(name, seed))


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Return a `Lab`: ``tiny`` is a backbone there, and curves are not drawn, which takes long."""
    monkeypatch.setattr(networks, "create", backbone)
    monkeypatch.setattr(monitors, "plot_curves", lambda *_: None)
    return Lab(tmp_path)
