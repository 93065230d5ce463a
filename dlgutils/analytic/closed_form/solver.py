"""Least squares with a prior: the input of a convolution, its errors, and how much of it is known.

With N the normal matrix of the equations, and m and P the mean and the precision of the prior, u
minimises

    ½ Σ precision · residual² + ½ (u − m)ᵀ P (u − m),

whose second derivative is N + P: what is known about u is a normal distribution of that precision.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor, linalg

from dlgutils.analytic.closed_form.channelwise import Channelwise, parts_of
from dlgutils.analytic.closed_form.equations import Equations
from dlgutils.analytic.closed_form.factor import Factorised, factorise
from dlgutils.analytic.closed_form.interior_point import nonnegative
from dlgutils.analytic.closed_form.normal import normal_matrix, normal_times
from dlgutils.analytic.closed_form.prior import Prior

_SAMPLES = 32  # random images that measure the errors of a solution
_REFINEMENTS = 60  # steps at most
_EXTREMES = 16  # vectors that turn towards the extreme eigenvalues

AnyFactor = Factorised | Channelwise
"""A matrix M = N + strength · P that can be solved, as a whole or channel by channel."""


class Estimate(NamedTuple):
    """The input of a convolution, as equations and prior together determine it."""

    u: Tensor  # (unknowns,)
    error: Tensor  # (unknowns,): standard errors
    rank: int  # directions about which the equations say more than the prior
    condition: float  # of the equations, each divided by its error; inf: not of full rank


def solve(equations: Equations, prior: Prior, *, positive: bool) -> Estimate:
    """The u that fits equations and prior best, with its errors.

    positive: whether u is known not to be negative, which is used where the equations do not
    suffice: half of what leaves a ReLU is zero, and that often determines the rest.
    """
    parts = parts_of(equations, prior)

    def factorised_with(barrier: Tensor | None) -> AnyFactor:
        found = parts and parts.factorise(barrier)
        return found or factorise(normal_matrix(equations), prior, barrier)

    factorised = factorised_with(None)
    u = iterative_refinement(equations, prior, factorised)
    found = describe(u, partial(normal_times, equations), prior, factorised)
    if positive and math.isinf(found.condition):
        del factorised  # so that there is one at a time
        u, factorised = nonnegative(equations, prior, factorised_with, u)
        samples = posterior_samples(prior, factorised)
        return found._replace(u=u, error=_standard_error(samples))
    return found


def describe(
    u: Tensor, times: Callable[[Tensor], Tensor], prior: Prior, factorised: AnyFactor
) -> Estimate:
    """The minimum u of squared error and prior, with its errors, rank and condition.

    Args:
        u: (n,).
        times: the normal matrix of the equations, (n, n), times (n, k).
        prior: of u.
        factorised: of both.
    """
    samples = posterior_samples(prior, factorised)
    if _estimate_guessed(prior, samples) < 0.5:
        ratio = condition(times, factorised, samples)
        return Estimate(u, _standard_error(samples), len(u), ratio)
    rank = len(u) - round(factorised.count_guessed())
    return Estimate(u, _standard_error(samples), rank, math.inf)


# Conjugate gradients, guided by M⁻¹. The slope is computed with the true prior and from the
# equations themselves, not from N, so that neither the stronger prior nor the rounding of N is in
# the answer; it is where that slope vanishes. Where the equations say more than the stronger prior,
# and where only the prior speaks, two steps are enough; directions in between, of which gradients
# in float64 have many, take up to forty.
def iterative_refinement(equations: Equations, prior: Prior, factorised: AnyFactor) -> Tensor:
    """The minimum of squared error and prior, (unknowns,)."""
    u = prior.mean
    direction = torch.zeros_like(u)
    before = math.inf
    for _ in range(_REFINEMENTS):
        downhill = equations.negative_gradient(u) - prior.gradient(u)
        guess = factorised.solve(downhill[:, None])[:, 0]
        product = float(downhill @ guess)
        if product <= 0:
            break
        direction = guess + product / before * direction
        column = direction[:, None]
        curvature = column.T @ (normal_times(equations, column) + prior.times(column))
        step = (downhill @ direction) / curvature[0, 0] * direction
        u = u + step
        before = product
        if step.norm() <= 1e-9 * u.norm():
            break
    return u


# Samples of covariance M⁻¹ have that of u, if the prior is as strong as in M = N + sP. Where the
# equations say nothing, M is sP, and the samples are √s times too small. There the correction
# s M⁻¹P is one, and adding √s − 1 of it makes them as large as the true prior says; where the
# equations say all, sM⁻¹P is zero and leaves them alone.
def posterior_samples(prior: Prior, factorised: AnyFactor) -> Tensor:
    """Random errors of u, (n, samples): normal, with the covariance of u."""
    samples = factorised.draw(_SAMPLES, Generator().manual_seed(0))
    strength = factorised.strength
    if strength == 1:
        return samples
    excess = math.sqrt(strength) - 1
    correction = factorised.solve(strength * prior.times(samples), 0.01 / (1 + excess))
    return samples + excess * correction


# Inverse iteration turns a block of vectors towards the eigenvectors of the smallest eigenvalues of
# N, as M⁻¹ stretches them most, and iteration with N itself towards those of the largest. Within
# each block the extreme eigenvalue is taken from a small matrix (Rayleigh–Ritz). The eigenvalues of
# N are the squared singular values of the equations.
def condition(times: Callable[[Tensor], Tensor], factorised: AnyFactor, samples: Tensor) -> float:
    """Largest over smallest singular value of the equations, to a few per cent: their condition.

    Args:
        times: the normal matrix N, (n, n), times (n, k).
        factorised: M.
        samples: (n, k), any k vectors to start from.
    """
    small = large = samples[:, :_EXTREMES]
    for _ in range(2):
        small = linalg.qr(factorised.solve(small, 0.01)).Q
        large = linalg.qr(times(large)).Q
    smallest = linalg.eigvalsh(small.T @ times(small))[0]
    largest = linalg.eigvalsh(large.T @ times(large))[-1]
    tiny = torch.finfo(samples.dtype).tiny
    ratio = largest / smallest.clamp(min=tiny)
    return math.sqrt(float(ratio))


# How many directions does the prior decide? It is the trace of M⁻¹ sP, in which a direction counts
# 1 if only the prior speaks about it, and 0 if only the equations do. Since the samples ε have the
# covariance M⁻¹, or with the correction that of the true prior, the mean of εᵀPε estimates it: well
# enough to see that it is zero, not to a whole number; the trace itself takes longer.
def _estimate_guessed(prior: Prior, samples: Tensor) -> float:
    """About how many directions the prior decides, from posterior samples."""
    squares = samples * prior.times(samples)
    return float(squares.sum()) / _SAMPLES


def _standard_error(samples: Tensor) -> Tensor:
    return samples.square().mean(1).sqrt()
