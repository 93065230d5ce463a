"""What noise allows: limits with known answers, between nothing and what the prior says."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import linalg, nn

from dlgutils import Batch, attacks, coordinates, invert, metrics
from dlgutils.analytic import limits
from dlgutils.analytic.closed_form.prior import Prior
from dlgutils.analytic.jacobian import information_root
from dlgutils.federated import defenses
from dlgutils.matching import weighing_noise
from dlgutils.protocol import Protocol
from dlgutils.testing import tiny_round
from dlgutils.types import Shared, Transform

N = 8
SHARED = tiny_round().shared
SIGMAS = torch.logspace(-6, 6, 49, dtype=torch.float64)


def matrix(seed, rows=N, columns=N):
    """Numbers from N(0, 1), in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def prior_of(seed):
    """A prior of N correlated pixels."""
    root = matrix(seed)
    eye = torch.eye(N, dtype=torch.float64)
    return Prior(torch.zeros(N, dtype=torch.float64), root @ root.T + eye)


def variance(prior):
    """Of a pixel, the mean over all."""
    return float(linalg.inv(prior.precision).trace()) / len(prior.mean)


seeds = st.integers(0, 10**6)


@given(seeds, st.floats(1e-3, 1e3))
def test_limit_is_the_trace_of_the_posterior_covariance(seed, sigma):
    root, prior = matrix(seed, rows=5), prior_of(seed + 1)
    posterior = linalg.inv(prior.precision + root.T @ root / sigma**2)
    expected = posterior.trace() / N
    torch.testing.assert_close(limits.limit(root, sigma, prior), expected, rtol=1e-8, atol=0)


@given(seeds, st.integers(1, 2 * N))
def test_limit_grows_with_the_noise_up_to_the_variance_of_the_prior(seed, rows):
    root, prior = matrix(seed, rows=rows), prior_of(seed + 1)
    found = limits.limit(root, SIGMAS, prior)
    assert found.shape == SIGMAS.shape
    assert (found.diff() >= 0).all()
    assert float(found[-1]) == pytest.approx(variance(prior), rel=1e-6)


@given(seeds, st.integers(1, N))
def test_limit_ends_at_what_the_prior_says_about_the_null_space(seed, rows):
    root, prior = matrix(seed, rows=rows), prior_of(seed + 1)
    null = linalg.svd(root).Vh[rows:].T
    inside = linalg.inv(null.T @ prior.precision @ null)
    expected = float(torch.einsum("ij,jk,ik->", null, inside, null)) / N
    found = float(limits.limit(root, 1e-9, prior))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(seeds)
def test_limit_does_not_depend_on_the_order_of_the_numbers(seed):
    root, prior = matrix(seed), prior_of(seed + 1)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    found = limits.limit(root[order], SIGMAS, prior)
    torch.testing.assert_close(found, limits.limit(root, SIGMAS, prior))


