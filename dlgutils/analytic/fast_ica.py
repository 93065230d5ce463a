"""Independent components that are often zero, by symmetric FastICA.

Source: Hyvärinen 1999, doi:10.1109/72.761722. Let z be mixtures of independent rows, brought to
mean zero and to the identity as covariance. If the rows have variance one, they are w @ z for an
orthogonal w. A step replaces each row w of it by E[z g(w·z)] − E[g'(w·z)] w, and all of them by the
nearest orthogonal matrix; it stays where the rows of w @ z are independent, and converges fast.

The best g is the derivative of a row's log-density. That is taken to be a mixture of two normal
distributions, one at "zero" and one at "not zero", whose means follow from mean zero, variance one,
and the probability of a zero. With τ their standard deviation, the derivative is (m(s) − s) / τ²,
where m(s) is the average of the two means, weighted by the probability of each given s. In the
step, −s cancels and 1 / τ² is a common factor, so g = m will do.

Dropout draws its masks independently, so the features of a batch's images are such rows, however
many images there are.
"""

import math

import torch
from torch import Tensor

_TAU = 0.8  # standard deviation of both normals, in those of the whole row
_STEPS = 100  # at most; it ends by itself before
WORK_EPS = 1e-12  # relative error of the decompositions, which are in double precision


def fast_ica(y: Tensor, w: Tensor, rate: float) -> Tensor:
    """How far the entries of the independent components of y are from being zero.

    Args:
        y: (rank, columns), mixtures of rows whose zeros were drawn independently.
        w: (rank, rank), orthogonal: where the iteration starts.
        rate: the probability of a zero, in (0, 1).

    Returns (rank, columns), at least 0, one row for each component.
    """
    columns = y.shape[1]
    mean = y.mean(1, keepdim=True)
    centred = y - mean
    covariance = centred @ centred.T / columns
    variance, axes = torch.linalg.eigh(covariance)
    floor = WORK_EPS * variance[-1]
    deviation = variance.clamp_min(floor).sqrt()
    whiten = (axes / deviation) @ axes.T
    z = whiten @ centred
    zero = -math.sqrt((1 - rate) / rate)
    other = math.sqrt(rate / (1 - rate))
    gap = other - zero
    middle = (zero + other) / 2
    prior = math.log((1 - rate) / rate)
    for _ in range(_STEPS):
        beyond = w @ z - middle
        log_odds = gap * beyond / _TAU**2 + prior
        is_other = log_odds.sigmoid()
        uncertain = is_other * (1 - is_other)
        slope = (gap / _TAU) ** 2 * uncertain.mean(1, keepdim=True)
        g = zero + gap * is_other
        step = g @ z.T / columns - slope * w
        u, _, v = torch.linalg.svd(step)
        before = w
        w = u @ v
        likeness = (w * before).sum(1).abs()
        if likeness.min() > 1 - 1e-6:
            break
    # a component's sign is free, and what is not zero is positive
    sign = (w @ whiten @ mean).sign()
    components = sign * (w @ z)
    return (components - zero).abs()
