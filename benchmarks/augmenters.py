"""Who augments, for `augmentation.py`: ilk, torchvision v2, timm.data and kornia."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ilk.operators import import_torchvision
from ilk.runtime import installed
from ilk.training.augment import transforms, trivial_augment
from ilk.training.augment.pipeline import Augment, mix

CLASSES = 10
ALPHAS = {"mixup": (0.2, 0.0), "cutmix": (0.0, 1.0), "all": (0.2, 1.0)}


@dataclass(frozen=True)
class Way:
    """How pictures are changed one by one, uint8 [N, H, W, 3] to the same, and then mixed."""

    changed: Callable[[Tensor, str, int], Tensor]  # pixels, recipe, seed
    mixed: Callable[[Tensor, Tensor, str, int], Tensor]  # pixels, targets, recipe, seed
    workers: bool = False


# --- ilk ------------------------------------------------------------------------------------------


def all_ways() -> dict[str, Way]:
    ways = {
        "ilk": Way(ilk_batch, ilk_mixed),
        "torchvision, 2 threads": Way(torchvision_tensors, torchvision_mixed),
        "torchvision, 2 workers": Way(torchvision_tensors, torchvision_mixed, workers=True),
        "torchvision on PIL, 2 workers": Way(torchvision_images, torchvision_mixed, workers=True),
        "timm on PIL, 2 workers": Way(timm_images, timm_mixed, workers=True),
    }
    if installed("kornia"):
        ways["kornia, 2 threads"] = Way(kornia_batch, kornia_mixed)
    return ways


def ilk_batch(batch: Tensor, recipe: str, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    augment = Augment(recipe, alternate=recipe == "light")
    return augment(batch, torch.arange(len(batch)), 0, seed, draw)


def ilk_mixed(batch: Tensor, targets: Tensor, recipe: str, seed: int) -> Tensor:
    return mix(batch, targets, CLASSES, *ALPHAS[recipe], torch.Generator().manual_seed(seed))[0]


# --- torchvision ----------------------------------------------------------------------------------


@cache
def torchvision_recipe(recipe: str, size: int):
    import_torchvision()
    from torchvision.transforms import v2

    first = {
        "crops": lambda: v2.RandomResizedCrop(size, scale=(0.35, 1), antialias=True),
        "light": lambda: v2.RandomCrop(size, padding=size // 8, padding_mode="reflect"),
        "trivial": lambda: v2.TrivialAugmentWide(
            interpolation=v2.InterpolationMode.BILINEAR, fill=127
        ),
    }
    return v2.Compose([first[recipe](), v2.RandomHorizontalFlip()])


def torchvision_tensors(batch: Tensor, recipe: str, seed: int) -> Tensor:
    change = torchvision_recipe(recipe, batch.shape[1])
    planes = batch.permute(0, 3, 1, 2)  # channels_last; contiguous() makes it slower
    return torch.stack([change(picture).permute(1, 2, 0) for picture in planes])


def torchvision_images(batch: Tensor, recipe: str, seed: int) -> Tensor:
    return in_pillow(torchvision_recipe(recipe, batch.shape[1]), batch)


def in_pillow(change: Callable[[Image.Image], Image.Image], batch: Tensor) -> Tensor:
    changed = [np.asarray(change(Image.fromarray(picture))) for picture in batch.numpy()]
    return torch.from_numpy(np.stack(changed))


def torchvision_mixed(batch: Tensor, targets: Tensor, recipe: str, seed: int) -> Tensor:
    import_torchvision()
    from torchvision.transforms import v2

    planes = batch.permute(0, 3, 1, 2)
    cut = recipe == "cutmix" or (recipe == "all" and bool(torch.rand(()) < 0.5))
    if cut:
        planes, _ = v2.CutMix(alpha=1.0, num_classes=CLASSES)(planes, targets)
    else:  # it takes no uint8
        planes, _ = v2.MixUp(alpha=0.2, num_classes=CLASSES)(planes.float(), targets)
        planes = planes.round_().byte()
    return planes.permute(0, 2, 3, 1)


# --- timm -----------------------------------------------------------------------------------------


@cache
def timm_recipe(recipe: str, size: int):
    tv = import_torchvision()
    from timm.data import auto_augment, transforms

    one = {"interpolation": Image.Resampling.BILINEAR, "img_mean": (127, 127, 127)}
    first = {
        "crops": lambda: transforms.RandomResizedCropAndInterpolation(
            size, scale=(0.35, 1), interpolation="bilinear"
        ),
        "light": lambda: tv.transforms.RandomCrop(size, size // 8, padding_mode="reflect"),
        "trivial": lambda: auto_augment.rand_augment_transform(
            "rand-m10-n1-mstd101-inc1-p1.0", one
        ),
    }
    return tv.transforms.Compose([first[recipe](), tv.transforms.RandomHorizontalFlip()])


def timm_images(batch: Tensor, recipe: str, seed: int) -> Tensor:
    return in_pillow(timm_recipe(recipe, batch.shape[1]), batch)


def timm_mixed(batch: Tensor, targets: Tensor, recipe: str, seed: int) -> Tensor:
    import_torchvision()
    from timm.data import FastCollateMixup

    mixup, cutmix = ALPHAS[recipe]
    collate = FastCollateMixup(mixup, cutmix, num_classes=CLASSES, label_smoothing=0.0)
    planes = batch.permute(0, 3, 1, 2).numpy()
    return collate(list(zip(planes, targets.tolist(), strict=True)))[0].permute(0, 2, 3, 1)


# --- kornia ---------------------------------------------------------------------------------------


@cache
def kornia_recipe(recipe: str, size: int):
    import_torchvision()
    import kornia.augmentation as K

    flip = K.RandomHorizontalFlip(p=0.5)
    if recipe == "crops":
        crop = K.RandomResizedCrop((size, size), scale=(0.35, 1), cropping_mode="resample")
        return torch.nn.Sequential(crop, flip)
    if recipe == "light":
        crop = K.RandomCrop((size, size), size // 8, padding_mode="reflect", p=1.0,
                            cropping_mode="slice")  # fmt: skip
        return torch.nn.Sequential(crop, flip)
    return partial(by_groups, kornia_operations(), flip)


def kornia_operations() -> list[Callable[[Tensor], Tensor]]:
    """Return TrivialAugment's wide set, each with parameters of each picture's own."""
    import kornia.augmentation as K

    grey = {"padding_mode": "fill", "fill_value": torch.full((3,), 127 / 255), "p": 1.0}
    around, slope = (0.01, 1.99), 44.7  # degrees
    return [
        torch.nn.Identity(),
        K.RandomAffine(0.0, shear=(-slope, slope, 0.0, 0.0), **grey),
        K.RandomAffine(0.0, shear=(0.0, 0.0, -slope, slope), **grey),
        K.RandomAffine(0.0, translate=(1 / 7, 0.0), **grey),
        K.RandomAffine(0.0, translate=(0.0, 1 / 7), **grey),
        K.RandomAffine(135.0, **grey),
        K.RandomBrightness(around, p=1.0),
        K.RandomSaturation(around, p=1.0),
        K.RandomContrast(around, p=1.0),
        K.RandomSharpness((0.0, 1.99), p=1.0),
        K.RandomPosterize((2, 8), p=1.0),
        K.RandomSolarize((0.0, 1.0), 0.0, p=1.0),
        K.RandomAutoContrast(p=1.0),
        K.RandomEqualize(p=1.0),
    ]


def by_groups(operations, flip, planes: Tensor) -> Tensor:
    """Give each picture an operation of its own, as kornia's own TrivialAugment does not."""
    chosen = torch.randint(len(operations), (len(planes),))
    changed = planes.clone()
    for which, operation in enumerate(operations):
        rows = (chosen == which).nonzero()[:, 0]
        if len(rows):
            changed[rows] = operation(planes[rows])
    return flip(changed)


