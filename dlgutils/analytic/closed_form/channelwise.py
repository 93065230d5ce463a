"""The normal matrix of a hidden convolution, factorised channel by channel.

Where the prior treats every unit by itself, the precision of u is

    M = K + AᵀA,    K = block diagonal over the channels: the gradient's block + the prior,

with A the m equations of the convolution itself, each divided by its error. They are few beside the
n unknowns: 768 at most and 3 072 in the LeNet. By the formula of Sherman, Morrison and Woodbury

    M⁻¹ = K⁻¹ − K⁻¹Aᵀ (1 + A K⁻¹Aᵀ)⁻¹ A K⁻¹,

which takes small matrices only: a fifth to a tenth of the time of Cholesky for M as a whole.

But digits cancel in it, up to all but one, where the gradient alone leaves much of u open. So it is
no solution but a guide, for conjugate gradients: their residuals come from the equations
themselves, two to ten steps are enough, and what no guide helps with is left to `factor`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor, linalg

from dlgutils.analytic.closed_form import normal
from dlgutils.analytic.closed_form.equations import Equations
from dlgutils.analytic.closed_form.factor import strength_of
from dlgutils.analytic.closed_form.prior import Prior

_STEPS = 12  # of conjugate gradients at most
_TOLERANCE = 1e-10
_TRUSTED = 1e-6  # relative error of a trial solution up to which a guide is trusted

Linear = Callable[[Tensor], Tensor]


class Parts(NamedTuple):
    """What M consists of, without a barrier."""

    equations: Equations
    prior: Prior  # diagonal
    strength: float  # how many times stronger it is in M
    rows: Tensor  # (m, channels, pixels): A
    block: Tensor  # (pixels, pixels): of the gradient, for each channel

    def factorise(self, barrier: Tensor | None = None) -> "Channelwise | None":
        """M + diag(barrier) with what guides its solution; None: no trustworthy guide.

        barrier: (n,), not negative.
        """
        diagonal = self.strength * self.prior.diagonal()
        if barrier is not None:
            diagonal = diagonal + barrier
        try:
            found = _factorise(self, diagonal)
        except linalg.LinAlgError:
            return None
        return found if found.is_trustworthy() else None


class Channelwise(NamedTuple):
    """M = K + AᵀA by its parts; `_factorise` makes it."""

    parts: Parts
    diagonal: Tensor  # (n,): prior and barrier
    factor: Tensor  # (channels, pixels, pixels): L with L Lᵀ = K
    explained: Tensor  # (n, m): L⁻¹Aᵀ
    inner: Tensor  # (m, m): the Cholesky factor of 1 + A K⁻¹Aᵀ

    @property
    def strength(self) -> float:
        """How many times stronger the prior is in M."""
        return self.parts.strength

    def times(self, v: Tensor) -> Tensor:
        """M times some vectors, (n, k)."""
        return normal.normal_times(self.parts.equations, v) + self.diagonal[:, None] * v

    def solve(self, right: Tensor, tolerance: float = _TOLERANCE) -> Tensor:
        """M⁻¹ right, (n, k). tolerance: relative error of each column, as M measures it."""
        return conjugate_gradients(self.times, self._guess, right, tolerance)

    def _guess(self, right: Tensor) -> Tensor:
        """M⁻¹ right, (n, k), as far as the formula keeps its digits."""
        channels, pixels, _ = self.factor.shape
        half = linalg.solve_triangular(self.factor, right.view(channels, pixels, -1), upper=False)
        half = half.flatten(0, 1)
        of_z = linalg.solve_triangular(self.inner, self.explained.T @ half, upper=False)
        half -= self.explained @ linalg.solve_triangular(self.inner.T, of_z, upper=True)
        half = half.view(channels, pixels, -1)
        return linalg.solve_triangular(self.factor.mT, half, upper=True).flatten(0, 1)

    def is_trustworthy(self) -> bool:
        """Whether a solution that is known is found."""
        generator = Generator().manual_seed(0)
        known = torch.randn(len(self.diagonal), 1, generator=generator, dtype=torch.float64)
        known = known.to(self.diagonal)
        right = self.times(known)
        wrong = self.solve(right, _TRUSTED / 10) - known
        squared = (wrong * self.times(wrong)).sum()
        return bool(squared <= _TRUSTED**2 * (known * right).sum())

    # A random right side of covariance M gives solutions of covariance M⁻¹ M M⁻¹ = M⁻¹.
    def draw(self, count: int, generator: Generator) -> Tensor:
        """Random vectors of covariance M⁻¹, (n, count), to a hundredth. generator: on the CPU."""
        equations = self.parts.equations
        each = equations.z.numel() + equations.gradient.numel()
        n = torch.randn(
            each + len(self.diagonal), count, generator=generator, dtype=torch.float64
        ).to(self.diagonal)
        right = normal.pull(equations, n[:each]) + self.diagonal.sqrt()[:, None] * n[each:]
        return self.solve(right, 1e-2)

    # With D the prior, it is tr(K⁻¹D) less ‖(1 + A K⁻¹Aᵀ)^(−½) A K⁻¹ D^½‖²: neither exceeds n.
    def count_guessed(self) -> float:
        """The trace of M⁻¹ · strength · P: how many directions the prior decides."""
        weak = self.strength * self.parts.prior.diagonal()
        root = weak.sqrt().view(*self.factor.shape[:2], 1)
        alone = linalg.solve_triangular(self.factor, torch.diag_embed(root[..., 0]), upper=False)
        explained = self.explained.view(*self.factor.shape[:2], -1)
        sent = root * linalg.solve_triangular(self.factor.mT, explained, upper=True)
        of_z = linalg.solve_triangular(self.inner, sent.flatten(0, 1).T, upper=False)
        return float(alone.square().sum() - of_z.square().sum())


def parts_of(equations: Equations, prior: Prior) -> Parts | None:
    """The parts of M, if they are worth it: a diagonal prior, and few equations of the convolution.

    Otherwise None.
    """
    known = int((equations.z_precision > 0).sum())
    if not prior.is_diagonal or 3 * known**2 > equations.unknowns**2:
        return None
    rows = normal.rows_of_z(equations)
    block = normal.block_of_gradient(equations)
    diagonal = rows.square().sum(0).view(-1, len(block)) + block.diagonal()
    strength = strength_of(prior, float(diagonal.max()))
    rows = rows.view(-1, equations.shape[0], len(block))
    return Parts(equations, prior, strength, rows, block)


def _factorise(parts: Parts, diagonal: Tensor) -> Channelwise:
    channels, pixels = parts.rows.shape[1:]
    matrix = parts.block.repeat(channels, 1, 1)
    matrix.diagonal(dim1=1, dim2=2).add_(diagonal.view(channels, pixels))
    factor = linalg.cholesky(matrix)
    rows = parts.rows.permute(1, 2, 0)
    explained = linalg.solve_triangular(factor, rows, upper=False).flatten(0, 1)
    inner = explained.T @ explained
    inner.diagonal().add_(1)
    return Channelwise(parts, diagonal, factor, explained, linalg.cholesky(inner))


# Each column by itself, but all together. The squared error, as M measures it, falls by step · the
# product of residual and guess; where that is nothing beside the whole, the column is finished.
def conjugate_gradients(times: Linear, guess: Linear, right: Tensor, tolerance: float) -> Tensor:
    """M⁻¹ right, (n, k), by at most `_STEPS` steps.

    Args:
        times: M times (n, k).
        guess: roughly M⁻¹ times (n, k).
        right: (n, k).
        tolerance: the relative error of each column at which it ends.
    """
    tiny = torch.finfo(right.dtype).tiny
    x = torch.zeros_like(right)
    residual = right
    direction = guessed = guess(residual)
    product = (residual * guessed).sum(0)
    for _ in range(_STEPS):
        sent = times(direction)
        step = product / (direction * sent).sum(0).clamp(min=tiny)
        x = x + step * direction
        fallen = step * product
        if (fallen <= tolerance**2 * (x * right).sum(0)).all():
            break
        residual = residual - step * sent
        guessed = guess(residual)
        following = (residual * guessed).sum(0)
        direction = guessed + following / product.clamp(min=tiny) * direction
        product = following
    return x
