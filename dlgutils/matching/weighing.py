"""Attacks that weigh what was sent, which has noise, against what is known of photographs."""

import math
from dataclasses import replace

from torch import Tensor

from dlgutils import coordinates
from dlgutils.matching import objectives
from dlgutils.types import Attack, Guess, Shared, Tensors


def weighing_noise(attack: Attack, sigma: float) -> Attack:
    """The same attack for a gradient with Gaussian noise: it looks for the most probable image.

    What is minimised is the negative logarithm of the posterior, ‖g′ − g‖² / 2σ² + `photograph`, in
    nats; at the true image about half as many as numbers were sent. Distance and prior of the
    attack are replaced. Where defences lie before the noise, they are repeated as always.

    sigma: the standard deviation of the noise, such as `shared.protocol.sigma`; where features are
    matched, their standard error (`analytic.features_of_one.feature_error`). Raises ValueError
    unless it is positive and finite.
    """
    if not 0 < sigma < math.inf:
        raise ValueError(
            f"noise is weighed by its standard deviation, a positive number, got {sigma}; without "
            "noise take the attack as it is"
        )

    def misfit(guess: Tensors, target: Tensors) -> Tensor:
        return objectives.squared_error(guess, target) / (2 * sigma**2)

    name = f"{attack.name}, noise weighed"
    return replace(attack, name=name, distance=misfit, prior=photograph)


def noise_floor(shared: Shared) -> float:
    """The `relative_squared_error` that the true image has under the noise of its round: nσ²/‖g‖².

    n is the count of the numbers that were sent. A search that goes below it fits noise, so it may
    stop there (Morozov 1966): `watch=lambda k, best_loss, x: best_loss.max() < floor`. 0 without
    noise.
    """
    n = sum(g.numel() for g in shared.gradient.values())
    squared = float(objectives.squared_norm(shared.gradient))
    return n * shared.protocol.sigma**2 / squared


def photograph(guess: Guess) -> Tensor:
    """A prior: −log of the probability of the images, but for a constant: a scalar, in nats.

    Photographs are white noise in `coordinates.whitened`, of variance `coordinates.CONTRAST`.
    """
    u = coordinates.whitened.encode(guess.x)
    return u.square().sum() / (2 * coordinates.CONTRAST)