def test_limit_of_a_linear_layer_by_hand():
    """Weights of zero, white pixels of variance v: each is seen with ‖δ‖, so 1/v + ‖δ‖²/σ²."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(N, 3)).double()
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    batch = Batch(matrix(0).sigmoid()[:1].view(1, 1, 2, 4), torch.tensor([1]))
    v, sigma, delta2 = 0.04, 0.3, 2 * (1 / 3) ** 2 + (2 / 3) ** 2
    eye = torch.eye(N, dtype=torch.float64)
    white = Prior(torch.zeros(N, dtype=torch.float64), eye / v)
    found = limits.limit(information_root(model, batch), sigma, white)
    assert float(found) == pytest.approx(1 / (1 / v + delta2 / sigma**2))


def test_limit_repeats_the_prior_of_one_image_for_a_batch():
    first, second, prior = matrix(0), matrix(1), prior_of(2)
    both = torch.block_diag(first, second)
    alone = [limits.limit(root, SIGMAS, prior) for root in (first, second)]
    found = limits.limit(both, SIGMAS, prior)
    torch.testing.assert_close(found, (alone[0] + alone[1]) / 2)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, "0.1", None, True])
def test_limit_refuses_a_sigma_that_is_no_noise(sigma):
    with pytest.raises(ValueError, match="above zero"):
        limits.limit(matrix(0), sigma, prior_of(0))


def test_limit_refuses_a_prior_of_another_size():
    with pytest.raises(ValueError, match="by 7 pixels, and the prior is of 8"):
        limits.limit(matrix(0, columns=7), 1.0, prior_of(0))


@given(seeds)
def test_bayesian_limit_is_below_the_mean_of_the_limits(seed):
    roots = [matrix(seed + k, rows=3 + k) for k in range(4)]
    prior = prior_of(seed + 9)
    found = limits.bayesian_limit(roots, SIGMAS, prior)
    each = torch.stack([limits.limit(root, SIGMAS, prior) for root in roots])
    assert (found <= each.mean(0) * (1 + 1e-9)).all()
    mean = sum(root.T @ root for root in roots) / 4
    root = linalg.cholesky(mean).T
    torch.testing.assert_close(found, limits.limit(root, SIGMAS, prior), rtol=1e-6, atol=1e-12)


def test_bayesian_limit_of_one_image_is_its_limit():
    root, prior = matrix(0), prior_of(1)
    found = limits.bayesian_limit([root], SIGMAS, prior)
    torch.testing.assert_close(found, limits.limit(root, SIGMAS, prior))


@pytest.mark.parametrize("roots", [[N, N // 2], [N, 2 * N]], ids=str)
def test_bayesian_limit_refuses_images_of_different_sizes(roots):
    roots = [matrix(0, columns=n) for n in roots]
    with pytest.raises(ValueError, match=r"images of one size, got roots of \d+, \d+ pixels"):
        limits.bayesian_limit(roots, 0.1, prior_of(0))


@pytest.mark.parametrize("root", [matrix(0)[0], matrix(0).tolist(), SHARED, None], ids=type)
def test_limits_refuse_what_is_no_matrix(root):
    for call in (limits.limit, lambda r, *args: limits.bayesian_limit([r], *args)):
        with pytest.raises(ValueError, match=r"is a matrix, \(k, pixels\), got (a|1 axes)"):
            call(root, 0.1, prior_of(0))


def test_bayesian_limit_refuses_one_root_instead_of_a_list():
    with pytest.raises(ValueError, match="got 1 axes"):
        limits.bayesian_limit(matrix(0), 0.1, prior_of(0))


@pytest.mark.parametrize("x_shape", [(8, 8), (3, 8, 8), 8, (1, 1, 0, 8), (1, 3, 8.0, 8), "8888"])
def test_priors_refuse_what_is_no_shape_of_images(x_shape):
    white = lambda x_shape: limits.white(coordinates.whitened, x_shape)  # noqa: E731
    for make in (limits.photographs, white):
        with pytest.raises(ValueError, match=r"of the shape \(batch, channels, height, width\)"):
            make(x_shape)


def test_bayesian_limit_needs_an_image():
    with pytest.raises(ValueError, match="got none"):
        limits.bayesian_limit([], 1.0, prior_of(0))


def test_white_of_the_coordinates_of_photographs_is_their_prior():
    shape = (1, 3, 4, 6)

    def encode(x):
        return coordinates.whitened.encode(x) / coordinates.CONTRAST**0.5

    def decode(u):
        return coordinates.whitened.decode(u * coordinates.CONTRAST**0.5)

    found = limits.white(Transform("scaled", encode, decode), shape)
    expected = limits.photographs(shape)
    torch.testing.assert_close(found.precision, expected.precision)
    torch.testing.assert_close(found.mean, expected.mean)


def test_draw_has_the_covariance_of_the_prior(seeded):
    prior = prior_of(0)._replace(mean=torch.arange(float(N)).double())
    drawn = prior.draw(40000, seeded(0))
    torch.testing.assert_close(drawn.mean(0), prior.mean, rtol=0, atol=0.03)
    expected = linalg.inv(prior.precision)
    torch.testing.assert_close(drawn.T.cov(), expected, rtol=0, atol=0.03)


def total(outputs, _):
    """A loss whose gradient is linear in the image: ∂loss/∂W = 1 xᵀ."""
    return outputs.sum()


def test_the_most_probable_image_reaches_the_limit_where_the_update_is_linear(seeded):
    """Three noisy copies of the image are sent, so no error is below 1/(P + 3/σ²) on average."""
    sigma, runs, generator = 0.3, 24, seeded(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False)).double()
    prior = limits.photographs((1, 1, 8, 8))
    x = prior.draw(runs, generator).view(-1, 1, 1, 8, 8)
    protocol = Protocol(loss=total)
    rounds = []
    for image in x:
        weights = {"1.weight": model[1].weight.detach()}
        gradient = {"1.weight": image.flatten().expand(3, 64)}
        clean = Shared(weights, gradient, (1, 1, 8, 8), protocol)
        rounds.append(defenses.defend(clean, [defenses.noise(sigma)], generator))
    result = invert(model, rounds, weighing_noise(attacks.idlg, sigma), steps=60)
    root = information_root(model, Batch(x[0], torch.tensor([0])), protocol=protocol)
    best = limits.limit(root, sigma, prior)
    errors = metrics.mse(result.x, x)
    assert float(errors.mean()) == pytest.approx(float(best), rel=0.15)
