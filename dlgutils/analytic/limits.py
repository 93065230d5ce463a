"""What no attacker can get below: the mean squared error that noise in the update enforces.

The client sends g = f(x) + σ n, where f is the update of `federated.update`, with labels and masks
known, n standard normal, and the images x are drawn from a normal distribution N(m, C). With J the
Jacobian of f, JᵀJ/σ² is the Fisher information about x in g. Two things can be said about every
estimator, biased or not, whatever its computing time:

1. *If f were linear*, what is known about x after g would be a normal distribution of covariance
   (C⁻¹ + JᵀJ/σ²)⁻¹, and no estimator has a smaller expected squared error than its trace. `limit`
   at one image is that: exact for the network linearised there. It says what an attacker faces who
   is near the image already, and it is no theorem about the network itself, whose update bends.
2. *Whatever f is*, as long as it is smooth, the expected squared error over images of the prior and
   noise is at least the trace of (C⁻¹ + E[JᵀJ]/σ²)⁻¹, the information averaged over the prior: the
   inequality of van Trees, or Bayesian Cramér–Rao bound (Van Trees 1968; Gill & Levit 1995).
   `bayesian_limit` is that, with the mean over the images that it is given instead of E. By
   Jensen's inequality it is at most the mean of the limits at these images.

Where f jumps, as the gradient of a network of ReLUs or of max-pooling does where a unit goes on or
off, the jumps tell something that no derivative knows, so neither is a theorem there. And both
speak of images drawn from the prior. Photographs are not: an attack that gets below the bound on
photographs knew that much more about them than the prior.

Fisher information as a measure of what an update leaks is from Hannun et al. 2021,
arXiv:2102.11673; bounds on the error of every reconstruction from Guo et al. 2022,
arXiv:2201.12383.
"""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor, linalg

from dlgutils.analytic.closed_form.prior import Prior, image_prior
from dlgutils.types import Transform


def photographs(x_shape: tuple[int, ...]) -> Prior:
    """The Gaussian prior of one photograph in float64: white in `coordinates.whitened`.

    It is that of `closed_form.recover`: mid-grey, and for all waves longer than a fourth of the
    image of one size, which is too small for the longest ones.

    x_shape: (batch, channels, height, width); the images of a batch are independent of each other.
    Raises ValueError for another shape.
    """
    return image_prior(torch.empty(0, dtype=torch.float64), _shape_of_one(x_shape))


# The precision of x is TᵀT, where T is the linear part of `encode`; row k of the matrix below is T
# of unit image k.
def white(transform: Transform, x_shape: tuple[int, ...]) -> Prior:
    """The Gaussian prior of one image in float64 whose coordinates are independent, of variance 1.

    transform: such as `coordinates.measured(images)`. x_shape: (batch, channels, height, width).
    Raises ValueError for another shape.
    """
    shape = _shape_of_one(x_shape)
    pixels = math.prod(shape)
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    units = torch.eye(pixels, dtype=torch.float64).view(-1, *shape)
    linear = (transform.encode(units) - transform.encode(zero)).flatten(1)
    mean = transform.decode(zero).flatten()
    return Prior(mean, linear @ linear.T)


# P = L Lᵀ is the precision of the prior. In the coordinates u = Lᵀ x the prior is white, and the
# information of R is that of R L⁻ᵀ = U Λ Vᵀ: what is known there about direction V_k has the
# variance 1/(1 + λ²/σ²). Back in pixels, a unit of V_k is L⁻ᵀ V_k long.
def limit(root: Tensor, sigma: float | Tensor, prior: Prior) -> Tensor:
    """The expected squared error per pixel of the best estimator, in the shape of sigma, float64.

    The network is taken as linear, labels and masks as known, images as drawn from the prior. The
    limit grows with σ from what the prior says about directions of the image that the update does
    not see to what it says about all of them, the prior's variance. Compare it with `metrics.mse`.

    Args:
        root: R, (k, pixels), with RᵀR = JᵀJ, such as `information_root(...)` or `Spectrum.root`.
        sigma: the standard deviation of the noise in every number of the update: above zero.
        prior: of all pixels, or of one image, if the images of a batch are independent.

    Raises ValueError for what is no matrix, for a sigma that is not positive, and for a prior of
    another size.
    """
    _check_root(root)
    sigma = _positive(sigma).to(root.device, torch.float64)
    factor = linalg.cholesky(_repeated(prior, root).precision)
    seen = linalg.solve_triangular(factor, root.double().T, upper=False).T
    size, across = _singular(seen)
    directions = linalg.solve_triangular(factor.T, across.T, upper=True)
    variance = directions.square().sum(0)
    ratio = size / sigma[..., None]
    return (variance / (1 + ratio.square())).mean(-1)


