"""The factors of the closed form: in place, channel by channel, and equal to the plain ones."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import linalg, nn

from dlgutils.analytic.closed_form import channelwise, factor, normal, solver
from dlgutils.analytic.closed_form.equations import equations_of
from dlgutils.analytic.closed_form.prior import Prior, activation_prior, image_prior
from dlgutils.analytic.closed_form.records import Measured, Message, Step

CHANNELS, SIZE, OUT = 6, 8, 4
N = CHANNELS * SIZE**2


def random(*shape, seed=0):
    """Standard normal numbers in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def positive_definite(n, seed=0):
    root = random(n, n, seed=seed)
    return root @ root.T + n * torch.eye(n, dtype=torch.float64)


def hidden_equations(seed=0, *, error=1e-6):
    """The equations of a random convolution with stride 2 of a random input in (0, 1), and that."""
    conv = nn.Conv2d(CHANNELS, OUT, 3, 2, 1, bias=False).double().requires_grad_(False)
    conv.weight.copy_(random(*conv.weight.shape, seed=seed))
    u = torch.sigmoid(random(1, CHANNELS, SIZE, SIZE, seed=seed + 1))
    z = conv(u)
    delta = random(*z.shape, seed=seed + 2)
    weight = conv.weight.clone().requires_grad_(True)
    out = nn.functional.conv2d(u, weight, stride=2, padding=1)
    (gradient,) = torch.autograd.grad((out * delta).sum(), weight)
    above = Message(
        z.flatten(),
        torch.full((z.numel(),), error, dtype=torch.float64),
        delta.flatten(),
        torch.full((z.numel(),), error, dtype=torch.float64),
    )
    step = Step("conv", conv, (CHANNELS, SIZE, SIZE))
    measured = Measured({"conv.weight": gradient}, 0.0, 1e-7)
    return equations_of(step, measured, above), u.flatten()


def unit_prior():
    return activation_prior(nn.Sigmoid(), random(1), (CHANNELS, SIZE, SIZE))


def whole(equations, prior, strength=1.0, barrier=None):
    """M as a dense matrix."""
    matrix = normal.normal_matrix(equations) + strength * prior.precision
    return matrix if barrier is None else matrix + torch.diag(barrier)


@pytest.mark.parametrize("n", [1, 7, 192, 193, 500])
def test_cholesky_takes_the_place_of_the_matrix(n):
    matrix = positive_definite(n)
    found = factor.cholesky_(matrix.clone())
    torch.testing.assert_close(found.tril(), linalg.cholesky(matrix))


def test_cholesky_refuses_an_indefinite_matrix():
    matrix = positive_definite(300)
    matrix[250, 250] = -1
    with pytest.raises(linalg.LinAlgError):
        factor.cholesky_(matrix)


@pytest.mark.parametrize("n", [1, 192, 500])
def test_divide_equals_a_triangular_solution(n):
    left = linalg.cholesky(positive_definite(n))
    right = linalg.cholesky(positive_definite(n, seed=1))
    expected = linalg.solve_triangular(left, right, upper=False)
    torch.testing.assert_close(factor.divide_(right.clone(), left), expected)


@pytest.mark.parametrize("prior", [unit_prior(), image_prior(random(1), (3, 5, 4))])
def test_prior_multiplies_without_its_matrix(prior):
    n = len(prior.mean)
    v = random(n, 3)
    torch.testing.assert_close(prior.times(v), prior.precision @ v)
    torch.testing.assert_close(prior.diagonal(), prior.precision.diagonal())
    torch.testing.assert_close(prior.root() @ prior.root().T, prior.precision)
    assert prior.root().equal(prior.root().tril())
    matrix = positive_definite(n)
    added = matrix.clone()
    prior.add_to(added, 2.5)
    torch.testing.assert_close(added, matrix + 2.5 * prior.precision)
    torch.testing.assert_close(prior.stronger(3.0).precision, 3 * prior.precision)


def test_prior_knows_whether_units_are_independent():
    assert unit_prior().is_diagonal
    assert not image_prior(random(1), (1, 4, 4)).is_diagonal
    assert not Prior(torch.zeros(3), torch.ones(3, 3)).is_diagonal


def test_normal_matrix_and_its_parts_agree():
    equations, _ = hidden_equations()
    matrix = normal.normal_matrix(equations)
    v = random(N, 5)
    torch.testing.assert_close(normal.normal_times(equations, v), matrix @ v)
    count = equations.z.numel() + equations.gradient.numel()
    jacobian = normal.pull(equations, torch.eye(count, dtype=torch.float64))
    torch.testing.assert_close(jacobian @ jacobian.T, matrix)
    rows = normal.rows_of_z(equations)
    block = normal.block_of_gradient(equations)
    blocks = torch.block_diag(*[block] * CHANNELS)
    torch.testing.assert_close(rows.T @ rows + blocks, matrix)


def test_normal_matrix_is_the_same_from_rows_and_entry_by_entry(monkeypatch):
    equations, _ = hidden_equations()
    monkeypatch.setattr(normal, "_ADDITION", 0)
    entry_by_entry = normal.normal_matrix(equations)
    monkeypatch.setattr(normal, "_ADDITION", 1e9)
    torch.testing.assert_close(normal.normal_matrix(equations), entry_by_entry)


