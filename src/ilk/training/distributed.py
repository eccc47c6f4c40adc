"""Several processes train one network: torchrun starts them, torch.distributed connects them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

from ilk.errors import UsageError
from ilk.recipe import Recipe
from ilk.runtime import pick_device, world_size

T = TypeVar("T")
log = logging.getLogger("ilk")


@dataclass(frozen=True)
class World:
    """The processes that train together: this one's ``rank`` among ``size``."""

    rank: int = 0
    size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and prints: the one of rank 0."""
        return self.rank == 0

    @property
    def local_size(self) -> int:
        """How many of the processes run on this machine, including this one."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.size)) if self.size > 1 else 1

    def broadcast(self, compute: Callable[[], T]) -> T:
        """Compute a value in the main process, and return it in all of them."""
        if self.size == 1:
            return compute()
        import torch.distributed as dist

        values = [compute() if self.is_main_process else None]
        dist.broadcast_object_list(values, src=0)
        return cast(T, values[0])

    def all_reduce(self, *numbers: float) -> list[float]:
        """Return the sum of each number over all processes."""
        if self.size == 1:
            return list(numbers)
        import torch
        import torch.distributed as dist

        sums = torch.tensor(numbers, dtype=torch.float64)
        if dist.get_backend() == "nccl":  # it reduces tensors on GPUs only
            sums = sums.cuda()
        return self.all_reduce_tensor(sums).tolist()  # type: ignore[no-any-return]

    def all_reduce_tensor(self, tensor: Any) -> Any:
        """Return the sum of a tensor over all processes; the tensor itself is overwritten."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return self.all_reduce(flag)[0] > 0

    def all_gather(self, entries: dict[int, str]) -> dict[int, str]:
        """Return the entries of all processes."""
        if self.size == 1:
            return entries
        import torch.distributed as dist

        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, entries)
        return {key: value for part in gathered for key, value in part.items()}

    def broadcast_buffers(self, network: Any) -> None:
        """Copy the main process's buffers to all: batch-norm statistics are local to a process."""
        if self.size > 1:
            import torch.distributed as dist

            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)

    def shard(self, indices: Any) -> Any:
        """Return this process's share of some indices: each is in exactly one share."""
        return indices[self.rank :: self.size]


SINGLE_PROCESS = World()


def launched_by_torchrun() -> bool:
    """Return whether torchrun started this process as one of several."""
    return world_size() > 1


@contextmanager
def process_group(recipe: Recipe) -> Iterator[World]:
    """Join the processes that torchrun started, if it did, and leave the group at the end.

    Raises
    ------
    UsageError
        The mode runs in one process only, or the batch size is not a multiple of the processes.
    """
    if not launched_by_torchrun():
        yield SINGLE_PROCESS
        return
    import torch
    import torch.distributed as dist

    world = World(int(os.environ["RANK"]), world_size())
    if not recipe.uses_loop:
        raise UsageError(
            f"--mode {recipe.mode} runs in a single process; start it without torchrun."
        )
    if recipe.batch % world.size:
        raise UsageError(
            f"--batch {recipe.batch} cannot be divided among {world.size} processes; give a "
            "multiple of their number."
        )
    cuda = pick_device(recipe.device).startswith("cuda")
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    owns_group = not dist.is_initialized()  # a program that trains repeatedly may set it up itself
    if owns_group:
        # The others wait while the main process prepares the data or solves the probe.
        dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(days=1))
    level = log.level
    if not world.is_main_process:
        log.setLevel(logging.ERROR)  # messages are printed once
    try:
        yield world
    finally:
        log.setLevel(level)
        if owns_group:
            dist.destroy_process_group()
