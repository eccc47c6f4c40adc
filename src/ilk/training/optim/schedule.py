"""Schedule: learning rate, size of pictures, label smoothing, as pure functions of the step."""

from __future__ import annotations

import math

from ilk.errors import UsageError
from ilk.recipe import Recipe

ONECYCLE_START = 1 / 25
ONECYCLE_RISE = 0.3
LONGEST_RISE = 0.3
GROWING = 2 / 3
MULTIPLE = 8  # convolutions halve their input three times and more


def rate_factor(recipe: Recipe, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """Return the factor of the peak learning rate at a step.

    Parameters
    ----------
    recipe : Recipe
        ``schedule``: ``constant``; ``step``: times ``step_factor`` every ``step_every`` epochs;
        ``linear`` and ``cosine`` (Loshchilov and Hutter 2017, arXiv 1608.03983): to 0 at the end;
        ``onecycle`` (Smith 2018, arXiv 1803.09820): from 1/25 up to 1, then as cosine.
        ``warmup``: epochs of linear rise, at most 30 % of the steps; of onecycle, by default
        just that.
    step : int
        Steps done, from 0.
    steps_per_epoch, total_steps : int

    Returns
    -------
    float
        From 0 to 1; 0 only when all steps are done.
    """
    onecycle = recipe.schedule == "onecycle"
    # A short training, by --epochs or --budget, has no time for a long warm-up.
    rise = min(recipe.warmup * steps_per_epoch, LONGEST_RISE * total_steps)
    if onecycle and not rise:
        rise = ONECYCLE_RISE * total_steps
    if step < rise:
        # The first of n steps has 1/(n + 1): a rate of 0 would waste it.
        start = ONECYCLE_START if onecycle else 1 / (rise + 1)
        ascent = start + (1 - start) * step / rise
    else:
        ascent = 1.0
    past = max(0.0, step - rise)
    progress = past / max(past, total_steps - rise) if past else 0.0
    return ascent * _fallen(recipe, progress, step // steps_per_epoch)


def _fallen(recipe: Recipe, progress: float, epoch: int) -> float:
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
    """Return the label smoothing at a step: it falls evenly to 0 where it is to fade.

    A network that was taught smoothed labels (Szegedy et al. 2016, arXiv 1512.00567) to the end is
    unsure by a share, whatever the picture, which no temperature can mend.
    """
    if recipe.smoothing_until is None:
        return recipe.label_smoothing
    gone = step / (recipe.smoothing_until * total_steps)
    return recipe.label_smoothing * max(0.0, 1 - gone)


def image_size(recipe: Recipe, imgsz: int, step: int, total_steps: int) -> int:
    """Return the side of the pictures at a step, in pixels.

    It grows from ``recipe.imgsz_from`` to ``imgsz`` over the first two thirds of the steps, in
    multiples of 8, each for equally long (progressive resizing, Howard 2018; Tan and Le 2021,
    arXiv 2104.00298).

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
            f"imgsz_from: {first} is larger than imgsz, which is {imgsz}. Give a smaller one."
        )
    progress = step / (GROWING * max(1, total_steps))
    if progress >= 1:
        return imgsz
    size = first + progress * (imgsz - first)
    return max(first, int(size // MULTIPLE) * MULTIPLE)
