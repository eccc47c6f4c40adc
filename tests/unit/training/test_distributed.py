"""What one process can tell of several; they are started in tests/integration."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
import torch.distributed as dist

from ilk.errors import UsageError
from ilk.recipe import Recipe
from ilk.training import distributed as module
from ilk.training.distributed import ALONE, World, asked_for, joined, leads

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
    """Keep `joined` from waiting for processes that never come; returns what it asked for."""
    asked = []
    monkeypatch.setattr(dist, "init_process_group", lambda name, timeout: asked.append(name))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: asked.append("destroyed"))
    monkeypatch.setattr(torch.cuda, "set_device", asked.append)
    return asked


def test_a_process_alone_leads_and_has_everything(torchrun):
    rows = np.arange(5)
    assert ALONE.leads
    assert ALONE.share("x") == "x"
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.pooled(0.5, 3, 4) == (0.5, 3, 4)
    assert ALONE.merged({1: "broken"}) == {1: "broken"}
    np.testing.assert_array_equal(ALONE.part(rows), rows)
    tensor = torch.ones(3)
    assert ALONE.summed(tensor) is tensor
    network = torch.nn.BatchNorm2d(2)
    ALONE.align_buffers(network)
    assert not asked_for()
    assert leads()


def test_without_torchrun_nothing_is_joined(torchrun, group):
    with joined(FINETUNE) as world:
        assert world == ALONE
    assert group == []


@pytest.mark.parametrize(("rank", "speaks"), [(0, True), (1, False), (3, False)])
def test_one_of_several_processes_leads(torchrun, group, rank, speaks):
    torchrun(rank, 4)
    assert asked_for()
    assert leads() == speaks
    with joined(FINETUNE) as world:
        assert world == World(rank, 4)
        assert world.leads == speaks
    assert group == ["gloo", "destroyed"]


def test_a_single_process_of_torchrun_is_alone(torchrun, group):
    torchrun(0, 1)
    assert not asked_for()
    with joined(FINETUNE) as world:
        assert world == ALONE
    assert group == []


def test_on_gpus_each_process_takes_its_own(torchrun, group, monkeypatch):
    monkeypatch.setattr(module, "pick_device", lambda _: "cuda")
    torchrun(1, 2)
    with joined(FINETUNE):
        pass
    assert group == [1, "nccl", "destroyed"]


def test_processes_part_also_after_an_error(torchrun, group):
    torchrun(1, 2)
    level = logging.getLogger("ilk").level
    with pytest.raises(KeyError), joined(FINETUNE):
        raise KeyError
    assert group[-1] == "destroyed"
    assert logging.getLogger("ilk").level == level


@pytest.mark.parametrize(("rank", "warnings"), [(0, 1), (1, 0)])
def test_what_there_is_to_say_is_said_once(torchrun, group, caplog, rank, warnings):
    torchrun(rank, 2)
    with joined(FINETUNE):
        logging.getLogger("ilk").warning("careful")
    assert len(caplog.records) == warnings


def test_a_probe_runs_in_one_process(torchrun, group):
    torchrun(0, 2)
    with pytest.raises(UsageError, match="--mode probe runs in one process"), joined(Recipe()):
        pass
    assert group == []


@pytest.mark.parametrize(("batch", "size"), [(32, 3), (5, 2), (1, 2)])
def test_a_batch_that_cannot_be_shared_out_is_refused(torchrun, group, batch, size):
    torchrun(0, size)
    recipe = Recipe(mode="finetune", batch=batch)
    with (
        pytest.raises(
            UsageError, match=f"--batch {batch} cannot be shared out to {size} processes"
        ),
        joined(recipe),
    ):
        pass
    assert group == []


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_row_is_in_exactly_one_share(size):
    rows = np.random.default_rng(0).permutation(17)
    shares = [World(rank, size).part(rows) for rank in range(size)]
    assert sorted(np.concatenate(shares)) == list(range(17))


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
    assert one_of_one.share({"seconds": 0.5, "list": [1, None]}) == {
        "seconds": 0.5,
        "list": [1, None],
    }
    assert one_of_one.any(True) is True
    assert one_of_one.any(False) is False
    tensor = torch.tensor([1.0, 2.0])
    assert torch.equal(one_of_one.summed(tensor), torch.tensor([1.0, 2.0]))
    assert one_of_one.pooled(0.25, 3, 4) == (0.25, 3, 4)
    assert one_of_one.total(5) == 5
    loss, _, _ = one_of_one.pooled(float("nan"), 3, 4)
    assert np.isnan(loss)
    network = torch.nn.BatchNorm2d(2)
    one_of_one.align_buffers(network)
    assert torch.equal(network.running_var, torch.ones(2))


def test_entries_of_all_processes_are_put_together(monkeypatch):
    def gather(boxes, entries):
        boxes[:] = [{7: "empty"}, entries]

    monkeypatch.setattr(dist, "all_gather_object", gather)
    assert World(1, 2).merged({3: "broken"}) == {7: "empty", 3: "broken"}


def test_losses_are_pooled_by_pictures(monkeypatch):
    def add_other(tensor):
        tensor += torch.tensor([4.0 * 2, 1, 2])

    monkeypatch.setattr(dist, "get_backend", lambda: "gloo")
    monkeypatch.setattr(dist, "all_reduce", add_other)
    assert World(0, 2).pooled(1.0, 3, 6) == (14 / 8, 4, 8)


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
    assert world.total(5) == 7
    assert world.any(False) is True
    assert world.pooled(2.0, 3, 4) == ((2.0 * 4 + 2) / 6, 5, 6)
    assert on_gpu == [True] * 3 * moved
