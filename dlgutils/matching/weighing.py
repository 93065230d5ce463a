"""Attacks that weigh what was sent, which has noise, against what is known of the images."""

import math
from collections.abc import Callable
from dataclasses import replace
from numbers import Real

from torch import Tensor

from dlgutils import coordinates
from dlgutils.matching import objectives
from dlgutils.types import Attack, Guess, Shared, Transform


def weighing_noise(
    attack: Attack,
    sigma: float,
    *,
    transform: Transform = coordinates.whitened,
    variance: float = coordinates.CONTRAST,
) -> Attack:
    """The same attack for a gradient with Gaussian noise: it looks for the most probable image.

    What is minimised is ‖g′ − g‖²/(2σ²) + ‖u‖²/(2v), u the image in the coordinates of `transform`:
    minus the logarithm of the posterior density for Gaussian noise of standard deviation σ, and for
    images that are Gaussian and white there. So each part of the image is matched as far as the
    noise lets it be seen, and left to the prior beyond: there is no step at which to stop. At the
    true image it is about half as large as numbers were sent. Distance, prior and coordinates of
    the attack are replaced; where defences lie before the noise, they are repeated as always.
    Beside it: `analytic.limits`.

    Args:
        attack: such as `attacks.idlg`.
        sigma: the standard deviation of the noise, such as `shared.protocol.sigma`; where features
            are matched, their standard error (`analytic.features_of_one.feature_error`).
        transform: the coordinates; with `coordinates.measured(images)` goes a variance of one.
        variance: v, of each coordinate.

    Raises ValueError for a sigma or a variance that is not above zero and finite.
    """
    return replace(
        attack,
        name=f"{attack.name}, noise weighed",
        distance=objectives.gaussian(sigma),
        transform=transform,
        prior=unlikely_image(transform, variance),
    )


def unlikely_image(transform: Transform, variance: float) -> Callable[[Guess], Tensor]:
    """A prior: minus the logarithm of the density of the images, less a constant. A scalar.

    Images are taken as Gaussian: white in the coordinates of the transform, with this variance.
    Raises ValueError unless the variance is above zero and finite.
    """
    if not (isinstance(variance, Real) and variance is not True and 0 < variance < math.inf):
        raise ValueError(
            f"variance is above zero and finite, got {variance!r}; 1 goes with coordinates.measured"
        )

    def prior(guess: Guess) -> Tensor:
        return transform.encode(guess.x).square().sum() / (2 * variance)

    return prior


def noise_floor(shared: Shared) -> float:
    """The `relative_squared_error` that the true image has under the noise of its round: nσ²/‖g‖².

    n is the count of the numbers that were sent. A search that goes below it fits noise, so it may
    stop there (Morozov 1966): `watch=lambda k, best_loss, x: best_loss.max() < floor`. 0 without
    noise. Raises ValueError where a clip after the noise made it smaller.
    """
    if shared.protocol.clips_noise:
        raise ValueError(
            "the noise of this round was clipped with its gradient, so how large it is left is not "
            "known; stop by a number of steps"
        )
    n = sum(g.numel() for g in shared.gradient.values())
    squared = float(objectives.squared_norm(shared.gradient))
    return n * shared.protocol.sigma**2 / squared
