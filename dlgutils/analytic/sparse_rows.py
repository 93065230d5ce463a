"""The search for combinations of a matrix's rows with many zeros.

A matrix G of rank B has the singular value decomposition U S Vᵀ. The rows of Vᵀ span what the rows
of G span, so every combination of the rows of G is w @ Vᵀ for B numbers w. `find_sparse` looks for
the w of length one that make many entries zero, in two stages:

1. A first guess says which entries may be zero. If the sparse rows behind G had their zeros drawn
   independently, `fast_ica` comes near all of them at once; a random w may come near one.
2. `concentration_steps` takes the smallest entries, makes them smaller, and takes the smallest
   again.

Rounding. Let column j of G have the length g_j and each number the relative error ε, so that the
error of the column has a length of about ε g_j. Row k of Vᵀ is u_kᵀ G / s_k, so w @ Vᵀ is
(w / s)ᵀ Uᵀ G, and the error of its entry j is at most ‖w / s‖ ε g_j, since the columns of U are
orthonormal. An entry below four times this bound counts as zero: the bound is of first order, and G
itself is a sum that was rounded more than once; 1e-12 is added for the decomposition. A combination
is known less well the more it draws on small singular values.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dlgutils.analytic.fast_ica import WORK_EPS, fast_ica

_ROWS_TRIED = 200  # first guesses in all; each start of the search has one for every row
_STEPS = 100  # at most, of an iteration that ends by itself before


class RowSpace(NamedTuple):
    """All combinations of a matrix's rows: w @ basis, for w of shape (rank,)."""

    basis: Tensor  # (rank, columns), float64: orthogonal, each row of length √columns when complete
    singular_values: Tensor  # (rank,): of the matrix, divided by √columns
    column_norms: Tensor  # (columns,): lengths of the columns of the matrix
    eps: float  # relative error of the numbers in the matrix

    def select(self, columns: Tensor) -> "RowSpace":
        """The same combinations in these columns only: (columns,) bool."""
        basis = self.basis[:, columns]
        norms = self.column_norms[columns]
        return self._replace(basis=basis, column_norms=norms)

    def first(self, rank: int) -> "RowSpace":
        """The combinations of the strongest directions only."""
        return self._replace(basis=self.basis[:rank], singular_values=self.singular_values[:rank])

    def rounding(self, w: Tensor) -> Tensor:
        """How much of each entry of w @ basis may be rounding: (..., columns).

        w: (..., rank), of length one.
        """
        amplified = w / self.singular_values
        length = amplified.norm(dim=-1, keepdim=True)
        return 4 * self.eps * length * self.column_norms + WORK_EPS

    def is_zero(self, w: Tensor, tolerance: float = 1) -> Tensor:
        """Which entries of w @ basis are zero to rounding, times `tolerance`: (..., columns)."""
        size = (w @ self.basis).abs()
        return size <= tolerance * self.rounding(w)

    def zeros_of(self, x: Tensor, error: Tensor) -> Tensor:
        """Which entries of combinations x, (k, columns), are zero to their errors: bool.

        error: (k,), of the coefficients of each, relative to their length.
        """
        columns = self.basis.shape[1]
        length = x.norm(dim=1, keepdim=True) / math.sqrt(columns)
        of_coefficients = error[:, None] * self.basis.norm(dim=0)
        return x.abs() <= length * (of_coefficients + WORK_EPS)

    def smallest(self, columns: Tensor) -> Tensor:
        """The w of length one for which w @ basis is shortest in these columns: (rank,).

        columns: indices, or (columns,) bool.
        """
        chosen = self.basis[:, columns]
        squares = torch.linalg.eigh(chosen @ chosen.T)
        return squares.eigenvectors[:, 0]


