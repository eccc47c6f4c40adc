from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from ilk.training.distributed import World
from ilk.training.outputs import outputs_of
from ilk.training.pixels import CachedPixels, PixelSource


class Partly(PixelSource):
    """Pixels of which some cannot be read, as of files decoded anew each time."""

    def __init__(self, pixels, unreadable):
        super().__init__(dict.fromkeys(unreadable, "is broken"))
        self.pixels = pixels

    def batches(self, batches):
        for indices in batches:
            good = np.array([i for i in indices if i not in self.errors], np.int64)
            yield self.pixels[good], good


def run(lab, indices, source=None, world=None, batch=4, precision=None):
    options = {"world": world} if world else {}
    return outputs_of(
        lab.network(),
        source or CachedPixels(lab.pixels(30)[0], {}),
        indices,
        precision=precision or lab.precision,
        batch=batch,
        **options,
    )


def test_logits_are_in_the_order_of_the_indices(lab):
    indices = np.array([7, 29, 0, 12, 3])
    features, logits, good = run(lab, indices)
    network, pixels = lab.network(), torch.from_numpy(lab.pixels(30)[0])
    with torch.inference_mode():
        known, expected = network(pixels[indices])
    assert logits.dtype == features.dtype == np.float32
    np.testing.assert_allclose(features, known.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-5, atol=1e-6)
    assert good.dtype == bool
    assert good.all()


def test_the_batch_does_not_matter(lab):
    indices = np.arange(11)
    _, one, _ = run(lab, indices, batch=1)
    for batch in (3, 11, 50):
        np.testing.assert_allclose(run(lab, indices, batch=batch)[1], one, rtol=1e-5, atol=1e-6)


def test_the_network_is_scored_as_it_would_be_used(lab):
    """No dropout, and norms that neither look at the batch nor learn from it."""
    network = lab.network()
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    _, logits, _ = outputs_of(
        network,
        CachedPixels(lab.pixels(30)[0], {}),
        np.arange(9),
        precision=lab.precision,
        batch=3,
    )
    np.testing.assert_array_equal(logits, run(lab, np.arange(9), batch=3)[1])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("unreadable", [{3}, {0, 1, 2}, {8}, {3, 4, 5, 8}])
def test_pictures_that_cannot_be_read_are_marked(lab, unreadable):
    """Also where all of a batch cannot be read, or the one picture of the last batch."""
    source = Partly(lab.pixels(30)[0], unreadable)
    _, logits, good = run(lab, np.arange(9), source, batch=4 if unreadable == {8} else 3)
    assert set(np.flatnonzero(~good).tolist()) == unreadable
    _, whole, _ = run(lab, np.arange(9))
    np.testing.assert_allclose(logits[good], whole[good], rtol=1e-5, atol=1e-6)
    assert not logits[~good].any()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("number", [1, 2, 9, 10])
def test_processes_share_pictures_out_so_that_each_comes_once(lab, size, number):
    indices = np.random.default_rng(0).permutation(30)[:number]
    parts = [World(rank, size).shard(indices) for rank in range(size)]
    assert sorted(np.concatenate(parts).tolist()) == sorted(indices.tolist())
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


class Waiting(World):
    """One of several processes, which keeps what it would sum up with the others."""

    def broadcast_buffers(self, network):
        pass

    def all_reduce_tensor(self, tensor):
        sums.append(tensor.clone())
        return tensor


sums: list[torch.Tensor] = []


@pytest.mark.parametrize("size", [2, 3])
def test_the_sum_over_processes_is_what_one_alone_finds(lab, size):
    source = Partly(lab.pixels(30)[0], {4, 17})
    indices = np.random.default_rng(1).permutation(30)[:20]
    features, alone, good = run(lab, indices, source)
    sums.clear()
    for rank in range(size):
        run(lab, indices, source, Waiting(rank, size))
    seen, logits, votes = (sum(sums[i::3]) for i in (0, 1, 2))
    np.testing.assert_allclose(seen.numpy(), features, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits.numpy(), alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(votes.numpy(), good)  # one vote each: nobody counted twice


def test_scoring_the_same_again_gives_the_same_bits(lab):
    found = [run(lab, np.arange(20))[0] for _ in range(3)]
    for one, other in pairwise(found):
        np.testing.assert_array_equal(one, other)
