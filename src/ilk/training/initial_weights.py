"""Initial weights: what a training by the loop starts from."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ilk.arrays import Pixels
from ilk.data.catalog import Catalog
from ilk.data.decode import size_of
from ilk.engines import prepared_backbone
from ilk.errors import DecodeError
from ilk.models.backbones import SMALLNET, check_size, create, describe
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT, Bundle
from ilk.models.network import Network, bundle_of
from ilk.models.smallnet import whiten
from ilk.recipe import Recipe
from ilk.spec import Preprocess, Spec
from ilk.training.examples import Examples
from ilk.training.optim.layers import freeze, frozen_names
from ilk.training.optim.optimizers import make_optimizers
from ilk.training.randomness import key, numpy_generator
from ilk.training.starting_model import head_rows, starting_model

log = logging.getLogger("ilk")
SMALLEST, LARGEST = 16, 64  # sides in pixels that scratch chooses by default
SAMPLE = 5000  # pictures for whitening the first layer, if they are small
SAMPLE_PIXELS = 2**23


def check_parts(recipe: Recipe) -> None:
    """Check, before the work begins, that the network has the parts that the recipe names.

    Raises
    ------
    UsageError
        It lacks one, or nothing would be trained.
    """
    info = describe(recipe.model)
    with torch.device("meta"):
        network = Network(create(recipe.model), info.spec(), nn.Linear(info.features, 2))
    freeze(network, frozen_names(network, recipe.freeze))
    make_optimizers(network, recipe)
    if recipe.imgsz_from:
        check_size(recipe.model, recipe.imgsz_from)


def preprocess_for(catalog: Catalog, recipe: Recipe) -> Preprocess:
    """Return how pictures are preprocessed; from scratch, at about their own size."""
    info = describe(recipe.model)
    imgsz = recipe.imgsz
    if imgsz is None and recipe.mode == "scratch":
        imgsz = common_side(catalog)
    if imgsz is not None and imgsz != info.imgsz:
        check_size(recipe.model, imgsz)
    return info.preprocess(imgsz, recipe.resize, catalog.conversion)


def common_side(catalog: Catalog) -> int:
    """Return the most common longer side of a sample of pictures, clipped to 16 to 64 pixels."""
    sides: Counter[int] = Counter()
    for picture in catalog.pictures[:: max(1, len(catalog) // 100)]:
        try:
            sides[max(size_of(picture.read()))] += 1
        except (DecodeError, OSError):
            continue
    side = sides.most_common(1)[0][0] if sides else LARGEST
    if side > LARGEST:
        log.warning(
            "Most pictures are %d pixels wide or high; training from scratch resizes them to %d. "
            "For photos, --mode probe or finetune is the better choice.", side, LARGEST,
        )  # fmt: skip
    return min(LARGEST, max(SMALLEST, side))


def from_pretrained(classes: tuple[str, ...], preprocess: Preprocess, recipe: Recipe) -> Bundle:
    """Return a pretrained backbone with a new head.

    Raises
    ------
    WeightsError
        The pretrained weights cannot be found.
    """
    bundle = prepared_backbone(recipe.model, recipe.weights, preprocess)
    spec = bundle.spec.model_copy(update={"preprocess": preprocess})
    return with_new_head(replace(bundle, spec=spec), classes, recipe)


def from_scratch(examples: Examples, preprocess: Preprocess, recipe: Recipe) -> Bundle:
    """Return a network with random weights, normalising and whitening for these examples."""
    sample = _sample(examples, preprocess.imgsz, recipe.seed)
    flat = sample.reshape(-1, 3).astype(np.float32) / 255
    info = replace(
        describe(recipe.model),
        mean=tuple(flat.mean(axis=0, dtype=np.float64).round(4).tolist()),
        std=tuple(np.maximum(0.05, flat.std(axis=0, dtype=np.float64)).round(4).tolist()),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(recipe.seed, "backbone"))
        backbone = create(recipe.model)
    if recipe.model == SMALLNET:
        pixels = torch.from_numpy(sample).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(x).view(3, 1, 1) for x in (info.mean, info.std))
        whiten(backbone, (pixels - mean) / std)
    spec = Spec(backbone=info.spec("random"), preprocess=preprocess)
    return with_new_head(bundle_of(backbone, spec), examples.classes, recipe)


def with_new_head(bundle: Bundle, classes: tuple[str, ...], recipe: Recipe) -> Bundle:
    """Return the bundle with a random head, initialised as torch does a linear layer.

    Classes that the model in ``recipe.weights`` knows get its rows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(recipe.seed, "head"))
        head = nn.Linear(bundle.spec.backbone.features, len(classes))
    weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
    start = starting_model(recipe)
    rows = head_rows(start, classes) if start else None
    if rows is not None:
        weight[rows.known], bias[rows.known] = rows.weight[rows.known], rows.bias[rows.known]
    update = {"classes": classes, "views": recipe.tta_views}
    return replace(
        bundle,
        spec=bundle.spec.model_copy(update=update),
        tensors={
            **bundle.tensors,
            HEAD_WEIGHT: weight,
            HEAD_BIAS: bias,
        },
    )


def _sample(examples: Examples, imgsz: int, seed: int) -> Pixels:
    number = min(SAMPLE, len(examples.train), 1 + SAMPLE_PIXELS // imgsz**2)
    indices = numpy_generator(seed, "sample").choice(examples.train, number, replace=False)
    batches = [indices[i : i + 500] for i in range(0, number, 500)]
    return np.concatenate([batch.pixels for batch in examples.load(batches)])
