from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ilk.errors import DataError
from ilk.training.distributed import World

BARE = {"augment": "none", "flip": 0.0}  # pixels reach the network as they are
PLAIN = {"name": "plain", "momentum": 0.0, "batch": 8, **BARE}


def weights(state):
    return {name: value.clone() for name, value in state.network.state_dict().items()}


def changed(state, before):
    return {name for name, value in weights(state).items() if not torch.equal(value, before[name])}


@pytest.fixture
def take(lab):
    """Return ``take(training, indices)``: one step on some training pictures, as `fit` takes it.

    It returns the mean loss and the number of correct predictions.
    """

    def step(training, indices=range(8), lr_factor=1.0, total=None):
        training.step.begin_epoch(training.state)
        batch = lab.batch(training.examples, indices, total)
        sums = training.step(training.state, batch, lr_factor)
        training.state.step += 1
        return sums.mean_loss, sums.correct

    return step


def seen_by(network):
    """Return a list that fills with the pixels that a network is given."""
    seen = []
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    return seen


def expected_loss(training, rows, **options):
    network = training.state.network.train()
    with torch.no_grad():
        _, logits = network(torch.from_numpy(training.examples.source.pixels[rows]))
    targets = torch.from_numpy(training.examples.targets[rows])
    return F.cross_entropy(logits, targets, **options), logits, targets


def test_a_step_tells_the_loss_and_the_right_answers_before_it_changes_the_weights(lab, take):
    training = lab.training(**PLAIN)
    rows = np.arange(8)
    loss, logits, targets = expected_loss(training, rows)
    before = weights(training.state)
    found = take(training, rows)
    assert found[0] == pytest.approx(float(loss), rel=1e-6)
    assert found[1] == int((logits.argmax(dim=1) == targets).sum())
    assert changed(training.state, before) == set(before)


def test_a_step_of_plain_gradient_descent_goes_down_the_gradient(lab, take):
    training = lab.training(**PLAIN, lr=0.5)
    before = weights(training.state)["head.bias"]
    _, logits, targets = expected_loss(training, np.arange(8))
    gradient = (logits.softmax(dim=1) - F.one_hot(targets, 3)).mean(dim=0)
    take(training, lr_factor=0.1)
    after = weights(training.state)["head.bias"]
    torch.testing.assert_close(after, before - 0.05 * gradient)


def test_the_rate_is_the_factor_of_the_peak_of_each_part(lab, take):
    training = lab.training(lr=0.5, rates={"head": 0.1})
    take(training, lr_factor=0.2)
    assert {g["name"]: g["lr"] for o in training.state.optimizers for g in o.param_groups} == {
        "backbone": pytest.approx(0.1),
        "head": pytest.approx(0.01),
    }


def test_gradients_are_cleared_after_a_step(lab, take):
    training = lab.training()
    take(training)
    assert all(p.grad is None for p in training.state.network.parameters())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_label_smoothing_is_that_of_torch(lab, take, smoothing):
    training = lab.training(**PLAIN, label_smoothing=smoothing)
    loss, *_ = expected_loss(training, np.arange(8), label_smoothing=smoothing)
    assert take(training)[0] == pytest.approx(float(loss), rel=1e-6)


def test_label_smoothing_fades_with_the_steps(lab, take):
    training = lab.training(**PLAIN, label_smoothing=0.2, smoothing_until=0.01)
    training.state.epoch = 1
    loss, *_ = expected_loss(training, np.arange(8), label_smoothing=0.0)
    assert take(training)[0] == pytest.approx(float(loss), rel=1e-6)


def test_with_class_weights_rare_classes_weigh_as_much_as_common_ones(lab, take):
    examples = lab.examples(train=12, val=0)
    examples.targets[:] = [0] * 8 + [1] * 3 + [2]
    training = lab.training(examples=examples, class_weights="balanced", **PLAIN)
    rows = np.arange(12)
    losses, _, targets = expected_loss(training, rows, reduction="none")
    by_class = [losses[targets == k].mean() for k in range(3)]
    assert take(training, rows)[0] == pytest.approx(float(sum(by_class)) / 3, rel=1e-6)