def test_rows_of_z_leave_unknown_outputs_out():
    equations, _ = hidden_equations()
    equations.z_precision[0] = 0
    assert len(normal.rows_of_z(equations)) == (OUT - 1) * equations.z.shape[1]


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), exponent=st.integers(-8, 4), barred=st.booleans())
def test_channelwise_solves_what_the_whole_matrix_solves(seed, exponent, barred):
    equations, _ = hidden_equations(seed % 1000, error=10.0**exponent)
    prior = unit_prior()
    parts = channelwise.parts_of(equations, prior)
    barrier = random(N, seed=seed).mul(5).exp() if barred else None
    found = parts.factorise(barrier)
    matrix = whole(equations, prior, parts.strength, barrier)
    x = random(N, 2, seed=seed)
    solution = found.solve(matrix @ x)
    wrong = ((solution - x) * (matrix @ (solution - x))).sum(0)
    assert (wrong <= 1e-10 * (x * (matrix @ x)).sum(0)).all()
    expected = float((linalg.inv(matrix) * parts.strength * prior.precision).sum())
    assert found.count_guessed() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_channelwise_solves_where_no_output_is_known():
    """Then the gradient and the prior are all that is left, and each channel stands by itself."""
    equations, _ = hidden_equations()
    equations = replace(equations, z_precision=torch.zeros_like(equations.z_precision))
    prior = unit_prior()
    parts = channelwise.parts_of(equations, prior)
    matrix = whole(equations, prior, parts.strength)
    x = random(N, 1)
    wrong = parts.factorise().solve(matrix @ x) - x
    assert (wrong * (matrix @ wrong)).sum() <= 1e-10 * (x * (matrix @ x)).sum()


def test_channelwise_and_whole_draw_with_the_same_covariance(seeded):
    equations, _ = hidden_equations(error=0.1)
    prior = unit_prior()
    parts = channelwise.parts_of(equations, prior)
    dense = factor.factorise(normal.normal_matrix(equations), prior)
    expected = linalg.inv(whole(equations, prior, parts.strength)).diagonal().mean()
    for way in (parts.factorise(), dense):
        drawn = way.draw(400, seeded(0))
        assert float(drawn.square().mean() / expected) == pytest.approx(1, abs=0.05)


def test_factorised_counts_what_the_prior_decides():
    equations, _ = hidden_equations()
    prior = unit_prior()
    dense = factor.factorise(normal.normal_matrix(equations), prior)
    inverse = linalg.inv(whole(equations, prior, dense.strength))
    expected = dense.strength * float((inverse * prior.precision).sum())
    assert dense.count_guessed() == pytest.approx(expected, rel=1e-4)


def test_channelwise_declines_dense_priors_and_many_equations():
    equations, _ = hidden_equations()
    shape = (CHANNELS, SIZE, SIZE)
    assert channelwise.parts_of(equations, image_prior(random(1), shape)) is None
    few = activation_prior(nn.Sigmoid(), random(1), shape)
    assert channelwise.parts_of(equations, few) is not None
    conv = nn.Conv2d(1, 8, 3, padding=1, bias=False).double().requires_grad_(False)
    n = 8 * 16
    above = Message(random(n), torch.ones(n).double(), random(n), torch.ones(n).double())
    measured = Measured({"conv.weight": random(8, 1, 3, 3)}, 0.0, 1e-7)
    many = equations_of(Step("conv", conv, (1, 4, 4)), measured, above)
    prior = activation_prior(nn.Sigmoid(), random(1), (1, 4, 4))
    assert channelwise.parts_of(many, prior) is None


def test_channelwise_is_not_trusted_where_all_digits_cancel():
    equations, _ = hidden_equations()
    parts = channelwise.parts_of(equations, unit_prior())
    assert parts.factorise() is not None
    assert parts._replace(strength=1e-9 * parts.strength).factorise() is None


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("error", [1e-12, 1e-6, 1e-2])
def test_both_ways_solve_alike(monkeypatch, positive, error):
    equations, u = hidden_equations(error=error)
    solved = partial(solver.solve, equations, unit_prior(), positive=positive)
    found = solved()
    monkeypatch.setattr(solver, "parts_of", lambda *_: None)
    expected = solved()
    assert found.rank == expected.rank
    if found.rank == N:
        assert found.condition == pytest.approx(expected.condition, rel=0.1)
    distance = (found.u - expected.u) / expected.error
    assert float(distance.square().mean().sqrt()) < 0.1
    assert float(found.error.norm()) == pytest.approx(float(expected.error.norm()), rel=0.1)
    if found.rank == N:
        assert float(((found.u - u) / found.error).square().mean().sqrt()) < 2


def test_refinement_reaches_equations_that_rounding_hides_in_the_matrix():
    """Half of the outputs are known to 1e-13 and half to 1e-5, the gradient hardly at all.

    In the matrix that is factorised the latter are weaker than the strengthened prior.
    """
    equations, u = hidden_equations()
    half = equations.z.shape[1] // 2
    equations.z_precision[:, :half] = 1e13**2
    equations.z_precision[:, half:] = 1e5**2
    equations.gradient_precision.fill_(1e-20)
    prior = unit_prior()
    factorised = factor.factorise(normal.normal_matrix(equations), prior)
    assert factorised.strength > 1e6
    found = solver.iterative_refinement(equations, prior, factorised)
    weak, _ = equations.residuals(found)
    assert float(weak[:, half:].abs().max()) < 5e-5
    assert float((found - u).square().mean()) < float((prior.mean - u).square().mean())
