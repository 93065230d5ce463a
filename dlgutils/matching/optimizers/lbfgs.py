"""Optimisers of many independent functions at once: points are (runs, n), no run waits for another.

Each is a pair of pure functions (see `types.Optimizer`): `init` makes a state, `update` takes one evaluation of every run
at `state.trial` and returns the next state. Whoever calls them evaluates, records, and may stop between any two ticks.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dlgutils.types import Optimizer


class AdamState(NamedTuple):
    """Where every run of Adam is."""

    z: Tensor  # (runs, n), the point held
    trial: Tensor  # (runs, n), the point to evaluate next
    alive: Tensor  # (runs,) bool
    mean: Tensor  # (runs, n), of the slopes
    square: Tensor  # (runs, n), mean of the squared slopes
    tick: Tensor  # (runs,), evaluations so far
    lr: Tensor  # (runs,), the step now
    lowest: Tensor  # (runs,), the value that counted last as progress
    waited: Tensor  # (runs,), evaluations since


def adam(
    lr: float = 0.1,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    signed: bool = False,
    box: tuple[float, float] | None = None,
    patience: int | None = None,
) -> Optimizer:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980) for each run; a run freezes when its value or slope is not finite.

    signed: take the signs of the slope in its place, as Geiping et al. 2020, arXiv:2003.14053, do. box: (lowest, highest)
    value of every unknown; what steps outside is put on the border. patience: evaluations without progress, a value lower
    by 1e-4 of itself, after which the step of the run becomes a tenth; None: it stays.
    """
    settings = {
        "lr": lr,
        "betas": betas,
        "eps": eps,
        "signed": signed,
        "box": box,
        "patience": patience,
    }
    _positive(lr=lr, **({} if patience is None else {"patience": patience}))
    low, high = (-torch.inf, torch.inf) if box is None else box
    if not low < high:
        raise ValueError(
            f"a box goes from its lowest to its highest value, got {box}; images take (0, 1)"
        )
    patience = torch.inf if patience is None else patience

    def init(z: Tensor) -> AdamState:
        zeros, z = torch.zeros_like(z), z.clamp(low, high)
        none = torch.zeros(len(z), dtype=torch.long, device=z.device)
        per_run = z.new_ones(len(z))
        return AdamState(
            z, z, _everyone(z), zeros, zeros, none, lr * per_run, torch.inf * per_run, none
        )

    def update(state: AdamState, value: Tensor, slope: Tensor) -> AdamState:
        alive = state.alive & _finite(value, slope)
        slope = slope.sign() if signed else slope
        tick = state.tick + 1
        progress = value < state.lowest * (1 - 1e-4)
        waited = torch.where(progress, 0, state.waited + 1)
        now = torch.where(waited > patience, state.lr / 10, state.lr)
        mean = state.mean.lerp(slope, 1 - betas[0])
        square = state.square.lerp(slope**2, 1 - betas[1])
        weight, weight_of_square = (_column(1 - beta ** tick.double()).to(slope) for beta in betas)
        step = mean / weight / ((square / weight_of_square).sqrt() + eps)
        trial = torch.where(
            alive[:, None], (state.trial - _column(now) * step).clamp(low, high), state.z
        )
        held = torch.where(alive[:, None], state.trial, state.z)
        lowest, waited = (
            torch.where(progress, value, state.lowest),
            torch.where(waited > patience, 0, waited),
        )
        return AdamState(held, trial, alive, mean, square, tick, now, lowest, waited)

    return Optimizer("signed adam" if signed else "adam", init, update, settings)


class Memory(NamedTuple):
    """The last pairs (s, y) of every run in a ring of slots, and their dot products. Updated in place: it is large."""

    s: Tensor  # (runs, history, n): steps
    y: Tensor  # (runs, history, n): changes of the slope
    sy: Tensor  # (runs, history, history): sᵢ·yⱼ, valid for i no younger than j
    yy: Tensor  # (runs, history, history): yᵢ·yⱼ
    count: (
        Tensor  # (runs,), pairs since the run last forgot them; the next slot is count mod history
    )
    gamma: Tensor  # (runs,), the inverse curvature sᵀy / yᵀy of the youngest pair
    ticks: int  # updates so far: no slot from here on has been used by any run


class LbfgsState(NamedTuple):
    """Where every run of L-BFGS is, on its way along one direction."""

    z: Tensor  # (runs, n), the point held: the last one accepted
    trial: Tensor  # (runs, n), the point to evaluate next: z + t · direction
    alive: Tensor  # (runs,) bool
    value: Tensor  # (runs,), at z; inf before the first evaluation
    slope: Tensor  # (runs, n), at z
    direction: Tensor  # (runs, n)
    t: Tensor  # (runs,), the step along it
    memory: Memory