def test_class_weights_bear_a_class_without_training_pictures(lab, take):
    examples = lab.examples(train=12, val=0)
    examples.targets[:] = [0] * 8 + [1] * 4
    training = lab.training(examples=examples, class_weights="balanced", **PLAIN)
    assert np.isfinite(take(training)[0])


def test_clipping_limits_the_norm_of_all_gradients_together(lab, take):
    training = lab.training(**PLAIN, lr=1.0, clip=1e-3)
    before = weights(training.state)
    take(training)
    moved = [value - before[name] for name, value in weights(training.state).items()]
    assert torch.cat([m.flatten() for m in moved]).norm() == pytest.approx(1e-3, rel=1e-3)


def test_clipping_leaves_small_gradients_alone(lab, take):
    one, other = lab.training(**PLAIN), lab.training(**PLAIN, clip=1e6)
    take(one)
    take(other)
    assert lab.differences(one.state, other.state) == []


def test_accumulated_batches_are_one_batch_of_the_whole_size(lab, take):
    whole = lab.training(**PLAIN)
    parts = lab.training(**{**PLAIN, "batch": 4, "accumulate": 2})
    assert parts.state.steps_per_epoch == whole.state.steps_per_epoch
    seen = seen_by(parts.state.network)
    for _ in range(2):
        (loss, correct), (loss_of_parts, correct_of_parts) = take(whole), take(parts)
        assert loss_of_parts == pytest.approx(loss, rel=1e-5)
        assert correct_of_parts == correct
    assert [len(part) for part in seen] == [4, 4, 4, 4]
    for name, value in weights(whole.state).items():
        torch.testing.assert_close(weights(parts.state)[name], value, rtol=1e-5, atol=1e-7)


def test_parts_of_unequal_size_weigh_by_their_pictures(lab, take):
    whole = lab.training(**PLAIN)
    parts = lab.training(**PLAIN)
    parts.state.micro_batches = 3
    seen = seen_by(parts.state.network)
    assert take(parts)[0] == pytest.approx(take(whole)[0], rel=1e-6)
    assert [len(part) for part in seen] == [3, 3, 2]


def limit_memory(network, most, error=None):
    """Let a network run out of memory on more than so many pictures."""

    def refuse(_, given):
        if len(given[0]) > most:
            raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    network.register_forward_pre_hook(refuse)


def test_out_of_memory_takes_batches_apart_and_changes_nothing_else(lab, take, caplog):
    scarce = lab.training(**PLAIN)
    limit_memory(scarce.state.network, most=3)
    in_parts = lab.training(**{**PLAIN, "batch": 2, "accumulate": 4})
    assert take(scarce) == take(in_parts)
    assert scarce.state.micro_batches == 4
    assert [r.getMessage() for r in caplog.records] == [
        f"Out of memory: each batch of 8 is now processed in {n} micro-batches." for n in (2, 4)
    ]
    assert take(scarce) == take(in_parts)  # the next batch begins in parts
    assert len(caplog.records) == 2
    assert lab.differences(scarce.state, in_parts.state) == []


def test_what_is_drawn_for_a_batch_is_drawn_again_when_it_is_taken_apart(lab, take):
    """Or a training resumed from there, which begins in parts, would end otherwise."""
    rich = {"batch": 8, "mixup": 0.2, "augment": "trivial", "frozen_norms": True}
    scarce, in_parts = lab.training(**rich), lab.training(**rich)
    limit_memory(scarce.state.network, most=4)
    in_parts.state.micro_batches = 2
    assert take(scarce) == take(in_parts)
    assert lab.differences(scarce.state, in_parts.state) == []


