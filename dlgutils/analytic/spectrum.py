"""What of an image an update shows, before any attack: the singular values of its Jacobian.

A change v of the images changes the update by J v, to first order. The singular value decomposition
of J gives the patterns of pixels, orthogonal and of length one, by which the update changes most
and least, and by how much. Noise of standard deviation σ hides a pattern whose singular value is
far below σ, unless the attacker knows beforehand how large it is: that is what `limits` adds. A
pattern of value zero leaves no trace at all (to first order).

By hand, for one image x and one linear layer z = W x + b: with p = softmax(z), δ = p − onehot(y)
and S = diag(p) − p pᵀ, the gradient is [δ xᵀ, δ], a change v changes it by [SWv xᵀ + δ vᵀ, SWv], so

    JᵀJ = ‖δ‖² I + (1 + ‖x‖²) WᵀS²W + (WᵀSδ) xᵀ + x (WᵀSδ)ᵀ.

Where W is zero, every pattern is seen alike, with ‖δ‖; noise then leaves 1/(1/c + ‖δ‖²/σ²) of the
variance c that white pixels had.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, linalg, nn
from torch.nn.functional import pad

from dlgutils.analytic import limits
from dlgutils.analytic.closed_form.prior import Prior
from dlgutils.analytic.jacobian import Jacobian, linearise, triangle
from dlgutils.federated.local_training import PLAIN
from dlgutils.protocol import Protocol
from dlgutils.types import Batch, Tensors


@dataclass(frozen=True, repr=False)
class Spectrum:
    """Singular values and right singular vectors of image -> update, the largest first.

    A complete one has as many as there are pixels, whatever the number of equations: those that the
    update cannot see have the value zero. One of the largest only says nothing about the others,
    but that they are not larger.
    """

    singular_values: Tensor  # (k,), float64, descending: change of the update / of the images
    directions: Tensor  # (k, batch, channels, height, width), float64, of length one each
    numbers: int  # of the update

    @property
    def pixels(self) -> int:
        """The number of unknowns: pixels times channels times images."""
        return self.directions[0].numel()

    @property
    def complete(self) -> bool:
        """Whether all singular values are there."""
        return len(self.singular_values) == self.pixels

    @property
    def tolerance(self) -> float:
        """What a singular value must exceed to be told from zero in float64.

        It is the largest one times the longer side of the Jacobian times 2.2e-16.
        """
        return limits.rounding(self.singular_values, max(self.numbers, self.pixels))

    @property
    def rank(self) -> int:
        """How many patterns the update sees, in numbers without noise.

        Of an incomplete spectrum: how many of those that were computed.
        """
        return int((self.singular_values > self.tolerance).sum())

    @property
    def nullity(self) -> int:
        """How many independent patterns change nothing, to first order and to rounding.

        They are the last `nullity` of the directions. Raises ValueError for an incomplete spectrum.
        """
        if not self.complete:
            raise ValueError(
                f"only the {len(self.singular_values)} largest of {self.pixels} singular values "
                "were computed, so what is not seen is unknown; leave out largest="
            )
        return self.pixels - self.rank

    @property
    def root(self) -> Tensor:
        """R with RᵀR = JᵀJ, (k, pixels), for `limits.limit` and `limits.bayesian_limit`.

        Of an incomplete spectrum RᵀR is at least JᵀJ: what was not computed is taken to be seen
        as well as the smallest value that was.
        """
        directions = self.directions.flatten(1)
        rows = self.singular_values[:, None] * directions
        if self.complete:
            return rows
        eye = torch.eye(self.pixels, dtype=rows.dtype, device=rows.device)
        others = eye - directions.T @ directions
        return torch.cat([rows, self.singular_values[-1] * others])

    def limit(self, sigma: float | Tensor, prior: Prior | None = None) -> Tensor:
        """The expected squared error per pixel that no estimator beats, in the shape of sigma.

        It is exact for the network linearised at these images, with labels and masks known: see
        `limits`. That of an incomplete spectrum is lower, and still a limit.

        sigma: the standard deviation of the noise in every number of the update. prior: of the
        images; None: `limits.photographs`. Raises ValueError as `limits.limit` does.
        """
        if prior is None:
            prior = limits.photographs(self.directions[0].shape)
        return limits.limit(self.root, sigma, prior)

    def __repr__(self) -> str:
        """One line: how many numbers, pixels and values, and what was not computed."""
        largest, smallest = self.singular_values[[0, -1]].tolist()
        head = f"Spectrum({self.numbers} numbers of {self.pixels} pixels, "
        if not self.complete:
            return head + (
                f"the {len(self.singular_values)} largest singular values: {largest:.2g} to "
                f"{smallest:.2g}; the others are not larger, and were not computed)"
            )
        return head + f"singular values {largest:.2g} to {smallest:.2g}, {self.nullity} of them 0)"


def spectrum(
    model: nn.Module,
    batch: Batch,
    *,
    masks: Tensors | None = None,
    protocol: Protocol = PLAIN,
    generator: Generator | None = None,
    largest: int | None = None,
) -> Spectrum:
    """The singular values of images -> update at these images, and their patterns: a `Spectrum`.

    Labels and masks are known; all is computed in float64. Every column of the Jacobian is a
    derivative of the gradient; a QR and a singular value decomposition follow (40 s and 2 GB for
    one image of 32×32 in colour and the LeNet, on one core).

    Args:
        model: the network, with the weights of the round.
        batch: the images and their targets.
        masks: `{name: (visits, *features)}` of dropout; a missing one is all ones.
        protocol: how the client trains, and what of it leaves the device. An unknown scale counts
            as one, and a shuffling client as one that does not. Its clipping and pruning count;
            its noise does not, which is the sigma of `Spectrum.limit`.
        generator: on the CPU; draws what is pruned, where that is random.
        largest: how many, for networks or images that are too large for all: then they are found
            by Lanczos iteration (ARPACK), which needs products with J only.

    Raises ValueError as `linearise` does, for a Jacobian of more than 2·10⁸ numbers unless
    `largest` is given, and for a `largest` that is not a whole number from 1 to below the smaller
    side of the Jacobian.
    """
    jacobian = linearise(model, batch, masks, protocol, generator)
    if largest is None:
        values, across = _all(triangle(jacobian, batch.x))
    else:
        values, across = _largest(jacobian, batch.x, largest)
    directions = across.view(-1, *batch.x.shape)
    return Spectrum(values, directions, jacobian.numbers)


def _all(root: Tensor) -> tuple[Tensor, Tensor]:
    """As many singular values as columns, padded with zeros, and the right vectors as rows."""
    _, values, across = linalg.svd(root, full_matrices=True)
    return pad(values, (0, len(across) - len(values))), across


def _largest(jacobian: Jacobian, like: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest singular values and right vectors; the start of the iteration is fixed."""
    from scipy.sparse.linalg import LinearOperator, svds

    shape = (jacobian.numbers, jacobian.pixels)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count < min(shape):
        raise ValueError(
            f"largest= says how many singular values, from 1 to {min(shape) - 1} for this Jacobian "
            f"of {shape[0]} rows and {shape[1]} columns, got {count!r}"
        )

    def product(multiply: Callable[[Tensor], Tensor], v: np.ndarray) -> np.ndarray:
        return multiply(torch.from_numpy(v.reshape(-1).copy()).to(like.device)).cpu().numpy()

    operator = LinearOperator(
        shape,
        matvec=lambda v: product(jacobian.push, v),
        rmatvec=lambda w: product(jacobian.pull, w),
        dtype=np.float64,
    )
    generator = Generator().manual_seed(0)
    start = torch.randn(min(shape), generator=generator, dtype=torch.float64)
    _, values, across = svds(operator, k=count, v0=start.numpy(), return_singular_vectors="vh")
    order = np.argsort(-values)
    found = (values[order].copy(), across[order].copy())
    return tuple(torch.from_numpy(array).to(like.device) for array in found)