def kornia_batch(batch: Tensor, recipe: str, seed: int) -> Tensor:
    planes = batch.permute(0, 3, 1, 2).contiguous().float().div_(255)
    return as_pixels(kornia_recipe(recipe, batch.shape[1])(planes))


def as_pixels(planes: Tensor) -> Tensor:
    return planes.mul(255).round_().clamp_(0, 255).byte().permute(0, 2, 3, 1)


def kornia_mixed(batch: Tensor, targets: Tensor, recipe: str, seed: int) -> Tensor:
    import kornia.augmentation as K

    cut = recipe == "cutmix" or (recipe == "all" and bool(torch.rand(()) < 0.5))
    alpha = torch.tensor
    mixer = (
        K.RandomCutMixV2(p=1.0, beta=alpha(1.0), data_keys=["input", "class"])
        if cut
        else K.RandomMixUpV2(p=1.0, lambda_val=alpha((0.0, 1.0)), data_keys=["input", "class"])
    )
    planes = batch.permute(0, 3, 1, 2).contiguous().float().div_(255)
    return as_pixels(mixer(planes, targets)[0])


# --- single operations ----------------------------------------------------------------------------


def operations(batch: Tensor) -> dict[str, dict[str, Callable[[], Tensor]]]:
    """Return what does single operations on uint8 [N, H, W, 3], by operation and library."""
    import_torchvision()
    from torchvision.transforms.v2 import functional

    planes = batch.permute(0, 3, 1, 2).contiguous()
    full = torch.ones(len(batch))
    matrices = torch.tensor([[0.8, 0.3, 5.0], [-0.3, 0.8, -5.0]]).expand(len(batch), 2, 3)
    found = {
        "equalize": {
            "ilk": lambda: trivial_augment.OPERATIONS["equalize"](batch, full),
            "torchvision": lambda: functional.equalize(planes),
        },
        "autocontrast": {
            "ilk": lambda: trivial_augment.OPERATIONS["autocontrast"](batch, full),
            "torchvision": lambda: functional.autocontrast(planes),
        },
        "affine map": {
            "ilk": lambda: transforms.warp(batch, matrices),
            "torch's affine_grid": lambda: by_affine_grid(batch, matrices),
        },
    }
    if installed("kornia"):
        from kornia.geometry import warp_affine

        def by_kornia() -> Tensor:
            moved = warp_affine(planes.float(), matrices, planes.shape[2:], padding_mode="border")
            return moved.round_().byte()

        found["affine map"]["kornia"] = by_kornia
    return found


def by_affine_grid(batch: Tensor, matrices: Tensor) -> Tensor:
    """Do as `transforms.warp` does, with torch's own grid."""
    number, height, width, _ = batch.shape
    theta = matrices * torch.tensor([1.0, height / width, 2 / width])
    grid = affine_grid(theta, [number, 3, height, width], align_corners=False)
    planes = grid_sample(batch.permute(0, 3, 1, 2).float(), grid, align_corners=False)
    return planes.round_().byte().permute(0, 2, 3, 1).contiguous()
