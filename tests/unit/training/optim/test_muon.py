from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from ilk.training.optim.muon import Muon, _newton_schulz, _newton_schulz_by_gram, orthogonalise

SHAPES = [(16, 16), (16, 20), (16, 144), (144, 16), (20, 16), (1, 9), (64, 1)]


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_condition(rows, columns, condition, seed=0):
    """A matrix whose singular values fall evenly from 1 to 1 / condition."""
    U, _, V = torch.linalg.svd(drawn(rows, columns, seed=seed), full_matrices=False)
    return U * torch.linspace(1, 1 / condition, min(rows, columns)) @ V


def stepped(optimizer_of, weight, gradients):
    parameter = nn.Parameter(weight.clone())
    optimizer = optimizer_of([parameter])
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_are_brought_near_one(shape):
    values = torch.linalg.svdvals(orthogonalise(with_condition(*shape, condition=5)))
    assert values.min() > 0.5
    assert values.max() < 1.5


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_vectors_are_kept(shape):
    matrix = with_condition(*shape, condition=3)
    U, _, V = torch.linalg.svd(matrix, full_matrices=False)
    mapped = U.mT @ orthogonalise(matrix) @ V.mT
    assert torch.allclose(mapped, torch.diag(mapped.diagonal()), atol=1e-4)


@pytest.mark.parametrize("steps", [1, 3, 5])
@pytest.mark.parametrize("condition", [1, 1e2, 1e6])
def test_both_forms_of_newton_schulz_give_the_same(steps, condition):
    U, _, V = torch.linalg.svd(drawn(16, 144), full_matrices=False)
    X = U * torch.logspace(0, -torch.tensor(condition).log10().item(), 16) @ V
    X = X / X.norm()
    exact = _newton_schulz(X.double(), steps)
    assert torch.allclose(_newton_schulz(X, steps).double(), exact, atol=1e-5)
    assert torch.allclose(_newton_schulz_by_gram(X, steps).double(), exact, atol=5e-4)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e10])
def test_only_the_direction_of_a_matrix_counts(scale):
    matrix = drawn(8, 30)
    assert torch.allclose(orthogonalise(matrix * scale), orthogonalise(matrix), atol=1e-4)


@pytest.mark.parametrize("steps", [6, 8, 12])
def test_more_steps_than_needed_do_no_harm(steps):
    U, _, V = torch.linalg.svd(drawn(16, 144), full_matrices=False)
    values = torch.linalg.svdvals(orthogonalise(U * torch.logspace(0, -7, 16) @ V, steps))
    assert values.max() < 1.5


def test_no_gradient_gives_no_update():
    assert orthogonalise(torch.zeros(4, 9)).count_nonzero() == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_update_has_the_dtype_of_its_matrix(dtype):
    assert orthogonalise(drawn(4, 9).to(dtype)).dtype == dtype


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8)])
def test_matrices_are_updated_as_by_torchs_own_muon(shape):
    """torch's runs in bfloat16, and leaves out the factor that is constant in the buffer."""
    numbers = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}
    weight, gradients = drawn(*shape), [drawn(*shape, seed=i) for i in range(1, 4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = stepped(lambda p: torch.optim.Muon(p, **numbers), weight, gradients)
    ours = stepped(lambda p: Muon(p, **numbers), weight, gradients)
    assert (ours - theirs).norm() < 0.02 * (ours - weight).norm()


def test_a_filter_bank_is_a_matrix_of_one_row_a_filter():
    weight, gradient = drawn(8, 4, 3, 3), drawn(8, 4, 3, 3, seed=1)
    filters = stepped(Muon, weight, [gradient])
    rows = stepped(Muon, weight.flatten(1), [gradient.flatten(1)])
    assert torch.equal(filters.flatten(1), rows)


def test_the_layout_of_filters_in_memory_makes_no_difference():
    weight, gradient = drawn(8, 4, 3, 3), drawn(8, 4, 3, 3, seed=1)
    last = {"memory_format": torch.channels_last}
    changed = stepped(Muon, weight.to(**last), [gradient.to(**last)])
    assert torch.equal(changed, stepped(Muon, weight, [gradient]))


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (64, 8), (8, 64), (32, 1, 3, 3)])
def test_the_first_step_is_about_the_rate_times_the_root_of_the_number_of_filters(shape):
    weight = drawn(*shape)
    moved = stepped(lambda p: Muon(p, lr=0.1), weight, [drawn(*shape, seed=1)]) - weight
    assert moved.norm().item() == pytest.approx(0.1 * shape[0] ** 0.5, rel=0.35)