def test_memory_that_runs_out_in_a_later_part_counts_no_picture_twice(lab, take):
    scarce, enough = lab.training(**PLAIN), lab.training(**PLAIN)
    scarce.state.micro_batches = 2
    enough.state.micro_batches = 4
    calls = []

    def second_call_fails(*_):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    scarce.state.network.register_forward_pre_hook(second_call_fails)
    assert take(scarce) == take(enough)
    assert len(calls) == 2 + 4
    assert lab.differences(scarce.state, enough.state) == []


def test_an_odd_batch_is_taken_apart_down_to_single_pictures(lab, take):
    scarce = lab.training(**PLAIN)
    limit_memory(scarce.state.network, most=1)
    take(scarce, range(5))
    assert scarce.state.micro_batches == 5


def test_memory_too_small_for_one_picture_is_an_error(lab, take):
    training = lab.training(**PLAIN)
    limit_memory(training.state.network, most=0)
    with pytest.raises(torch.OutOfMemoryError):
        take(training)


def test_the_memory_of_a_cpu_runs_out_with_another_error(lab, take):
    training = lab.training(**PLAIN)
    cpu = RuntimeError("[enforce fail at alloc_cpu.cpp:121] . can't allocate memory")
    limit_memory(training.state.network, most=4, error=cpu)
    take(training)
    assert training.state.micro_batches == 2


def test_other_errors_are_not_taken_for_a_lack_of_memory(lab, take):
    training = lab.training(**PLAIN)
    limit_memory(training.state.network, most=4, error=RuntimeError("mat1 and mat2 shapes"))
    with pytest.raises(RuntimeError, match="mat1"):
        take(training)
    assert training.state.micro_batches == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing(lab, take, bad):
    training = lab.training(optimizer="adamw", ema=0.9)
    take(training)
    with torch.no_grad():
        training.state.network.head.bias[0] = bad
    kept = training.state.snapshot().tensors
    norms = {name for name in kept if "running" in name or "batches_tracked" in name}
    loss, _ = take(training)
    assert not np.isfinite(loss)
    now = training.state.snapshot().tensors
    same = {name for name in kept if torch.equal(kept[name].nan_to_num(7), now[name].nan_to_num(7))}
    assert kept.keys() - same <= norms


def test_gradual_unfreezing_thaws_from_the_top_and_leaves_the_rest_bit_for_bit(lab, take):
    training = lab.training(freeze="backbone", unfreeze_every=2, weight_decay=0.1, momentum=0.9)
    state = training.state
    trained = {
        0: {"head"},
        1: {"head"},
        2: {"head", "norm2"},
        4: {"head", "norm2", "conv2"},
        6: {"head", "norm2", "conv2", "norm1"},
        8: {"head", "norm2", "conv2", "norm1", "conv1"},
        10: {"head", "norm2", "conv2", "norm1", "conv1"},
    }
    for epoch, parts in trained.items():
        state.epoch, state.step = epoch, 0
        before = weights(state)
        take(training)
        take(training)
        learning = {n for n, p in state.network.named_parameters() if p.requires_grad}
        assert {part_of(name) for name in learning} == parts
        assert {part_of(name) for name in changed(state, before)} == parts


def part_of(name):
    return name.removeprefix("backbone.").split(".")[0]


def test_a_frozen_backbone_stays_as_it_was_with_its_statistics(lab, take):
    training = lab.training(freeze="backbone", weight_decay=0.1)
    before = weights(training.state)
    take(training)
    assert changed(training.state, before) == {"head.weight", "head.bias"}


def test_what_is_frozen_in_part_learns_only_above(lab, take):
    training = lab.training(freeze="conv2")
    before = weights(training.state)
    take(training)
    assert {part_of(name) for name in changed(training.state, before)} == {"norm2", "head"}


def test_frozen_norms_keep_their_statistics_and_learn_all_else(lab, take):
    training = lab.training(frozen_norms=True)
    before = weights(training.state)
    take(training)
    kept = before.keys() - changed(training.state, before)
    assert {name.split(".")[-1] for name in kept} == {
        "running_mean", "running_var", "num_batches_tracked",
    }  # fmt: skip


