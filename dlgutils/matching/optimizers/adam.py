"""Adam for many runs, with what Inverting Gradients adds to it: signs, a box, smaller steps."""

from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from dlgutils.matching.optimizers.runs import (
    all_alive,
    check_positive,
    is_finite,
    per_run,
    replace_where,
)
from dlgutils.types import Optimizer


class AdamState(NamedTuple):
    """Where every run of Adam is."""

    z: Tensor  # (runs, n), the current point
    trial: Tensor  # (runs, n), the point to evaluate next
    alive: Tensor  # (runs,) bool
    mean: Tensor  # (runs, n), of the slopes
    square: Tensor  # (runs, n), mean of the squared slopes
    tick: Tensor  # (runs,), evaluations so far
    lr: Tensor  # (runs,), the current learning rate
    best: Tensor  # (runs,), the last value that counted as progress
    waited: Tensor  # (runs,), evaluations since

    def direction(self, betas: tuple[float, float], eps: float) -> Tensor:
        """mean / (√square + ε), where both are first divided by 1 − βᵗ: they began at zero."""
        unbiased = []
        for average, beta in zip((self.mean, self.square), betas, strict=True):
            weight = 1 - beta ** self.tick.double()
            unbiased.append(average / per_run(weight).to(average))
        mean, square = unbiased
        return mean / (square.sqrt() + eps)


def adam(
    lr: float = 0.1,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    signed: bool = False,
    box: tuple[float, float] | None = None,
    patience: int | None = None,
) -> Optimizer:
    """Adam for each run; a run freezes when its value or slope is not finite.

    Source: Kingma & Ba 2015, arXiv:1412.6980.

    Args:
        lr: the learning rate.
        betas: the shares of the mean slope, and of the mean square, that are kept at each tick.
        eps: added to the root of the mean square, which may be zero.
        signed: take the signs of the slope instead of the slope (Geiping et al. 2020,
            arXiv:2003.14053).
        box: (lowest, highest) value of every unknown; what steps outside is clamped to it.
        patience: evaluations without progress, a value lower by 1e-4 of itself, after which the
            learning rate of the run becomes a tenth; None: it stays.

    Raises ValueError unless lr and patience are positive and the box has room.
    """
    check_positive("lr", lr)
    if patience is not None:
        check_positive("patience", patience)
    low, high = (-torch.inf, torch.inf) if box is None else box
    if not low < high:
        raise ValueError(
            f"a box goes from its lowest to its highest value, got {box}; images take (0, 1)"
        )

    def init(z: Tensor) -> AdamState:
        return _start(z.clamp(low, high), lr)

    def update(state: AdamState, value: Tensor, slope: Tensor) -> AdamState:
        alive = state.alive & is_finite(value, slope)
        slope = slope.sign() if signed else slope
        state = state._replace(
            mean=state.mean.lerp(slope, 1 - betas[0]),
            square=state.square.lerp(slope**2, 1 - betas[1]),
            tick=state.tick + 1,
        )
        state = _decay(state, value, patience)
        step = per_run(state.lr) * state.direction(betas, eps)
        moved = {"z": state.trial, "trial": (state.trial - step).clamp(low, high)}
        state = state._replace(alive=alive, trial=state.z)
        return replace_where(state, alive, moved)

    settings = {"lr": lr, "betas": betas, "eps": eps}
    settings |= {"signed": signed, "box": box, "patience": patience}
    return Optimizer("adam", init, update, MappingProxyType(settings))


def _start(z: Tensor, lr: float) -> AdamState:
    zeros = torch.zeros_like(z)
    ones = z.new_ones(len(z))
    none = torch.zeros(len(z), dtype=torch.long, device=z.device)
    return AdamState(
        z=z,
        trial=z,
        alive=all_alive(z),
        mean=zeros,
        square=zeros,
        tick=none,
        lr=lr * ones,
        best=torch.inf * ones,
        waited=none,
    )


def _decay(state: AdamState, value: Tensor, patience: int | None) -> AdamState:
    """The state with a tenth of the learning rate for the runs that have waited too long."""
    progress = value < state.best * (1 - 1e-4)
    best = torch.where(progress, value, state.best)
    waited = torch.where(progress, 0, state.waited + 1)
    too_long = waited > (torch.inf if patience is None else patience)
    lr = torch.where(too_long, state.lr / 10, state.lr)
    return state._replace(lr=lr, best=best, waited=torch.where(too_long, 0, waited))
