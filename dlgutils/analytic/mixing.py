"""Taking a batch apart by the residual of its own δ: Levenberg–Marquardt on the mixing matrix.

The gradient of a linear classifier is G = Δᵀ [H, 1], with a row [h, 1] and a row of Δ for each
image. The rows of G span what the rows of [H, 1] span: [H, 1] = M R, with R from a singular value
decomposition and M an unknown matrix, images × images. Δ is not free either: it is
(softmax(H Wᵀ + b) − onehot(y)) / B, so it follows from M too. What remains is

    Δ(M)ᵀ M = C,    M r = 1,

where C = G Rᵀ, and r is the column of R that belongs to the bias. With B images and K classes the
first are B (K − 1) independent equations, since every δ sums to zero, and the second B more: B·K
for B² unknowns. By counting, fewer images than classes are determined, whether or not any of their
features are zero; to rounding, two δ that are nearly the same may not be. A number by which the
whole gradient was multiplied is one more unknown t, which δ is multiplied by as well.

Each row of G is divided by its length, since rounding is relative: G below is meant that way.
Source of the idea that the δ undo the mixing: Eloul et al. 2022, arXiv:2204.12495.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dlgutils.analytic.levenberg_marquardt import adapt, choose, damped_step, lowest

_STEPS = 60
_PATIENCE = 8  # steps in a row that may be in vain, for all searches
_NEGLIGIBLE = 1e-6  # what a step may still promise of the loss where a search has ended


class System(NamedTuple):
    """The equations of one round."""

    scale: Tensor  # (classes,): what δ is multiplied by, row by row of G: the factor included
    factor: float  # by which the loss multiplies δ: one over the batch where it is a mean
    basis: Tensor  # R, (images, features + 1): orthonormal rows
    singular_values: Tensor  # (images,): of the scaled gradient
    target: Tensor  # C, (classes, images): the scaled gradient times Rᵀ
    logits: Tensor  # (images, classes): R without its last column, times the weights
    weights: Tensor  # (classes, features)
    bias: Tensor  # (classes,); zeros for a classifier without one
    ones: Tensor | None  # r, (images,); None for a classifier without bias
    ones_weight: Tensor | float = 1.0  # (images,): of each equation of M r = 1
    factor_known: bool = True  # False: it is where the search for the factor begins

    @property
    def images(self) -> int:
        """How many images left a trace."""
        return len(self.basis)

    def probabilities(self, m: Tensor) -> Tensor:
        """The softmax of all images, (..., images, classes); m: (..., images, images)."""
        return (m @ self.logits + self.bias).softmax(-1)

    def multiplied(self, t: float) -> "System":
        """The same with another factor."""
        return self._replace(scale=t * self.scale, factor=t * self.factor)


class Point(NamedTuple):
    """Where some searches are, each with its damping."""

    m: Tensor  # (n, images, images)
    probabilities: Tensor  # (n, images, classes)
    delta: Tensor  # (n, images, classes), scaled, and multiplied by t
    t: Tensor  # (n,): how far the factor is from that of the system
    error: Tensor  # (n, classes, images): Δᵀ M − C
    ones_error: Tensor  # (n, images): M r − 1
    loss: Tensor  # (n,): sum of squares of both


def evaluate(system: System, m: Tensor, onehot: Tensor, t: Tensor | None = None) -> Point:
    """The errors of the equations at some places.

    Args:
        system: the equations.
        m: (n, images, images).
        onehot: the labels, (n, images, classes).
        t: (n,), by which δ is multiplied beside the factor of the system; None: ones.
    """
    probabilities = system.probabilities(m)
    t = m.new_ones(len(m)) if t is None else t
    delta = (probabilities - onehot) * system.scale * t[:, None, None]
    error = delta.mT @ m - system.target
    if system.ones is None:
        ones_error = m.new_zeros(m.shape[:2])
    else:
        ones_error = (m @ system.ones - 1) * system.ones_weight
    loss = error.square().sum((1, 2)) + ones_error.square().sum(1)
    return Point(m, probabilities, delta, t, error, ones_error, loss)


# Let A_i = ∂δ_i/∂m_i, (classes, images). A change of row i of M changes Δᵀ M by
# (A_i dm_i) m_iᵀ + δ_i dm_iᵀ, and no other row of M enters. The normal matrix is made of the
# products of these two terms for all pairs of rows.
def normal_equations(system: System, point: Point) -> tuple[Tensor, Tensor]:
    """JᵀJ, (n, k, k), and Jᵀ times the errors, (n, k), at a point.

    The k unknowns are the images² entries of M, and last t if the factor is not known.
    """
    m, p, delta, t, error, ones_error, _ = point
    n, images, _ = m.shape
    mean = p @ system.logits.T
    centred = system.logits.T - mean[:, :, None, :]
    a = p[..., None] * centred * (system.scale * t[:, None])[:, None, :, None]
    flat = a.permute(0, 2, 1, 3).flatten(2)
    squares = (flat.mT @ flat).view(n, images, images, images, images)  # (i, c, j, d)
    normal = squares * (m @ m.mT)[:, :, None, :, None]
    ad = torch.einsum("nikc,njk->nicj", a, delta)
    cross = ad[..., None] * m[:, :, None, None, :]
    normal += cross + cross.permute(0, 3, 4, 1, 2)
    diagonal = normal.diagonal(dim1=2, dim2=4)
    diagonal += (delta @ delta.mT)[..., None]
    gradient = _pulled_back(a, delta, m, error)
    if system.ones is not None:
        rows = normal.diagonal(dim1=1, dim2=3)  # (n, c, d, i)
        weight = torch.as_tensor(system.ones_weight).to(m)
        rows += (system.ones[:, None] * system.ones)[..., None] * weight**2
        gradient += (ones_error * weight)[..., None] * system.ones
    size = images**2
    normal, gradient = normal.reshape(n, size, size), gradient.reshape(n, size)
    if system.factor_known:
        return normal, gradient
    slope = delta.mT @ m / t[:, None, None]  # of the errors with t
    column = _pulled_back(a, delta, m, slope).reshape(n, size, 1)
    corner = slope.square().sum((1, 2)).view(n, 1, 1)
    last = (slope * error).sum((1, 2))[:, None]
    normal = torch.cat([torch.cat([normal, column], 2), torch.cat([column.mT, corner], 2)], 1)
    return normal, torch.cat([gradient, last], 1)


def _pulled_back(a: Tensor, delta: Tensor, m: Tensor, error: Tensor) -> Tensor:
    """Jᵀ of Δᵀ M times errors, (n, classes, images): as M, (n, images, images)."""
    return torch.einsum("nikc,nki->nic", a, error @ m.mT) + delta @ error


def descend(
    system: System, m: Tensor, onehot: Tensor, *, steps: int = _STEPS, floor: float = 0.0
) -> Point:
    """Levenberg–Marquardt from n starts at once: where each of them came.

    Args:
        system: the equations.
        m: the starts, (n, images, images).
        onehot: the labels that each assumes, (n, images, classes).
        steps: of each search, at most.
        floor: all end where one has a loss below this.
    """
    point = evaluate(system, m, onehot)
    damping = torch.full_like(point.loss, 1e-3)
    in_vain = 0
    for _ in range(steps):
        normal, gradient = normal_equations(system, point)
        step = damped_step(normal, gradient, damping)
        promised = (step * gradient).sum(1)
        of_m, of_t = step.split([m[0].numel(), step.shape[1] - m[0].numel()], 1)
        there = evaluate(system, point.m - of_m.view_as(m), onehot, point.t - of_t.sum(1))
        better = there.loss < point.loss
        open_ = promised > _NEGLIGIBLE * point.loss
        point = choose(better, there, point)
        damping = adapt(damping, better)
        in_vain = 0 if (better & open_).any() else in_vain + 1
        if not open_.any() or in_vain == _PATIENCE or (point.loss < floor).any():
            break
    return point


def prune(point: Point, onehot: Tensor, keep: int) -> tuple[Point, Tensor]:
    """The `keep` searches of lowest loss, and their labels."""
    chosen = lowest(point.loss, keep)
    return Point(*(t[chosen] for t in point)), onehot[chosen]


def labels_as_onehot(y: Tensor, classes: int) -> Tensor:
    """Labels, (..., images), as (..., images, classes) in float64."""
    return one_hot(y, classes).double()
