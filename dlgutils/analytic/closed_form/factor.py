"""The Cholesky factor of a large matrix, in place, and what is solved with it, without a copy.

PyTorch's own functions copy the matrix once or twice a call: at 3 072 unknowns
`torch.cholesky_solve` takes twenty times as long as its arithmetic.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor, linalg

from dlgutils.analytic.closed_form.prior import Prior

_BLOCK = 192  # columns at a time; 128 to 384 take about as long
_ROUNDING = 2e-14  # of Cholesky in float64, relative to the largest entry: 100 ulp


class Factorised(NamedTuple):
    """M = N + strength · P, N the normal matrix, P the precision of the prior; see `factorise`."""

    factor: Tensor  # (n, n): L with L Lᵀ = M, on and below the diagonal
    prior: Prior
    strength: float  # how many times stronger the prior is in M

    def solve(self, right: Tensor, tolerance: float = 0.0) -> Tensor:
        """M⁻¹ right, (n, k), to rounding, whatever the tolerance."""
        half = linalg.solve_triangular(self.factor, right, upper=False)
        return linalg.solve_triangular(self.factor.T, half, upper=True)

    # With M = L Lᵀ and n standard normal, L⁻ᵀ n has the covariance L⁻ᵀ L⁻¹ = M⁻¹.
    def draw(self, count: int, generator: Generator) -> Tensor:
        """Random vectors of covariance M⁻¹, (n, count). generator: on the CPU."""
        n = torch.randn(len(self.factor), count, generator=generator, dtype=torch.float64)
        return linalg.solve_triangular(self.factor.T, n.to(self.factor), upper=True)

    # With P = R Rᵀ it is the trace of L⁻ᵀ L⁻¹ R Rᵀ, which is ‖L⁻¹ R‖².
    def count_guessed(self) -> float:
        """The trace of M⁻¹ · strength · P: how many directions the prior decides."""
        share = divide_(self.prior.root(), self.factor)
        return self.strength * float(share.norm()) ** 2


# Errors of equations and of the prior differ by many orders of magnitude. Cholesky rounds each
# entry of N + P relative to the largest one; a prior below that would be lost, and the matrix might
# not be positive definite where only the prior speaks. So the prior is made stronger in the matrix
# that is factorised, until it stands clear of rounding, and nowhere else: the matrix only guides
# the solver.
def strength_of(prior: Prior, largest: float) -> float:
    """The smallest strength of a prior that rounding does not hide.

    largest: the largest entry of the normal matrix.
    """
    weakest = float(prior.diagonal().min())
    return max(1.0, _ROUNDING * largest / weakest)


def factorise(normal: Tensor, prior: Prior, barrier: Tensor | None = None) -> Factorised:
    """N + strength · P + diag(barrier) with its factor, which takes the place of N.

    normal: N, (n, n); it is overwritten. barrier: (n,), not negative; None: without.
    """
    strength = strength_of(prior, float(normal.diagonal().max()))
    prior.add_to(normal, strength)
    if barrier is not None:
        normal.diagonal().add_(barrier)
    return Factorised(cholesky_(normal), prior, strength)


# Column by column, in blocks: what the columns before explain is taken off, the square on the
# diagonal is factorised, and what is below is divided by that.
def cholesky_(matrix: Tensor) -> Tensor:
    """L with L Lᵀ = matrix, (n, n), on and below the diagonal of the matrix itself.

    What is above the diagonal keeps no meaning. Raises torch.linalg.LinAlgError where the matrix is
    not positive definite.
    """
    n = len(matrix)
    for start in range(0, n, _BLOCK):
        size = min(_BLOCK, n - start)
        columns = matrix[start:, start : start + size]
        before = matrix[start:, :start]
        columns.addmm_(before, before[:size].T, alpha=-1)
        square = linalg.cholesky(columns[:size])
        columns[:size] = square
        below = columns[size:]
        below.copy_(linalg.solve_triangular(square, below.T, upper=False).T)
    return matrix


# Row by row, in blocks: what the rows before send to it is taken off, and the rest divided by the
# square on the diagonal. Zeros above the diagonal are neither read nor written.
def divide_(root: Tensor, factor: Tensor) -> Tensor:
    """L⁻¹ R, which takes the place of R; both are lower triangular.

    root: R, (n, n), zero above the diagonal. factor: L, (n, n), as `cholesky_` leaves it.
    """
    n = len(root)
    for start in range(0, n, _BLOCK):
        end = min(start + _BLOCK, n)
        for left in range(0, start, _BLOCK):
            columns = slice(left, left + _BLOCK)
            before = root[left:start, columns]
            root[start:end, columns].addmm_(factor[start:end, left:start], before, alpha=-1)
        rows = root[start:end, :end]
        square = factor[start:end, start:end]
        rows.copy_(linalg.solve_triangular(square, rows, upper=False))
    return root