def bayesian_limit(roots: Sequence[Tensor], sigma: float | Tensor, prior: Prior) -> Tensor:
    """The bound of van Trees on the expected squared error per pixel, in the shape of sigma.

    No estimator does better on average over images drawn from the prior, if the information is
    averaged over such images. With few of them the mean is a guess, and the bound tends to be too
    high rather than too low, since it is a convex function of the information. Given other images,
    photographs for example, it is a bound for nobody, but still says what a mean image leaks.

    Args:
        roots: R of each image, as `limit` takes one.
        sigma: the standard deviation of the noise in every number of the update: above zero.
        prior: from which the images were drawn.

    Raises ValueError as `limit` does, without any roots, and for roots of different images' sizes.
    """
    roots = _require_roots(roots)
    mean = roots[0][:0].double()
    for root in roots:
        joined = torch.cat([mean, root.double() / math.sqrt(len(roots))])
        mean = linalg.qr(joined, mode="r").R
    return limit(mean, sigma, prior)


def _shape_of_one(x_shape: Sequence[int]) -> tuple[int, ...]:
    """(channels, height, width) of a batch's shape; raises ValueError for another shape."""
    whole = isinstance(x_shape, Sequence) and len(x_shape) == 4
    if not whole or not all(isinstance(n, int) and n > 0 for n in x_shape):
        raise ValueError(
            "the prior is of images of the shape (batch, channels, height, width), four whole "
            f"numbers, got {x_shape!r}; pass shared.x_shape, or such as (1, 3, 32, 32)"
        )
    return tuple(x_shape[1:])


def _check_root(root: Tensor) -> None:
    if not (isinstance(root, Tensor) and root.ndim == 2):
        came = f"{root.ndim} axes" if isinstance(root, Tensor) else f"a {type(root).__name__}"
        raise ValueError(
            f"the information of an image is a matrix, (k, pixels), got {came}; take "
            "information_root(...) or Spectrum.root"
        )


def _require_roots(roots: Sequence[Tensor]) -> list[Tensor]:
    """The roots as a list; raises ValueError for none, or for those of different sizes."""
    several = list(roots) if isinstance(roots, Sequence | Tensor) else [roots]
    if not several:
        raise ValueError("the information is averaged over images, got none; draw some first")
    for root in several:
        _check_root(root)
    sizes = sorted({root.shape[1] for root in several})
    if len(sizes) > 1:
        words = ", ".join(map(str, sizes))
        raise ValueError(
            f"the information is averaged over images of one size, got roots of {words} pixels; "
            "take rounds of equal batches, of images of one shape"
        )
    return several


def _positive(sigma: float | Tensor) -> Tensor:
    known = isinstance(sigma, Real | Tensor) and not isinstance(sigma, bool)
    if not known or not (torch.as_tensor(sigma) > 0).all():
        came = f"{sigma.min():g}" if isinstance(sigma, Tensor) else f"{sigma!r}"
        raise ValueError(
            f"the limit is for noise of a standard deviation above zero, got {came}; "
            "without noise, what is not seen is in Spectrum.nullity"
        )
    return torch.as_tensor(sigma, dtype=torch.float64)


def _singular(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """All singular values, one for each column, and right vectors as rows; rounding is zero."""
    _, size, across = linalg.svd(matrix, full_matrices=True)
    n = matrix.shape[1]
    size = torch.nn.functional.pad(size, (0, n - len(size)))
    tolerance = rounding(size, max(matrix.shape))
    return torch.where(size > tolerance, size, 0), across


def rounding(size: Tensor, longest: int) -> float:
    """Below this, a singular value of a matrix in float64 cannot be told from zero.

    size: all singular values, the largest first. longest: the longer side of the matrix.
    """
    largest = float(size[0]) if len(size) else 0.0
    return longest * torch.finfo(torch.float64).eps * largest


def _repeated(prior: Prior, root: Tensor) -> Prior:
    """The prior of all pixels; that of one image is repeated."""
    pixels, of_prior = root.shape[1], len(prior.mean)
    images, rest = divmod(pixels, of_prior)
    if rest or not images:
        raise ValueError(
            f"the update was differentiated by {pixels} pixels, and the prior is of {of_prior}; "
            "take photographs(x_shape), of the same channels, height and width"
        )
    precision = prior.precision.to(root.device, torch.float64)
    eye = torch.eye(images, dtype=torch.float64, device=root.device)
    return Prior(prior.mean.repeat(images), torch.kron(eye, precision))
