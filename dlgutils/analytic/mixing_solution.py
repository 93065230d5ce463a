"""A batch that fits a classifier's gradient: its certificate, and the error bars of its images.

Every number of the gradient is rounded, to a relative error ε. Rows are divided by their length, so
in row k of the equations that is ε; and δ was computed as softmax − onehot, each probability
rounded in its turn and the logits before it, which adds ε q_ik to δ_ik, where
q_ik = p_ik (1 + (1 − p_ik) z_i) and z_i is the size of the largest logit and of the terms that it
is a sum of. Together row k has the standard error

    σ_k = ε √(1 + Σ_i (s_k q_ik ‖m_i‖)²),    s_k what δ is multiplied by in that row.

A certificate is a residual of that size, times at most 2; what is wrong leaves a thousand times as
much. The error bars follow by least squares: M has
the covariance (Jᵀ σ⁻² J)⁻¹, and R, whose directions of small singular values are known less well,
adds ε ‖m_i / S‖.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dlgutils.analytic import mixing
from dlgutils.analytic.classifier import Classifier
from dlgutils.analytic.mixing import Point, System
from dlgutils.analytic.mixing_system import row_scale_of, system_of

POLISHES = 3  # each with the weights of the one before
_CERTIFIED = 2.0  # root mean square of the residuals, in units of their errors
_SAFETY = 12.0  # of the error bars
MISSING = 10.0  # how much wider error bars are where images are missing
_UNKNOWN = 1e-14  # of the eigenvalues of a normal matrix with ones on its diagonal: rounding
_SMALLEST = 1e-20  # of what is left of them


class Found(NamedTuple):
    """A batch that fits the gradient, or the nearest that was found."""

    inputs: Tensor  # (images, features + 1), ending with a one; (images, features) without bias
    y: Tensor  # (images,)
    delta: Tensor  # (images, classes): ∂loss/∂logits
    error: Tensor  # (images,): of the inputs, relative to their length
    misfit: float  # root mean square of the residuals, in units of their errors
    factor: float  # by which the loss multiplies δ
    factor_error: float = 0.0  # its error bar, relative; zero where it was known

    @property
    def certain(self) -> bool:
        """Whether the residual is rounding."""
        return self.misfit <= _CERTIFIED

    @property
    def factor_if_known(self) -> float | None:
        """The factor, or None where it was found."""
        return None if self.factor_error else self.factor

    def blurred(self) -> "Found":
        """The same with error bars for a batch of which something is missing.

        Images without a trace of their own, or with hardly one, are not rounding: they may add up
        to some ε to what the others are read from, all in one direction.
        """
        return self._replace(error=MISSING * self.error)

    def select(self, images: Tensor) -> "Found":
        """Some of the images; (images,) bool."""
        parts = (t[images] for t in (self.inputs, self.y, self.delta, self.error))
        return Found(*parts, self.misfit, self.factor, self.factor_error)


def near(
    classifier: Classifier, inputs: Tensor, y: Tensor, factor: float | None, eps: float
) -> Found:
    """The batch that fits the gradient best near a guess.

    Args:
        classifier: weights and gradient, in float64.
        inputs: the guess, (images, features + 1).
        y: its labels, (images,).
        factor: by which the loss multiplies δ; None: it is found too.
        eps: the relative error of the gradient.
    """
    row_scale = row_scale_of(classifier, eps)
    start = _likeliest_factor(classifier, inputs, y) if factor is None else factor
    system = system_of(classifier, len(y), start, row_scale, known=factor is not None)
    onehot = mixing.labels_as_onehot(y, len(system.bias))
    m = inputs @ system.basis.T
    return polish(system, m[None], onehot[None], eps)


def polish(system: System, m: Tensor, onehot: Tensor, eps: float, turns: int = POLISHES) -> Found:
    """The batch near a start, with every equation weighted by its error.

    Args:
        system: the equations.
        m: the start, (1, images, images).
        onehot: its labels, (1, images, classes).
        eps: the relative error of the gradient.
        turns: how often; none where the start is no answer.
    """
    point = mixing.evaluate(system, m, onehot)
    weighted = system
    for _ in range(turns):
        point = mixing.evaluate(system, m, onehot)
        weighted = _weighted(system, point)
        point = mixing.descend(weighted, m, onehot)
        m, t = point.m, float(point.t)
        system, weighted = system.multiplied(t), weighted.multiplied(t)
        point = point._replace(t=torch.ones_like(point.t))
    count = point.error[0].numel() + point.ones_error.numel()
    misfit = float((point.loss[0] / count).sqrt()) / eps
    error, factor_error = _error_bars(weighted, point, eps)
    difference = system.probabilities(m)[0] - onehot[0]
    return Found(
        inputs=m[0] @ system.basis,
        y=onehot[0].argmax(1),
        delta=system.factor * difference,
        error=error * max(1.0, misfit),
        misfit=misfit,
        factor=system.factor,
        factor_error=factor_error * max(1.0, misfit),
    )


def _likeliest_factor(classifier: Classifier, inputs: Tensor, y: Tensor) -> float:
    """The factor with which these inputs and labels give the gradient back best."""
    difference = (inputs @ classifier.weights.T).softmax(1)
    difference = difference - mixing.labels_as_onehot(y, difference.shape[1]).to(difference)
    made = difference.T @ inputs
    return float((made * classifier.gradient).sum() / made.square().sum())


def _weighted(system: System, point: Point) -> System:
    """The same equations, each row divided by its error in units of ε."""
    lengths = point.m[0].norm(dim=1)
    p = point.probabilities[0]
    size = _sizes_of_logits(system, point.m[0])
    of_delta = system.scale * (p * (1 + (1 - p) * size) * lengths[:, None]).norm(dim=0)
    weight = 1 / torch.hypot(torch.ones_like(of_delta), of_delta)
    of_ones = (point.m[0] / system.singular_values).norm(dim=1)
    return system._replace(
        scale=system.scale * weight,
        target=system.target * weight[:, None],
        ones_weight=1 / of_ones.clamp(min=1),
    )


def _sizes_of_logits(system: System, m: Tensor) -> Tensor:
    """The largest logit of each image, (images, 1), and the terms that it is a sum of."""
    logits = m @ system.logits + system.bias
    features = (m @ system.basis)[:, : system.weights.shape[1]]
    terms = (features.square() @ system.weights.square().T).sqrt()
    return (logits.abs() + terms).amax(1, keepdim=True)


def _error_bars(system: System, point: Point, eps: float) -> tuple[Tensor, float]:
    """Error bars of each image's inputs, (images,), and of the factor, all relative."""
    normal, _ = mixing.normal_equations(system, point)
    images = system.images
    m = point.m[0]
    size = normal[0].diagonal().rsqrt()
    scaled = size[:, None] * normal[0] * size
    values, vectors = torch.linalg.eigh(scaled)
    inverse = (vectors.square() / (values - _UNKNOWN).clamp(min=_SMALLEST)).sum(1) * size.square()
    of_mixing = inverse[: images**2].view(images, images).sum(1)
    of_factor = float(inverse[images**2 :].sum())
    of_basis = (m / system.singular_values).square().sum(1)
    variance = of_mixing + of_basis
    bar = _SAFETY * eps
    return bar * variance.sqrt() / m.norm(dim=1), bar * math.sqrt(of_factor)