def lbfgs(*, history: int = 100, line_search: bool = True) -> Optimizer:
    """L-BFGS for each run, with or without a line search.

    With it (the default) a step is accepted if it decreases the value enough (Armijo, 1e-4); otherwise the next tick
    tries a shorter step along the same direction. A run whose step becomes negligible forgets its pairs and goes on
    from steepest descent; if that fails too, it stops.
    Without it: what `torch.optim.LBFGS` does as DLG's public code calls it (lr 1, first step at most 1/‖∇‖₁, its
    tolerances), with its freedom to diverge; a run freezes when its value or slope is not finite.

    Directions follow the compact form of Byrd, Nocedal & Schnabel (1994, Mathematical Programming 63): two batched
    products with all stored pairs and triangular systems of size `history`, instead of a loop over the pairs. Nothing in
    it waits for the device: no decision is taken by the host.
    Memory: 2 · history · n numbers a run, updated in place, so an old state cannot be resumed.
    """
    _positive(history=history)
    move = _backtrack if line_search else _full_step

    def init(z: Tensor) -> LbfgsState:
        infinite, zeros = z.new_full((len(z),), torch.inf), torch.zeros_like(z)
        return LbfgsState(
            z,
            z,
            _everyone(z),
            infinite,
            zeros,
            zeros,
            z.new_ones(len(z)),
            _empty_memory(z, history),
        )

    def update(state: LbfgsState, value: Tensor, slope: Tensor) -> LbfgsState:
        state = move(state, value, slope)
        step = _column(torch.where(state.alive, state.t, 0)) * state.direction
        return state._replace(trial=state.z + step)

    settings = {"history": history, "line_search": line_search}
    name = "lbfgs" if line_search else "lbfgs without line search"
    return Optimizer(name, init, update, settings)


def _backtrack(state: LbfgsState, value: Tensor, slope: Tensor) -> LbfgsState:
    """Accept a sufficient decrease and turn to a new direction; else halve the step; else start again, or stop."""
    enough = value <= state.value + 1e-4 * state.t * _dot(state.slope, state.direction)
    accepted = state.alive & _finite(value, slope) & enough
    s, y = state.trial - state.z, slope - state.slope
    state = _accept(
        state, accepted, _dot(s, y) > 1e-10 * s.norm(dim=1) * y.norm(dim=1), value, slope
    )
    t = torch.where(accepted, _first_step(state, torch.inf), state.t / 2)
    uphill = ~(_dot(state.slope, state.direction) < 0)
    negligible = t * state.direction.abs().amax(1) < torch.finfo(t.dtype).eps
    lost = state.alive & (uphill | negligible)
    hopeless = lost & ((state.memory.count == 0) | (state.slope == 0).all(1))
    memory = state.memory._replace(count=torch.where(lost, 0, state.memory.count))
    state = state._replace(
        alive=state.alive & ~hopeless,
        memory=memory._replace(gamma=torch.where(lost, 1, memory.gamma)),
        direction=torch.where(_column(lost), -state.slope, state.direction),
    )
    return state._replace(t=torch.where(lost, _first_step(state, torch.inf), t))


def _full_step(state: LbfgsState, value: Tensor, slope: Tensor) -> LbfgsState:
    """Accept every finite point; stop where `torch.optim.LBFGS` would: a flat slope, or no descent to speak of."""
    accepted = state.alive & _finite(value, slope)
    started = state.value.isfinite()
    state = _accept(
        state, accepted, _dot(state.trial - state.z, slope - state.slope) > 1e-10, value, slope
    )
    flat = slope.abs().amax(1) <= 1e-7
    level = _dot(state.slope, state.direction) > -1e-9
    return state._replace(
        t=torch.where(started, 1, _first_step(state, 1)), alive=accepted & ~flat & ~level
    )


def _first_step(state: LbfgsState, at_most: float) -> Tensor:
    """The step along −slope that moves all unknowns by 1 together; 1 for the runs that remember a pair."""
    return torch.where(state.memory.count > 0, 1, (1 / state.slope.abs().sum(1)).clamp_max(at_most))


