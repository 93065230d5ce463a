"""Least squares over u ≥ 0, by Mehrotra's interior point method (1992, doi:10.1137/0802028).

At the minimum of f over u ≥ 0 there are multipliers y: for a unit at the bound the derivative of f,
which would fall further below it, and zero for all others:

    ∇f(u) = y,    u ≥ 0,    y ≥ 0,    uᵢ yᵢ = 0.

Half of the units are zero, and which ones is not known; trying all sets is hopeless. Instead a
barrier −μ Σ log uᵢ is added to f, which keeps all u positive. Its minimum is where the derivative
∇f(u) − μ/u is zero: as above, but with uᵢ yᵢ = μ. As μ falls, it moves towards the answer along a
smooth curve, the central path, and Newton steps for u and y together follow it.

Here f is the squared error with its prior, of second derivative M (nearly: of `factorise`).
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dlgutils.analytic.closed_form.equations import Equations
from dlgutils.analytic.closed_form.prior import Prior

Solve = Callable[[Tensor], Tensor]


class Factor(Protocol):
    """A matrix that can be solved: `factor.Factorised` or `channelwise.Channelwise`."""

    def solve(self, right: Tensor) -> Tensor:
        """The inverse of the matrix times (n, k)."""


class Iterate(NamedTuple):
    """A point near the central path, with what its Newton steps need."""

    u: Tensor  # (n,), positive
    y: Tensor  # (n,), positive
    gradient: Tensor  # (n,): ∇f(u)
    solve: Solve  # (M + diag(y/u))⁻¹ times (n, k)

    # Newton on both equations, ∇f(u) = y and u y = target:
    #     M du − dy = y − ∇f(u),    y du + u dy = target − u y.
    # The second gives dy = (target − y du)/u − y, and with that the first becomes
    # (M + diag(y/u)) du = target/u − ∇f(u).
    def newton_step(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """The changes of u and y, both (n,), after which u y = target, to first order."""
        right = target / self.u - self.gradient
        du = self.solve(right[:, None])[:, 0]
        dy = (target - self.y * du) / self.u - self.y
        return du, dy


def nonnegative(
    equations: Equations, prior: Prior, factorise: Callable[[Tensor], Factor], u: Tensor
) -> tuple[Tensor, Factor]:
    """The minimum over u ≥ 0, (n,), and the precision of u there, factorised.

    At the minimum diag(y/u) is part of that precision: next to nothing for a free unit, and so
    large for a unit at the bound that hardly any error is left.

    Args:
        equations: of the convolution that u enters.
        prior: of u.
        factorise: M + diag(barrier) in a form that can be solved, of a barrier, (n,), with M the
            second derivative of squared error and prior, or nearly that.
        u: (n,), the minimum without the bound.
    """
    if not u.any():  # noise has covered the equations, and zero is what the prior says
        return u, factorise(torch.zeros_like(u))

    def gradient_at(u: Tensor) -> Tensor:
        return prior.gradient(u) - equations.negative_gradient(u)

    # Start with all of u and y positive, and their products of about the same size.
    largest = float(u.abs().max())
    u = u.clamp(min=0.03 * largest)
    gradient = gradient_at(u)
    size = (gradient.abs() * u).mean()
    y = gradient.clamp(min=0) + 0.01 * size / u
    before = math.inf
    for _ in range(60):  # 10 to 30 as a rule, up to 50 for exact gradients in float64
        factorised = factorise(y / u)
        gap = float((u * y).mean())
        if gap < 1e-3:  # f is then within n/1000 of its minimum, in squared standard errors
            break
        if before / 2 < gap < 0.1:  # within n/10, and what is left is rounding
            break
        before = gap
        u, y = mehrotra_step(Iterate(u, y, gradient, factorised.solve))
        gradient = gradient_at(u)
    return u, factorised


# The predictor aims at the end of the path at once, uᵢ yᵢ = 0. How far it can go, u and y each
# until an entry becomes zero, shows how hard that is: compare the mean of u y there, `reachable`,
# with the mean now, `gap`. The corrector then aims at a point on the path with μ = (reachable/gap)³
# gap: near the end if the predictor got far, near the present gap if not, so that the step leads
# back to the middle. It also makes up for what the predictor neglected: (u + du)(y + dy) has a
# second-order term du dy, which is taken off the target.
#
# The step length: u and y go the same way, since M couples them, and at most 0.995 of the way to
# the boundary, since nothing may reach it before the end.
def mehrotra_step(now: Iterate) -> tuple[Tensor, Tensor]:
    """The next u and y, both (n,) and positive."""
    u, y = now.u, now.y
    gap = (u * y).mean()
    du, dy = now.newton_step(torch.zeros_like(u))
    ahead_u = u + _step_to_boundary(u, du) * du
    ahead_y = y + _step_to_boundary(y, dy) * dy
    reachable = (ahead_u * ahead_y).mean()
    on_path = (reachable / gap) ** 3 * gap
    du, dy = now.newton_step(on_path - du * dy)
    length = 0.995 * min(_step_to_boundary(u, du), _step_to_boundary(y, dy))
    return u + length * du, y + length * dy


def _step_to_boundary(v: Tensor, step: Tensor) -> float:
    """The share of a step, at most 1, after which the first entry of v > 0 becomes zero."""
    lengths = torch.where(step < 0, -v / step, math.inf)
    return min(1.0, float(lengths.min()))