def test_without_it_they_learn_their_statistics(lab, take):
    training = lab.training()
    before = weights(training.state)
    take(training)
    assert {n for n in before if "running" in n or "tracked" in n} <= changed(
        training.state, before
    )


def test_pictures_grow_over_the_first_two_thirds(lab):
    recipe = lab.recipe(imgsz_from=8, **BARE)
    training = lab.training()
    state = training.state
    step = lab.step(recipe, training.examples, imgsz=24)
    pixels = np.repeat(np.repeat(training.examples.source.pixels[:4], 3, axis=1), 3, axis=2)
    given = lab.batch(training.examples, range(4))._replace(pixels=pixels)
    sides = []
    for number in range(12):
        state.epoch, state.step = divmod(number, 4)
        batch, _ = step.augmented(state, given)
        assert batch.shape == (4, batch.shape[1], batch.shape[1], 3)
        assert 0 <= batch.min() <= batch.max() <= 255
        # Each colour's mean is kept: the pictures shrink, they are not cut.
        means = torch.from_numpy(pixels).float().mean(dim=(1, 2))
        torch.testing.assert_close(batch.float().mean(dim=(1, 2)), means, rtol=0.02, atol=1)
        sides.append(batch.shape[1])
    assert sides == [8] * 4 + [16] * 4 + [24] * 4


def test_without_it_pictures_have_the_size_that_the_model_is_for(lab):
    training = lab.training(**BARE)
    batch, soft = training.step.augmented(training.state, lab.batch(training.examples, range(4)))
    np.testing.assert_array_equal(batch.numpy(), training.examples.source.pixels[:4])
    np.testing.assert_array_equal(soft.numpy(), np.eye(3)[training.examples.targets[:4]])


MIXED = {"augment": "trivial", "mixup": 0.5, "cutmix": 0.5}


def augmented(lab, epoch=0, step=0, rank=0, size=1, **fields):
    training = lab.training(**{**MIXED, **fields})
    state, examples = training.state, training.examples
    state.epoch, state.step = epoch, step
    step = lab.step(training.recipe, examples, world=World(rank, size))
    return step.augmented(state, lab.batch(examples, range(16)))


def test_what_is_drawn_depends_on_seed_epoch_and_step_alone(lab):
    torch.manual_seed(1)
    one = augmented(lab, 2, 3, seed=5)
    torch.manual_seed(2)
    np.random.seed(2)
    other = augmented(lab, 2, 3, seed=5)
    assert all(map(torch.equal, one, other))


@pytest.mark.parametrize("place", [{"epoch": 1}, {"step": 1}, {"seed": 1}, {"rank": 1, "size": 2}])
def test_each_step_of_each_epoch_and_process_draws_anew(lab, place):
    assert not torch.equal(augmented(lab)[0], augmented(lab, **place)[0])


def test_dropout_is_drawn_by_the_step_too(lab, take):
    losses = []
    for seed in (1, 2):
        training = lab.training(**BARE)
        training.state.network.backbone.drop.p = 0.5
        torch.manual_seed(seed)
        losses.append(take(training))
    assert losses[0] == losses[1]


def test_mixed_targets_sum_to_one(lab):
    _, soft = augmented(lab)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(16))
    assert ((soft > 0).sum(dim=1) > 1).any()


def test_the_hook_sees_the_gradients_before_they_are_cleared(lab, take):
    training = lab.training(**PLAIN)
    seen = []

    def look(state, pixels, soft):
        norms = [p.grad.norm() for p in state.network.parameters()]
        seen.append((pixels.shape, soft.shape, min(norms)))

    training.step.on_gradients = look
    take(training)
    [(pixels, soft, norm)] = seen
    assert (pixels, soft) == ((8, 8, 8, 3), (8, 3))
    assert norm > 0


def test_the_hook_changes_nothing(lab, take):
    one, other = lab.training(), lab.training()
    other.step.on_gradients = lambda *_: None
    assert take(one) == take(other)
    assert lab.differences(one.state, other.state) == []