def _accept(
    state: LbfgsState, accepted: Tensor, curved: Tensor, value: Tensor, slope: Tensor
) -> LbfgsState:
    """Move the accepted runs to their trial points, remember the pairs of the curved ones, and turn to a new direction."""
    s, y = state.trial - state.z, slope - state.slope
    memory = state.memory._replace(ticks=state.memory.ticks + 1)
    memory, dots = _remember(memory, accepted & state.value.isfinite() & curved, s, y, slope)
    return state._replace(
        z=torch.where(_column(accepted), state.trial, state.z),
        value=torch.where(accepted, value, state.value),
        slope=torch.where(_column(accepted), slope, state.slope),
        direction=torch.where(
            _column(accepted), _newton_step(memory, slope, *dots), state.direction
        ),
        memory=memory,
    )


def _remember(
    memory: Memory, new: Tensor, s: Tensor, y: Tensor, slope: Tensor
) -> tuple[Memory, tuple[Tensor, Tensor]]:
    """The memory with (s, y) in it for the runs in `new`; and Sᵀslope and Yᵀslope, each (runs, slots in use)."""
    run, slot, used = (
        torch.arange(len(new), device=new.device),
        memory.count % memory.s.shape[1],
        _used(memory),
    )
    for pairs, youngest in ((memory.s, s), (memory.y, y)):
        pairs[run, slot] = torch.where(_column(new), youngest, pairs[run, slot])
    both = torch.stack([slope, y], 1)
    (s_g, s_y), (y_g, y_y) = (
        (both @ pairs[:, used].mT).unbind(1) for pairs in (memory.s, memory.y)
    )
    sy, yy = memory.sy[:, used, used], memory.yy[:, used, used]
    sy[run, :, slot] = torch.where(_column(new), s_y, sy[run, :, slot])
    yy[run, :, slot] = yy[run, slot, :] = torch.where(_column(new), y_y, yy[run, slot, :])
    gamma = s_y[run, slot] / y_y[run, slot]
    memory = memory._replace(gamma=torch.where(new, gamma, memory.gamma), count=memory.count + new)
    return memory, (s_g, y_g)


def _newton_step(memory: Memory, slope: Tensor, s_g: Tensor, y_g: Tensor) -> Tensor:
    """−H·slope for all runs, (runs, n).

    H = γI + [S γY] [[R⁻ᵀ(D + γYᵀY)R⁻¹, −R⁻ᵀ], [−R⁻¹, 0]] [S γY]ᵀ with R the upper triangle of SᵀY, oldest pair first, and
    D its diagonal. Slots without a pair have zeros there, and ones on the diagonal of R.
    """
    used, gamma = _used(memory), _column(memory.gamma)
    place = torch.arange(used.stop, device=slope.device)
    filled = place < _column(memory.count)
    order = (
        _column(torch.where(memory.count > used.stop, memory.count, 0)) + place
    ) % used.stop  # oldest slot first
    by_age = order[:, :, None] * used.stop + order[:, None, :]
    both = filled[:, :, None] & filled[:, None, :]
    sy, yy = (
        torch.where(
            both, dots[:, used, used].flatten(1).gather(1, by_age.flatten(1)).view_as(both), 0
        ).double()
        for dots in (memory.sy, memory.yy)
    )
    u, w = (
        torch.where(filled, dots.gather(1, order), 0).double()[..., None]
        for dots in (s_g, gamma * y_g)
    )
    R = sy.triu() + torch.diag_embed((~filled).double())
    q = torch.linalg.solve_triangular(R, u, upper=True)
    inner = sy.diagonal(dim1=1, dim2=2)[..., None] * q + gamma[..., None] * (yy @ q)
    a = torch.linalg.solve_triangular(R.mT, inner - w, upper=False)
    back = order.argsort(1)
    a, q = (v[..., 0].to(slope.dtype).gather(1, back)[:, None] for v in (a, q))
    return -(gamma * (slope - (q @ memory.y[:, used])[:, 0]) + (a @ memory.s[:, used])[:, 0])


def _used(memory: Memory) -> slice:
    """The slots that any run may have used so far: known without asking the device."""
    return slice(min(memory.ticks, memory.s.shape[1]))


def _empty_memory(z: Tensor, history: int) -> Memory:
    runs, n = z.shape
    pairs, dots = (runs, history, n), (runs, history, history)
    return Memory(
        *map(z.new_zeros, (pairs, pairs, dots, dots)),
        count=torch.zeros(runs, dtype=torch.long, device=z.device),
        gamma=z.new_ones(runs),
        ticks=0,
    )


def _finite(value: Tensor, slope: Tensor) -> Tensor:
    return value.isfinite() & slope.isfinite().all(1)


def _everyone(z: Tensor) -> Tensor:
    return torch.ones(len(z), dtype=torch.bool, device=z.device)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1)


def _column(runs: Tensor) -> Tensor:
    return runs[:, None]


def _positive(**settings: float) -> None:
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
