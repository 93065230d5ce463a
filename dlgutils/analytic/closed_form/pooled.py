"""One step down through average pooling: a convolution, its activation and the pool as one.

A pool leaves the means of windows, so the activation below it cannot be inverted unit by unit. But
what entered the convolution is still met by two systems of equations. With f the activation, a the
pooled values, d = ∂loss/∂a, and P u the patches of u,

    pool(f(W (P u) + b)) = a                 (out, windows);
    δ (P u)ᵀ = ∂loss/∂W                      (out, taps), δ = f′(W (P u) + b) · poolᵀ(d).

They are not linear in u, but smooth, and solved by Newton's method for least squares (Gauss–Newton,
with damping where a step overshoots), from the mean of the prior: five or six steps as a rule.

Max-pooling is not smooth, nor is a ReLU under an average. Which unit of a window is passed on, or
is on, is unknown too, and from grey the same steps end in a wrong choice. Where equations are
hardly more than unknowns, they may end in a wrong minimum here too, and leave a large residual.
"""

from typing import NamedTuple

from torch import Tensor, nn

from dlgutils.analytic.closed_form.factor import factorise
from dlgutils.analytic.closed_form.prior import Prior, prior_of
from dlgutils.analytic.closed_form.records import Layer, Measured, Message, Step
from dlgutils.analytic.closed_form.solver import Estimate, describe
from dlgutils.analytic.closed_form.windows import (
    Point,
    Pooled,
    grad_error_at,
    jacobian_at,
    point_at,
    precision_at,
)

_DAMPING = (0.0, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0)  # of a step, in units of the equations


class Normal(NamedTuple):
    """The least-squares problem near one point."""

    at: Point
    precision: Tensor  # (equations,)
    matrix: Tensor  # (n, n): the normal matrix of the equations


def normal_at(block: Pooled, at: Point) -> tuple[Normal, Tensor]:
    """The normal matrix at a point, and minus the gradient of half the squared errors, (n,)."""
    precision = precision_at(block, at)
    root = precision.sqrt()
    weighted = jacobian_at(block, at) * root
    downhill = weighted @ (root * at.residual)
    return Normal(at, precision, weighted @ weighted.T), downhill


def gauss_newton(block: Pooled, prior: Prior) -> Normal:
    """The least-squares problem at its minimum, found from the mean of the prior.

    It may be a local one, where the equations are few: then they leave a large residual.
    """
    at = point_at(block, prior.mean)
    for _ in range(30):
        normal, downhill = normal_at(block, at)
        downhill = downhill - prior.gradient(at.u)
        following = _step(block, prior, normal, downhill)
        if following is None:
            break
        at = following
    return normal


# The last steps change nothing but the rounding: an error that does not fall by a thousandth at any
# damping is at its minimum.
def _step(block: Pooled, prior: Prior, normal: Normal, downhill: Tensor) -> Point | None:
    """The first of several steps, each more careful, that lowers the error; None: none does."""

    def error(at: Point) -> float:
        of_prior = (at.u - prior.mean) @ prior.gradient(at.u)
        return float((normal.precision * at.residual.square()).sum() + of_prior)

    now = error(normal.at)
    ratio = float(normal.matrix.diagonal().mean() / prior.diagonal().mean())
    for damping in _DAMPING:
        stronger = prior.stronger(1 + damping * ratio)
        factorised = factorise(normal.matrix.clone(), stronger)
        change = factorised.solve(downhill[:, None])[:, 0]
        following = point_at(block, normal.at.u + change)
        if error(following) < 0.999 * now:
            return following
    return None


def invert_pooled(
    step: Step, below: nn.Module | None, measured: Measured, above: Message
) -> tuple[Layer, Message]:
    """The record of a pooled convolution, and what is below it.

    Args:
        step: an `nn.Sequential` of the convolution, its activation if it has one, and the pool.
        below: the activation that u left; None: u is the image.
        measured: the shared gradient.
        above: what is known about the output of the pool.
    """
    conv, *between, pool = step.module
    activation = between[0] if between else nn.Identity()
    gradient = measured.gradient[f"{step.name}.weight"].flatten(1)
    block = Pooled(conv, activation, pool, step.shape, gradient, above, measured)
    prior = prior_of(below, above.value, step.shape)
    at, precision, matrix = gauss_newton(block, prior)
    estimate = describe(at.u, matrix.matmul, prior, factorise(matrix.clone(), prior))
    equations = int((precision > 0).sum())
    mean_square = (precision * at.residual.square()).sum() / max(equations, 1)
    layer = Layer(
        name=step.name,
        equations=equations,
        unknowns=len(at.u),
        rank=estimate.rank,
        condition=estimate.condition,
        residual=float(mean_square.sqrt()),
        u=at.u.view(1, *step.shape),
    )
    return layer, _message(block, at, estimate)


def _message(block: Pooled, at: Point, estimate: Estimate) -> Message:
    """What is below a pooled convolution; ∂loss/∂u is its transpose, applied to δ."""
    wrong = grad_error_at(block, at)
    variance = block.fold(block.weight.T.square() @ wrong.square())
    return Message(
        value=estimate.u,
        error=estimate.error,
        grad_output=block.fold(block.weight.T @ at.grad_output),
        grad_error=variance.sqrt(),
    )