def test_the_average_follows_each_step(lab, take):
    training = lab.training(ema=0.5)
    first = weights(training.state)["head.weight"]
    for _ in range(3):
        before = training.state.average.module.head.weight.clone()
        take(training)
        now, network = training.state.average.module.head.weight, training.state.network.head.weight
        assert not torch.equal(now, before)
        assert ((now - before).sign() * (network - before).sign() >= 0).all()
    assert not torch.equal(now, first)


def test_the_network_is_compiled_if_asked_for(lab, take, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or network)
    training = lab.training(compile=True)
    take(training)
    take(training)
    assert compiled == [training.state.network]
    take(lab.training())
    assert len(compiled) == 1


def test_a_batch_without_pictures_is_refused(lab):
    training = lab.training()
    training.step.begin_epoch(training.state)
    none = lab.batch(training.examples, np.arange(0), total=4)
    with pytest.raises(DataError, match="None of the pictures of a batch can be decoded"):
        training.step(training.state, none, 1.0)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_scaled_gradients_bear_an_optimizer_that_has_nothing_to_train_yet(lab, take, clip):
    """All that Muon trains is frozen at first."""
    training = lab.training(optimizer="muon", freeze="backbone", unfreeze_every=1, clip=clip)
    training.state.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    before = weights(training.state)
    take(training)
    assert changed(training.state, before) == {"head.weight", "head.bias"}
    training.state.epoch, training.state.step = 4, 0
    take(training)
    assert {part_of(n) for n in changed(training.state, before)} == {
        "conv1", "norm1", "conv2", "norm2", "head",
    }  # fmt: skip


def norm_of_head(state):
    return state.network.head.weight.grad.norm()


def test_the_hook_sees_gradients_of_their_true_size(lab, take):
    norms = []
    for scale in (1.0, 1024.0):
        training = lab.training(**PLAIN)
        training.state.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        training.step.on_gradients = lambda state, *_: norms.append(
            state.network.head.weight.grad.norm()
        )
        take(training)
    torch.testing.assert_close(*norms)


def test_scaled_gradients_are_clipped_by_their_true_norm(lab, take):
    training = lab.training(**PLAIN, lr=1.0, clip=1e-3)
    training.state.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = weights(training.state)
    take(training)
    moved = [value - before[name] for name, value in weights(training.state).items()]
    assert torch.cat([m.flatten() for m in moved]).norm() == pytest.approx(1e-3, rel=1e-3)


class OtherProcess(nn.Module):
    """Stands in for DistributedDataParallel: the other process adds gradients of its own."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels):
        return self.network(pixels)


@pytest.fixture
def one_of_two(lab, monkeypatch):
    """Return a training whose step is that of one of two processes; the other does nothing."""
    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", OtherProcess)
    monkeypatch.setattr(World, "all_reduce", lambda world, *numbers: list(numbers))
    training = lab.training(**PLAIN)
    training.step = lab.step(training.recipe, training.examples, world=World(0, 2))
    return training


def test_a_process_that_runs_out_of_memory_does_not_continue_by_itself(one_of_two, take):
    """The others would wait for its gradients."""
    limit_memory(one_of_two.state.network, most=4)
    with pytest.raises(torch.OutOfMemoryError):
        take(one_of_two)


def test_pictures_that_cannot_be_decoded_do_not_weaken_the_gradients(lab, take):
    whole, broken = lab.training(**PLAIN), lab.training(**PLAIN)
    assert take(whole, range(5)) == take(broken, range(5), total=8)
    for name, value in weights(whole.state).items():
        torch.testing.assert_close(weights(broken.state)[name], value, rtol=1e-5, atol=1e-7)


def test_a_request_to_stop_is_passed_on_with_the_loss(lab):
    training = lab.training(**PLAIN)
    training.step.begin_epoch(training.state)
    batch = lab.batch(training.examples, range(8))
    assert not training.step(training.state, batch, 1.0).stop
    assert training.step(training.state, batch, 1.0, stop=lambda: True).stop
