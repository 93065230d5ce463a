"""The images of a batch one at a time: for each, a few equations that no other image enters.

With G = U S R a singular value decomposition, one image of class y is [h, 1] = v R for as many
unknowns v as there are images, and its δ is softmax(v L + b) − onehot(y). Three things hold for it
alone: δ lies in the column space of U; v r = 1 for the column r of the bias; and

    v · S⁻¹ Uᵀ δ = 1,

since a matrix of rank B loses a rank when δ [h, 1] is subtracted only if that is so (Wedderburn
1934). With K classes the first are K − B − 1 equations, since every δ sums to zero; with the others
K − B + 1 for B unknowns. Up to K / 2 images that leaves at least one to spare, so that, accidents
aside, they determine each image whatever the others are, its label included: all labels are tried.
Two images
i ≠ j of one batch also have v_i · S⁻¹ Uᵀ δ_j = 0, which tells images from chance.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dlgutils.analytic.levenberg_marquardt import adapt, choose, damped_step, lowest
from dlgutils.analytic.mixing import System, labels_as_onehot
from dlgutils.analytic.mixing_starts import of_single_logits

_STARTS = 200  # for each class
_FIRST_STEPS = 12  # of every start; a quarter of them go on
_STEPS = 40  # of these, and as many again of the nearest
_SELF_WEIGHT = 0.1  # of the third equation, which is steep far away from an image
_HIT = 1e-5  # the largest residual that may be an image
_CONSISTENT = 1e-3  # the largest product that may be zero
_MOST_HITS = 300  # that are looked at


class Single(NamedTuple):
    """Searches for single images, and where they are."""

    v: Tensor  # (n, images)
    onehot: Tensor  # (n, classes)
    delta: Tensor  # (n, classes), scaled
    dual: Tensor  # (n, images): S⁻¹ Uᵀ δ
    residual: Tensor  # (n, equations)
    jacobian: Tensor  # (n, images, equations)

    @property
    def loss(self) -> Tensor:
        """The sums of squares, (n,)."""
        return self.residual.square().sum(1)


class Frame(NamedTuple):
    """What the equations of single images need of a system."""

    system: System
    outside: Tensor  # (classes, classes − images): orthonormal, orthogonal to U
    dual: Tensor  # (classes, images): U S⁻¹

    def at(self, v: Tensor, onehot: Tensor) -> Single:
        """The equations and their derivatives at v, (n, images)."""
        system = self.system
        p = system.probabilities(v)
        delta = (p - onehot) * system.scale
        length = delta.norm(dim=1, keepdim=True)
        direction = delta / length
        dual = delta @ self.dual
        centred = system.logits - (p @ system.logits.T)[..., None]
        change = p[:, None] * centred * system.scale
        along = (change @ direction[..., None]) * direction[:, None]
        of_direction = (change - along) / length[..., None]
        of_self = dual + torch.einsum("nik,kj,nj->ni", change, self.dual, v)
        residual = [direction @ self.outside, _SELF_WEIGHT * ((dual * v).sum(1) - 1)[:, None]]
        jacobian = [of_direction @ self.outside, _SELF_WEIGHT * of_self[..., None]]
        if system.ones is not None:
            residual.append((v @ system.ones - 1)[:, None])
            jacobian.append(system.ones.expand(len(v), -1)[..., None])
        return Single(v, onehot, delta, dual, torch.cat(residual, 1), torch.cat(jacobian, 2))


def frame_of(system: System) -> Frame:
    """The equations of the single images of a system; there must be more classes than images."""
    u = system.target / system.singular_values
    complete = torch.linalg.qr(u, mode="complete").Q
    return Frame(system, complete[:, system.images :], u / system.singular_values)


def find(system: System, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Images that agree with one another: what they are made of, (n, images), and labels, (n,).

    None, n = 0, where no two searches agree, or one alone has no equations to spare.

    Args:
        system: the equations.
        y: the classes that are tried.
        generator: on the CPU.
    """
    frame = frame_of(system)
    classes = len(system.bias)
    labels = y.cpu().repeat_interleave(_STARTS)
    onehot = labels_as_onehot(labels, classes).to(system.logits)
    point = frame.at(of_single_logits(system, onehot, generator), onehot)
    point = _descend(frame, point, _FIRST_STEPS)
    best = lowest(point.loss, len(labels) // 4)
    point = _descend(frame, Single(*(t[best] for t in point)), _STEPS)
    nearest = lowest(point.loss, _MOST_HITS)
    point = _descend(frame, Single(*(t[nearest] for t in point)), _STEPS)
    hits = (point.loss < _HIT**2).nonzero()[:, 0]
    hits = hits[point.loss[hits].argsort()]
    v, onehot, _, dual, *_ = (t[hits] for t in point)
    chosen = _largest_agreement(v @ dual.T)
    spare = classes + 1 - 2 * system.images
    if len(chosen) == 1 and spare < 3:
        chosen = chosen[:0]
    return v[chosen], onehot[chosen].argmax(1)


def _descend(frame: Frame, point: Single, steps: int) -> Single:
    """Levenberg–Marquardt for all searches at once."""
    damping = torch.full_like(point.loss, 1e-2)
    for _ in range(steps):
        normal = point.jacobian @ point.jacobian.mT
        right = point.jacobian @ point.residual[..., None]
        step = damped_step(normal, right[..., 0], damping)
        there = frame.at(point.v - step, point.onehot)
        better = there.loss < point.loss
        point = choose(better, there, point)
        damping = adapt(damping, better)
    return point


def _largest_agreement(products: Tensor) -> Tensor:
    """Indices of the most searches all of whose products are zero: (k,), by greedy choice.

    products: v_i · S⁻¹ Uᵀ δ_j, (n, n), the surest search first; searches for one image agree on
    one, so only the first of them is taken.
    """
    zero = (products.abs() < _CONSISTENT) & (products.T.abs() < _CONSISTENT)
    best = torch.empty(0, dtype=torch.int64)
    for first in range(len(zero)):
        free = zero[first].clone()
        chosen = [first]
        while free.any():
            k = int(free.int().argmax())
            chosen.append(k)
            free &= zero[k]
        if len(chosen) > len(best):
            best = torch.tensor(chosen)
    return best
