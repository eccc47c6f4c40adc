"""What can be tested in one process; several are started in tests/integration."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
import torch.distributed as dist

from ilk.errors import UsageError
from ilk.recipe import Recipe
from ilk.runtime import is_main_process
from ilk.training import distributed as module
from ilk.training.distributed import (
    SINGLE_PROCESS,
    World,
    launched_by_torchrun,
    process_group,
)

FINETUNE = Recipe(mode="finetune", batch=32)


@pytest.fixture
def torchrun(monkeypatch):
    """Return ``torchrun(rank, size)``, which sets what torchrun sets."""
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)

    def start(rank, size):
        monkeypatch.setenv("WORLD_SIZE", str(size))
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(rank))

    return start


@pytest.fixture
def group(monkeypatch):
    """Keep `process_group` from waiting for other processes; return what it asked for."""
    asked = []
    monkeypatch.setattr(dist, "init_process_group", lambda name, timeout: asked.append(name))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: asked.append("destroyed"))
    monkeypatch.setattr(torch.cuda, "set_device", asked.append)
    return asked


def test_only_the_main_process_computes_what_is_broadcast(monkeypatch):
    def broadcast(values, src):
        values[:] = ["from rank 0"]

    monkeypatch.setattr(dist, "broadcast_object_list", broadcast)
    assert World(1, 2).broadcast(lambda: pytest.fail("computed twice")) == "from rank 0"


def test_a_single_process_is_the_main_process_and_has_everything(torchrun):
    indices = np.arange(5)
    assert SINGLE_PROCESS.is_main_process
    assert SINGLE_PROCESS.broadcast(lambda: "x") == "x"
    assert SINGLE_PROCESS.any(True)
    assert not SINGLE_PROCESS.any(False)
    assert SINGLE_PROCESS.all_reduce(0.5, 3, 4) == [0.5, 3, 4]
    assert SINGLE_PROCESS.all_gather({1: "broken"}) == {1: "broken"}
    np.testing.assert_array_equal(SINGLE_PROCESS.shard(indices), indices)
    tensor = torch.ones(3)
    assert SINGLE_PROCESS.all_reduce_tensor(tensor) is tensor
    network = torch.nn.BatchNorm2d(2)
    SINGLE_PROCESS.broadcast_buffers(network)
    assert not launched_by_torchrun()
    assert is_main_process()


def test_without_torchrun_nothing_is_joined(torchrun, group):
    with process_group(FINETUNE) as world:
        assert world == SINGLE_PROCESS
    assert group == []


@pytest.mark.parametrize(("rank", "main"), [(0, True), (1, False), (3, False)])
def test_one_of_several_processes_leads(torchrun, group, rank, main):
    torchrun(rank, 4)
    assert launched_by_torchrun()
    assert is_main_process() == main
    with process_group(FINETUNE) as world:
        assert world == World(rank, 4)
        assert world.is_main_process == main
    assert group == ["gloo", "destroyed"]


def test_a_single_process_of_torchrun_is_alone(torchrun, group):
    torchrun(0, 1)
    assert not launched_by_torchrun()
    with process_group(FINETUNE) as world:
        assert world == SINGLE_PROCESS
    assert group == []


def test_on_gpus_each_process_takes_its_own(torchrun, group, monkeypatch):
    monkeypatch.setattr(module, "pick_device", lambda _: "cuda")
    torchrun(1, 2)
    with process_group(FINETUNE):
        pass
    assert group == [1, "nccl", "destroyed"]


def test_processes_part_also_after_an_error(torchrun, group):
    torchrun(1, 2)
    level = logging.getLogger("ilk").level
    with pytest.raises(KeyError), process_group(FINETUNE):
        raise KeyError
    assert group[-1] == "destroyed"
    assert logging.getLogger("ilk").level == level


@pytest.mark.parametrize(("rank", "warnings"), [(0, 1), (1, 0)])
def test_what_there_is_to_say_is_said_once(torchrun, group, caplog, rank, warnings):
    torchrun(rank, 2)
    with process_group(FINETUNE):
        logging.getLogger("ilk").warning("careful")
    assert len(caplog.records) == warnings


def test_a_probe_runs_in_one_process(torchrun, group):
    torchrun(0, 2)
    with (
        pytest.raises(UsageError, match="--mode probe runs in a single process"),
        process_group(Recipe()),
    ):
        pass
    assert group == []


@pytest.mark.parametrize(("batch", "size"), [(32, 3), (5, 2), (1, 2)])
def test_a_batch_that_cannot_be_shared_out_is_refused(torchrun, group, batch, size):
    torchrun(0, size)
    recipe = Recipe(mode="finetune", batch=batch)
    with (
        pytest.raises(
            UsageError, match=f"--batch {batch} cannot be divided among {size} processes"
        ),
        process_group(recipe),
    ):
        pass
    assert group == []


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_index_is_in_exactly_one_shard(size):
    indices = np.random.default_rng(0).permutation(17)
    shards = [World(rank, size).shard(indices) for rank in range(size)]
    assert sorted(np.concatenate(shards)) == list(range(17))


@pytest.fixture
def one_of_one(tmp_path):
    """A real group of one process; with a World that takes it for one of several."""
    dist.init_process_group(
        "gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    yield World(0, 2)
    dist.destroy_process_group()


def test_what_is_exchanged_keeps_its_kind(one_of_one):
    """What torch does with several is its own affair; here: types, and what is handed to it."""
    record = {"seconds": 0.5, "list": [1, None]}
    assert one_of_one.broadcast(lambda: record) == record
    assert one_of_one.any(True) is True
    assert one_of_one.any(False) is False
    tensor = torch.tensor([1.0, 2.0])
    assert torch.equal(one_of_one.all_reduce_tensor(tensor), torch.tensor([1.0, 2.0]))
    assert one_of_one.all_reduce(0.25, 3, 4) == [0.25, 3, 4]
    assert np.isnan(one_of_one.all_reduce(float("nan"), 3)[0])
    network = torch.nn.BatchNorm2d(2)
    one_of_one.broadcast_buffers(network)
    assert torch.equal(network.running_var, torch.ones(2))


def test_entries_of_all_processes_are_put_together(monkeypatch):
    def gather(boxes, entries):
        boxes[:] = [{7: "empty"}, entries]

    monkeypatch.setattr(dist, "all_gather_object", gather)
    assert World(1, 2).all_gather({3: "broken"}) == {7: "empty", 3: "broken"}


@pytest.mark.parametrize(("backend", "moved"), [("gloo", False), ("nccl", True)])
def test_numbers_of_all_processes_are_added_where_the_backend_can(monkeypatch, backend, moved):
    on_gpu = []

    def add_other(tensor):
        tensor += 2

    def cuda(tensor):
        on_gpu.append(True)
        return tensor

    monkeypatch.setattr(dist, "get_backend", lambda: backend)
    monkeypatch.setattr(dist, "all_reduce", add_other)
    monkeypatch.setattr(torch.Tensor, "cuda", cuda)
    world = World(1, 2)
    assert world.all_reduce(5, 0.5) == [7, 2.5]
    assert world.any(False) is True
    assert on_gpu == [True] * 2 * moved
