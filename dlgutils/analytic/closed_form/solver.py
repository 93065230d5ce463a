"""Least squares with a prior: the input of a convolution, its errors, and how much of it is known.

With N the normal matrix of the equations, and m and P the mean and the precision of the prior, u
minimises

    ½ Σ precision · residual² + ½ (u − m)ᵀ P (u − m),

whose second derivative is N + P: what is known about u is a normal distribution of that precision.
"""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor, linalg

from dlgutils.analytic.closed_form.equations import Equations
from dlgutils.analytic.closed_form.interior_point import nonnegative
from dlgutils.analytic.closed_form.prior import Prior

_SAMPLES = 32  # random images that measure the errors of a solution
_ROUNDING = 2e-14  # of Cholesky in float64, relative to the largest entry: 100 ulp


class Estimate(NamedTuple):
    """The input of a convolution, as equations and prior together determine it."""

    u: Tensor  # (unknowns,)
    error: Tensor  # (unknowns,): standard errors
    rank: int  # directions about which the equations say more than the prior
    condition: float  # of the equations, each divided by its error; inf: not of full rank


class Factorised(NamedTuple):
    """M = N + strength · P and its Cholesky factor; see `factorise`."""

    matrix: Tensor  # (n, n)
    factor: Tensor  # (n, n): lower triangular L with L Lᵀ = M
    strength: float  # how many times stronger the prior is in M

    def solve(self, right: Tensor) -> Tensor:
        """M⁻¹ right, (n, k)."""
        return torch.cholesky_solve(right, self.factor)


def solve(equations: Equations, prior: Prior, *, positive: bool) -> Estimate:
    """The u that fits equations and prior best, with its errors.

    positive: whether u is known not to be negative, which is used where the equations do not
    suffice: half of what leaves a ReLU is zero, and that often determines the rest.
    """
    normal = equations.normal_matrix()
    factorised = factorise(normal, prior)
    u = iterative_refinement(equations, prior, factorised)
    found = describe(u, normal, prior, factorised)
    if positive and math.isinf(found.condition):
        u, factor = nonnegative(equations, prior, factorised.matrix, u)
        samples = posterior_samples(prior, factorised._replace(factor=factor))
        return found._replace(u=u, error=_standard_error(samples))
    return found


def describe(u: Tensor, normal: Tensor, prior: Prior, factorised: Factorised) -> Estimate:
    """The minimum u of squared error and prior, with its errors, rank and condition.

    Args:
        u: (n,).
        normal: (n, n), of the equations.
        prior: of u.
        factorised: of both.
    """
    samples = posterior_samples(prior, factorised)
    if _estimate_guessed(prior, samples) < 0.5:
        ratio = condition(normal, factorised, samples)
        return Estimate(u, _standard_error(samples), len(u), ratio)
    rank = len(u) - round(_count_guessed(prior, factorised))
    return Estimate(u, _standard_error(samples), rank, math.inf)


# Errors of equations and of the prior differ by many orders of magnitude. Cholesky rounds each
# entry of N + P relative to the largest one; a prior below that would be lost, and the matrix might
# not be positive definite where only the prior speaks. So the prior is made stronger in the matrix
# that is factorised, until it stands clear of rounding, and nowhere else: the matrix only guides
# the solver.
def factorise(normal: Tensor, prior: Prior) -> Factorised:
    """The matrix N + strength · P, with the smallest strength that rounding does not hide."""
    rounding = _ROUNDING * normal.diagonal().max()
    weakest = prior.precision.diagonal().min()
    strength = max(1.0, float(rounding / weakest))
    matrix = torch.add(normal, prior.precision, alpha=strength)
    return Factorised(matrix, linalg.cholesky(matrix), strength)


# Newton's method: the gradient is computed with the true prior and from the equations themselves,
# not from N, so that neither the stronger prior nor the rounding of N is in the answer; it is where
# that gradient vanishes. With M = N + sP each step leaves M⁻¹(s − 1)P of the distance. That is next
# to nothing where the equations say more than the stronger prior; and where only the prior speaks
# there is nothing to correct, since u starts at its mean.
def iterative_refinement(equations: Equations, prior: Prior, factorised: Factorised) -> Tensor:
    """The minimum of squared error and prior, (unknowns,)."""
    u = prior.mean
    for _ in range(8):
        downhill = equations.negative_gradient(u) - prior.gradient(u)
        step = factorised.solve(downhill[:, None])[:, 0]
        u = u + step
        if step.norm() <= 1e-9 * u.norm():
            break
    return u


# With M = L Lᵀ and n standard normal, L⁻ᵀ n has the covariance L⁻ᵀ L⁻¹ = M⁻¹: that of u, if the
# prior is as strong as in M = N + sP. Where the equations say nothing, M is sP, and the samples are
# √s times too small. There the correction s M⁻¹P is one, and adding √s − 1 of it makes them as
# large as the true prior says; where the equations say all, sM⁻¹P is zero and leaves them alone.
def posterior_samples(prior: Prior, factorised: Factorised) -> Tensor:
    """Random errors of u, (n, samples): normal, with the covariance of u."""
    _, factor, strength = factorised
    generator = Generator().manual_seed(0)
    shape = (len(factor), _SAMPLES)
    n = torch.randn(shape, generator=generator, dtype=torch.float64)
    samples = linalg.solve_triangular(factor.T, n.to(factor), upper=True)
    if strength == 1:
        return samples
    correction = factorised.solve(strength * (prior.precision @ samples))
    return samples + (math.sqrt(strength) - 1) * correction


# Inverse iteration turns a block of vectors towards the eigenvectors of the smallest eigenvalues of
# N, as M⁻¹ stretches them most, and iteration with N itself towards those of the largest. Within
# each block the extreme eigenvalue is taken from a small matrix (Rayleigh–Ritz). The eigenvalues of
# N are the squared singular values of the equations.
def condition(normal: Tensor, factorised: Factorised, samples: Tensor) -> float:
    """Largest over smallest singular value of the equations, to a few per cent: their condition.

    samples: (n, k), any k vectors to start from.
    """
    small = large = samples
    for _ in range(2):
        small = linalg.qr(factorised.solve(small)).Q
        large = linalg.qr(normal @ large).Q
    smallest = linalg.eigvalsh(small.T @ normal @ small)[0]
    largest = linalg.eigvalsh(large.T @ normal @ large)[-1]
    tiny = torch.finfo(normal.dtype).tiny
    ratio = largest / smallest.clamp(min=tiny)
    return math.sqrt(float(ratio))


# How many directions does the prior decide? It is the trace of M⁻¹ sP, in which a direction counts
# 1 if only the prior speaks about it, and 0 if only the equations do. Since the samples ε have the
# covariance M⁻¹, or with the correction that of the true prior, the mean of εᵀPε estimates it: well
# enough to see that it is zero, not to a whole number. The trace itself takes n³ multiplications.
def _estimate_guessed(prior: Prior, samples: Tensor) -> float:
    """About how many directions the prior decides, from posterior samples."""
    squares = samples * (prior.precision @ samples)
    return float(squares.sum()) / _SAMPLES


def _count_guessed(prior: Prior, factorised: Factorised) -> float:
    """How many directions the prior decides."""
    inverse = torch.cholesky_inverse(factorised.factor)
    trace = float((prior.precision * inverse).sum())
    return factorised.strength * trace


def _standard_error(samples: Tensor) -> Tensor:
    return samples.square().mean(1).sqrt()
