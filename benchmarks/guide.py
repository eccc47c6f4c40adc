"""The usual tutorial, written plainly: the other side of the comparisons. Not part of ilk."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ilk.models.weights import pretrained
from ilk.operators import import_torchvision

BACKBONE = "tf_efficientnet_lite0"
BATCH, WORKERS, EPOCHS = 128, 4, 30


class Photos(Dataset[Any]):
    """Pictures of one split of a run's catalog.csv, read with PIL."""

    def __init__(self, catalog: Path, split: str, transform: Callable[[Any], Any]) -> None:
        with catalog.open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if not r["left_out"]]
        self.classes = sorted({r["label"] for r in rows})
        self.rows = [(r["path"], r["label"]) for r in rows if r["split"] == split]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.rows[index]
        return self.transform(Image.open(path).convert("RGB")), self.classes.index(label)


def transforms() -> tuple[Any, Any]:
    """Return the guide's transforms for training and for testing."""
    t = import_torchvision().transforms
    normalize = t.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    train = t.Compose(
        [
            t.Resize((224, 224)),
            t.RandomHorizontalFlip(),
            t.RandomCrop(224, padding=4),
            t.ToTensor(),
            normalize,
        ]
    )
    return train, t.Compose([t.Resize((224, 224)), t.ToTensor(), normalize])


def model_for(classes: int) -> Any:
    """Return the backbone with ImageNet weights, frozen, and a new last layer."""
    backbone, _ = pretrained(BACKBONE)
    for parameter in backbone.parameters():
        parameter.requires_grad = False
    backbone.reset_classifier(classes)
    return backbone


class Loop:
    """The training loop of the guide."""

    def __init__(self, catalog: Path, bf16: bool = False) -> None:
        torch.manual_seed(0)
        train, test = transforms()
        self.train_set = Photos(catalog, "train", train)
        self.test_set = Photos(catalog, "test", test)
        self.model = model_for(len(self.train_set.classes))
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(
            self.model.classifier.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4
        )
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 10, 0.5)
        self.bf16 = bf16

    def epoch(self) -> float:
        """Train for one epoch; return its seconds."""
        loader = DataLoader(self.train_set, BATCH, shuffle=True, num_workers=WORKERS)
        began = time.perf_counter()
        self.model.train()
        for images, targets in loader:
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                loss = self.loss(self.model(images), targets)
            loss.backward()
            self.optimizer.step()
        self.scheduler.step()
        return time.perf_counter() - began

    @torch.no_grad()
    def test(self) -> tuple[float, float]:
        """Return the accuracy on the test split, and the seconds that took."""
        loader = DataLoader(self.test_set, BATCH, num_workers=WORKERS)
        began = time.perf_counter()
        self.model.eval()
        right = sum(
            int((self.model(images).argmax(1) == targets).sum()) for images, targets in loader
        )
        return right / len(self.test_set), time.perf_counter() - began


def single_predictor(model: nn.Module, classes: list[str]) -> Callable[[str], str]:
    """Return the guide's function that names one picture."""
    _, transform = transforms()
    model.eval()

    def predict(path: str) -> str:
        image = transform(Image.open(path).convert("RGB")).unsqueeze(0)
        with torch.no_grad():
            return classes[int(model(image).argmax(1))]

    return predict
