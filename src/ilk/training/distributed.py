"""Distributed: several processes train one network. torchrun starts them, torch connects them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from ilk.errors import UsageError
from ilk.recipe import Recipe
from ilk.runtime import pick_device

T = TypeVar("T")
log = logging.getLogger("ilk")


@dataclass(frozen=True)
class World:
    """The processes that train together: this one's ``rank`` among ``size``."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    @property
    def local_size(self) -> int:
        """How many of the processes run on this machine, this one included."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.size)) if self.size > 1 else 1

    def share(self, value: T) -> T:
        """Return what the leading process passed."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[no-any-return]

    def any(self, flag: bool) -> bool:
        """Say whether the flag is set in any process."""
        return self.total(flag) > 0

    def pooled(self, loss: float, correct: int, pictures: int) -> tuple[float, int, int]:
        """Return the mean loss, the right answers and the pictures of all processes together."""
        if self.size == 1:
            return loss, correct, pictures
        total, right, number = self._sums(loss * pictures, correct, pictures)
        return total / number, int(right), int(number)

    def total(self, number: int) -> int:
        """Return the sum of a number over all processes."""
        return int(self._sums(number)[0])

    def _sums(self, *numbers: float) -> list[float]:
        """Return the sum of each number over all processes."""
        if self.size == 1:
            return list(numbers)
        import torch
        import torch.distributed as dist

        sums = torch.tensor(numbers, dtype=torch.float64)
        if dist.get_backend() == "nccl":  # which knows of GPUs only
            sums = sums.cuda()
        return self.summed(sums).tolist()  # type: ignore[no-any-return]

    def merged(self, entries: dict[int, str]) -> dict[int, str]:
        """Return the entries of all processes."""
        if self.size == 1:
            return entries
        import torch.distributed as dist

        boxes: list[Any] = [None] * self.size
        dist.all_gather_object(boxes, entries)
        return {key: value for box in boxes for key, value in box.items()}

    def align_buffers(self, network: Any) -> None:
        """Give a network the buffers that it has in the leading process.

        Each process takes the statistics of batch norms from its own pictures.
        """
        if self.size > 1:
            import torch.distributed as dist

            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)

    def summed(self, tensor: Any) -> Any:
        """Return the sum of a tensor over all processes."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(tensor)
        return tensor

    def part(self, rows: Any) -> Any:
        """Return this process's share of rows: every one is in exactly one share."""
        return rows[self.rank :: self.size]


ALONE = World()


def asked_for() -> bool:
    """Say whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leads() -> bool:
    """Say whether this process is the one that speaks, before any have joined."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def joined(recipe: Recipe) -> Iterator[World]:
    """Join the processes that torchrun started, if it did, and leave them at the end.

    Raises
    ------
    UsageError
        The mode takes one process only, or the batch cannot be shared out evenly.
    """
    if not asked_for():
        yield ALONE
        return
    import torch
    import torch.distributed as dist

    world = World(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    if recipe.mode == "probe":
        raise UsageError("--mode probe runs in one process; start it without torchrun.")
    if recipe.batch % world.size:
        raise UsageError(
            f"--batch {recipe.batch} cannot be shared out to {world.size} processes; give a "
            "multiple."
        )
    cuda = pick_device(recipe.device).startswith("cuda")
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    own = not dist.is_initialized()  # a program that trains several times joins them itself, once
    if own:
        # Some wait for long while one probes or reads.
        dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(days=1))
    level = log.level
    if not world.leads:
        log.setLevel(logging.ERROR)  # what there is to say is said once
    try:
        yield world
    finally:
        log.setLevel(level)
        if own:
            dist.destroy_process_group()