def row_space(matrix: Tensor, rank: int, dtype: torch.dtype) -> tuple[int, RowSpace]:
    """The rank of a matrix to rounding, and its row space cut to the `rank` strongest directions.

    matrix: (rows, columns), float64. dtype: in which it was computed. The rank counts the singular
    values above 32 ε of the largest, where ε is the relative error of that dtype.
    """
    eps = max(torch.finfo(dtype).eps, WORK_EPS)
    _, s, v = torch.linalg.svd(matrix, full_matrices=False)
    counts = s > 32 * eps * s[0]
    scale = math.sqrt(matrix.shape[1])
    rows = RowSpace(
        basis=v[:rank] * scale,
        singular_values=s[:rank] / scale,
        column_norms=matrix.norm(dim=0),
        eps=eps,
    )
    return int(counts.sum()), rows


def find_sparse(rows: RowSpace, rate: float) -> Tensor:
    """Combinations with about `rate` zeros, each of another row: (found, rank), found ≤ rank.

    rows: without columns that are zero in every combination. rate: the share of zeros looked for,
    in (0, 1).

    A combination must have as many zeros as a row of that rate has on average, less four standard
    deviations, and at least `rank` of them: rank − 1 zeros can be made anywhere by choice of w. The
    same input gives the same output.
    """
    rank, columns = rows.basis.shape
    found = rows.basis.new_empty(0, rank)
    deviation = math.sqrt(columns * rate * (1 - rate))
    n_zeros = int(columns * rate - 4 * deviation)
    n_zeros = max(rank, n_zeros)
    if n_zeros > columns:
        return found
    starts = _starts(rows.basis, rate)
    tries = math.ceil(_ROWS_TRIED / rank)
    for start in itertools.islice(starts, tries):
        for distance in start:
            w = concentration_steps(rows, distance, n_zeros)
            # all entries that are nearly zero, not only the surest, make w more exact
            nearly_zero = rows.is_zero(w, 100)
            w = rows.smallest(nearly_zero)
            zeros = rows.is_zero(w)
            likeness = (found @ w).abs()
            if zeros.sum() >= n_zeros and (likeness < 0.999).all():
                found = torch.cat([found, w[None]])
        if len(found) >= rank:
            break
    return found[:rank]


def concentration_steps(rows: RowSpace, distance: Tensor, n_zeros: int) -> Tensor:
    """The w of length one whose `n_zeros` smallest entries of w @ basis are shortest: (rank,).

    distance: (columns,), how far each entry is from zero by a first guess.

    A local minimum, by the concentration steps of least trimmed squares (Rousseeuw & Van Driessen
    2006, doi:10.1007/s10618-005-0024-4): choose the smallest entries; find the w that makes those
    shortest; choose again. Neither half of a step can make the sum of squares of the chosen larger,
    and there are finitely many choices, so the steps end. Once all of the chosen are zeros of one
    sparse row, that row makes them zero exactly, and nothing is shorter.
    """
    chosen = None
    for _ in range(_STEPS):
        nearest = distance.topk(n_zeros, largest=False)
        smallest = nearest.indices.sort().values
        if chosen is not None and smallest.equal(chosen):
            break
        chosen = smallest
        w = rows.smallest(chosen)
        distance = (w @ rows.basis).abs()
    return w


def _starts(basis: Tensor, rate: float) -> Iterator[Tensor]:
    """First guesses of how far entries are from zero, without end: (rank, columns) each.

    They alternate between the independent components, which come near all rows however many there
    are, and random combinations, from which a few rows can be found too. Columns are scaled to
    equal length before the components are sought: otherwise those that are large in all rows would
    outweigh the zeros.
    """
    rank = len(basis)
    scaled = basis / basis.norm(dim=0)
    generator = Generator().manual_seed(0)
    for turn in itertools.count():
        square = torch.randn(rank, rank, generator=generator, dtype=basis.dtype)
        w = torch.linalg.qr(square).Q
        w = w.to(basis)
        if turn % 2:
            yield (w @ basis).abs()
        else:
            yield fast_ica(scaled, w, rate)
