"""Schedule: learning rate, picture size and label smoothing, as pure functions of the step."""

from __future__ import annotations

import math

from ilk.errors import UsageError
from ilk.recipe import Recipe

ONECYCLE_START = 1 / 25
ONECYCLE_WARMUP = 0.3  # share of the steps
LONGEST_WARMUP = 0.3
GROWING = 2 / 3  # share of the steps over which pictures grow
MULTIPLE = 8  # convolutions halve their input three times or more


def lr_factor(recipe: Recipe, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """Return the factor of the peak learning rate at a step.

    Parameters
    ----------
    recipe : Recipe
        ``schedule``: ``constant``; ``step``: times ``step_factor`` every ``step_every`` epochs;
        ``linear`` and ``cosine`` (Loshchilov and Hutter 2017, arXiv 1608.03983): to 0 at the end;
        ``onecycle`` (Smith 2018, arXiv 1803.09820): from 1/25 up to 1, then as cosine.
        ``warmup``: epochs of linear rise, at most 30 % of the steps, which is the default of
        onecycle.
    step : int
        Steps done, from 0.

    Returns
    -------
    float
        From 0 to 1; 0 only after the last step.
    """
    onecycle = recipe.schedule == "onecycle"
    # In a short training (--epochs, --budget) a long warm-up would take too large a share.
    rise = min(recipe.warmup * steps_per_epoch, LONGEST_WARMUP * total_steps)
    if onecycle and not rise:
        rise = ONECYCLE_WARMUP * total_steps
    if step < rise:
        # The first of n steps has 1 / (n + 1): a learning rate of 0 would waste it.
        start = ONECYCLE_START if onecycle else 1 / (rise + 1)
        ascent = start + (1 - start) * step / rise
    else:
        ascent = 1.0
    past = max(0.0, step - rise)
    progress = past / max(past, total_steps - rise) if past else 0.0
    return ascent * _decay(recipe, progress, step // steps_per_epoch)


def _decay(recipe: Recipe, progress: float, epoch: int) -> float:
    match recipe.schedule:
        case "step":
            return recipe.step_factor ** (epoch // recipe.step_every)
        case "linear":
            return 1 - progress
        case "cosine" | "onecycle":
            return (1 + math.cos(math.pi * progress)) / 2
        case "constant":
            return 1.0


def smoothing(recipe: Recipe, step: int, total_steps: int) -> float:
    """Return the label smoothing at a step: it falls linearly to 0 if ``smoothing_until`` is set.

    A network trained with label smoothing (Szegedy et al. 2016, arXiv 1512.00567) to the end is
    underconfident by a constant share, which temperature scaling cannot correct.
    """
    if recipe.smoothing_until is None:
        return recipe.label_smoothing
    progress = step / (recipe.smoothing_until * total_steps)
    return recipe.label_smoothing * max(0.0, 1 - progress)


def image_size(recipe: Recipe, imgsz: int, step: int, total_steps: int) -> int:
    """Return the side of the pictures at a step, in pixels.

    It grows from ``recipe.imgsz_from`` to ``imgsz`` over the first two thirds of the steps, in
    multiples of 8, each for the same number of steps (progressive resizing, Howard 2018; Tan and
    Le 2021, arXiv 2104.00298).

    Raises
    ------
    UsageError
        ``imgsz_from`` is larger than ``imgsz``.
    """
    first = recipe.imgsz_from
    if first is None:
        return imgsz
    if first > imgsz:
        raise UsageError(
            f"imgsz_from: {first} is larger than imgsz, which is {imgsz}. Give a smaller value."
        )
    progress = step / (GROWING * max(1, total_steps))
    if progress >= 1:
        return imgsz
    size = first + progress * (imgsz - first)
    return max(first, int(size // MULTIPLE) * MULTIPLE)
