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

Where the whole gradient was multiplied by an unknown number, only the third equation knows of it:
it is left out, which takes one image off the count, and says afterwards by which number. All images
of a batch must say the same.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dlgutils.analytic.levenberg_marquardt import adapt, choose, damped_step, lowest
from dlgutils.analytic.mixing import System, labels_as_onehot
from dlgutils.analytic.mixing_starts import of_single_logits

_STARTS = 200  # for each class
_FEWER_STARTS = 40  # the same where that many equations are to spare
_FIRST_STEPS = 12  # of every start; a quarter of them go on
_STEPS = 40  # of these, and as many again of the nearest
_SELF_WEIGHT = 0.1  # of the third equation, which is steep far away from an image
_HIT = 1e-5  # the largest residual that may be an image
_LOOSE_HIT = 1e-3  # the same where many equations are to spare
_MANY_SPARE = 5
_ROUNDING = 1e-7  # of the residual
_DETERMINED = 0.03  # the largest error of v that may be an image, relative to its length
_SAME = 0.05  # the largest distance, relative to their length, of searches for one image
_MOST_SETS = 4  # that are returned
_CONSISTENT = 1e-3  # the largest product that may be zero
_SAME_FACTOR = 0.01  # the largest relative distance of the factors of two images
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
        residual, jacobian = [direction @ self.outside], [of_direction @ self.outside]
        if system.factor_known:
            residual.append(_SELF_WEIGHT * ((dual * v).sum(1) - 1)[:, None])
            jacobian.append(_SELF_WEIGHT * of_self[..., None])
        if system.ones is not None:
            residual.append((v @ system.ones - 1)[:, None])
            jacobian.append(system.ones.expand(len(v), -1)[..., None])
        return Single(v, onehot, delta, dual, torch.cat(residual, 1), torch.cat(jacobian, 2))


def frame_of(system: System) -> Frame:
    """The equations of the single images of a system; there must be more classes than images."""
    u = system.target / system.singular_values
    complete = torch.linalg.qr(u, mode="complete").Q
    return Frame(system, complete[:, system.images :], u / system.singular_values)


class Images(NamedTuple):
    """Some images that agree with one another."""

    v: Tensor  # (n, images): what they are made of
    y: Tensor  # (n,): their labels
    factor: float  # by which the loss multiplies δ: what was known, or what they say


def find(system: System, y: Tensor, generator: Generator) -> list[Images]:
    """Images that these equations determine: sets that agree with one another, the largest first.

    No two sets are the same; none where nothing is determined, as beyond K / 2 images.

    Args:
        system: the equations.
        y: the classes that are tried.
        generator: on the CPU.
    """
    equations = len(system.bias) - system.images + int(system.factor_known)
    spare = equations - system.images
    if spare < 1:
        return []
    frame = frame_of(system)
    classes = len(system.bias)
    labels = y.cpu().repeat_interleave(_STARTS if spare < _FEWER_STARTS else _FEWER_STARTS)
    onehot = labels_as_onehot(labels, classes).to(system.logits)
    point = frame.at(of_single_logits(system, onehot, generator), onehot)
    point = _descend(frame, point, _FIRST_STEPS)
    best = lowest(point.loss, len(labels) // 4)
    point = _descend(frame, Single(*(t[best] for t in point)), _STEPS)
    nearest = lowest(point.loss, _MOST_HITS)
    point = _descend(frame, Single(*(t[nearest] for t in point)), _STEPS)
    point = _distinct(_determined(point, spare))
    t = 1 / (point.v * point.dual).sum(1)
    if system.factor_known:
        t = torch.ones_like(t)
    sets = _agreements(point.v @ (t[:, None] * point.dual).T, t)
    labels = point.onehot.argmax(1)
    return [Images(point.v[k], labels[k], system.factor * float(t[k[0]])) for k in sets]


def _determined(point: Single, spare: int) -> Single:
    """The searches that ended at an image, surest first.

    A residual that is small says little where it hardly changes with v: of an image that the
    network is sure of, some directions of v are below rounding, and whole curves of v fit. What
    counts is how far v may be from where the residual is zero.

    spare: equations beyond the unknowns; the more there are, the less is due to chance.
    """
    residual = point.loss.sqrt()
    slopes = torch.linalg.svdvals(point.jacobian)[:, -1]
    error = residual.clamp(min=_ROUNDING) / (slopes * point.v.norm(dim=1))
    largest = _HIT if spare < _MANY_SPARE else _LOOSE_HIT
    good = ((residual < largest) & (error < _DETERMINED)).nonzero()[:, 0]
    good = good[error[good].argsort()]
    return Single(*(t[good] for t in point))


def _distinct(point: Single) -> Single:
    """The first of the searches that ended at one image with one label."""
    near = torch.cdist(point.v, point.v) < _SAME * point.v.norm(dim=1)
    same = near & (point.onehot @ point.onehot.T > 0)
    again = same.triu(1).any(0)
    return Single(*(t[~again] for t in point))


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


def _agreements(products: Tensor, t: Tensor) -> list[Tensor]:
    """Sets of searches that agree, by greedy choice, the largest first; indices, (k,) each.

    products: v_i · S⁻¹ Uᵀ δ_j, (n, n), the surest search first; of images of one batch all are
    zero. t: (n,), by which each multiplies the factor; of one batch all are the same.
    """
    zero = (products.abs() < _CONSISTENT) & (products.T.abs() < _CONSISTENT)
    zero &= (t[:, None] - t).abs() < _SAME_FACTOR * t.abs()
    sets = {}
    for first in range(len(zero)):
        free = zero[first].clone()
        chosen = [first]
        while free.any():
            k = int(free.int().argmax())
            chosen.append(k)
            free &= zero[k]
        sets.setdefault(frozenset(chosen), torch.tensor(chosen))
    largest_first = sorted(sets.values(), key=len, reverse=True)
    return largest_first[:_MOST_SETS]