def test_filters_can_be_kept_at_the_norm_of_the_root_of_their_number():
    weight = 7 * drawn(8, 4, 3, 3)
    kept = stepped(lambda p: Muon(p, lr=0.0, normalise=True), weight, [drawn(8, 4, 3, 3, seed=1)])
    assert kept.norm().item() == pytest.approx(8**0.5)
    assert torch.allclose(kept / kept.norm(), weight / weight.norm())


def test_normalising_a_bank_of_zeros_keeps_it_finite():
    zeros, gradient = torch.zeros(4, 9), torch.zeros(4, 9)
    assert torch.equal(stepped(lambda p: Muon(p, normalise=True), zeros, [gradient]), zeros)


def test_weights_decay_apart_from_the_gradient():
    weight = drawn(4, 9)
    decayed = stepped(lambda p: Muon(p, lr=0.1, weight_decay=0.5), weight, [torch.zeros(4, 9)])
    assert torch.allclose(decayed, weight * 0.95)


def test_it_minimises():
    target = drawn(6, 10)
    weight = nn.Parameter(torch.zeros(6, 10))
    optimizer = Muon([weight], lr=0.05, momentum=0.6)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 200)
        optimizer.zero_grad()
        loss = (weight - target).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01


def test_a_closure_is_called_with_gradients_and_its_loss_returned():
    weight = nn.Parameter(drawn(3, 4))
    optimizer = Muon([weight])

    def closure():
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    before = weight.square().sum().item()
    assert optimizer.step(closure) == pytest.approx(before)
    assert weight.square().sum().item() < before


def test_parameters_without_a_gradient_stay_as_they_are():
    trained, other = nn.Parameter(drawn(3, 4)), nn.Parameter(drawn(3, 4))
    optimizer = Muon([trained, other], weight_decay=0.1)
    trained.grad = drawn(3, 4, seed=1)
    optimizer.step()
    assert torch.equal(other, drawn(3, 4))
    assert not torch.equal(trained, drawn(3, 4))


def test_it_goes_on_bit_identically_from_its_state():
    gradients = [drawn(8, 4, 3, 3, seed=i) for i in range(1, 7)]
    parameter = nn.Parameter(drawn(8, 4, 3, 3))
    optimizer = Muon([parameter], lr=0.1, momentum=0.6, weight_decay=0.01, normalise=True)
    for gradient in gradients[:3]:
        parameter.grad = gradient.clone()
        optimizer.step()
    again = nn.Parameter(parameter.detach().clone())
    resumed = Muon([again])
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for gradient in gradients[3:]:
        for weight, its in ((parameter, optimizer), (again, resumed)):
            weight.grad = gradient.clone()
            its.step()
    assert torch.equal(parameter, again)
    fresh = stepped(Muon, parameter.detach(), gradients[3:])
    assert not torch.equal(fresh, again)


def test_vectors_are_refused():
    with pytest.raises(ValueError, match=r"shape \[5\].*AdamW"):
        Muon([nn.Parameter(torch.zeros(5))])


@pytest.mark.parametrize(
    "wrong", [{"lr": -1}, {"momentum": 1.0}, {"weight_decay": -0.1}, {"steps": 0}]
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="Muon got"):
        Muon([nn.Parameter(torch.zeros(2, 2))], **wrong)
