"""The memory of L-BFGS: a ring of pairs for each run, and the Newton step that they imply."""

from typing import NamedTuple

import torch
from torch import Tensor

from dlgutils.matching.optimizers.runs import per_run, replace_where


class Pair(NamedTuple):
    """The last step of every run, s, the change of the slope over it, y, and their products."""

    both: Tensor  # (runs, 2, n)
    ss: Tensor  # (runs,): sᵀs
    sy: Tensor
    yy: Tensor


def pair_of(s: Tensor, y: Tensor) -> Pair:
    """The pair of these steps and these changes of the slope, (runs, n) both."""
    both = torch.stack([s, y], 1)
    ss, sy, _, yy = (both @ both.mT).flatten(1).unbind(1)
    return Pair(both, ss, sy, yy)


class Memory(NamedTuple):
    """The last pairs (s, y) of every run, each divided by √(sᵀy), in a ring of slots.

    The division changes nothing in the Hessian that they imply, and makes every sᵀy one. One slot
    more than there are pairs is always free. `remember` and `forget` change pairs and inverse in
    place, since they are large.
    """

    pairs: Tensor  # (runs, 2, slots, n): steps, and changes of the slope
    inverse: Tensor  # (runs, slots, slots) float64: R⁻¹; rows and columns of free slots are zero
    count: Tensor  # (runs,), pairs since the run last forgot; the free slot is count mod slots
    gamma: Tensor  # (runs,), the inverse curvature sᵀy / yᵀy of the youngest pair
    ticks: int  # updates so far

    @property
    def slots(self) -> int:
        """How many there are."""
        return self.inverse.shape[1]

    @property
    def used(self) -> slice:
        """The slots that any run may have used so far: known without asking the device."""
        return slice(min(self.ticks, self.slots))


def empty_memory(z: Tensor, history: int) -> Memory:
    """The memory of the runs of z, (runs, n), with room for `history` pairs."""
    runs, n = z.shape
    slots = history + 1
    return Memory(
        pairs=z.new_zeros(runs, 2, slots, n),
        inverse=z.new_zeros(runs, slots, slots, dtype=torch.float64),
        count=torch.zeros(runs, dtype=torch.long, device=z.device),
        gamma=z.new_ones(runs),
        ticks=0,
    )


def remember(memory: Memory, new: Tensor, pair: Pair, slope: Tensor) -> tuple[Memory, Tensor]:
    """The memory with this pair for the runs in `new`, and the product of its steps with the slope.

    The pair takes the free slot, and the oldest pair makes room for the next. Runs that remember
    nothing have zeros there, which count as no pair.

    Args:
        memory: is changed in place.
        new: (runs,) bool; the other runs keep their pairs.
        pair: of all runs.
        slope: (runs, n), after it.

    Returns Sᵀg as `newton_step` takes it, (runs, 1, slots in use).
    """
    memory = memory._replace(ticks=memory.ticks + 1)
    scaled = pair.both * pair.sy.rsqrt().view(-1, 1, 1)
    kept = torch.where(new.view(-1, 1, 1), scaled, 0)
    slot = memory.count % memory.slots
    _write(memory.pairs, slot, kept)

    S = memory.pairs[:, 0, memory.used]
    both = torch.stack([slope, kept[:, 1]], 1)  # one pass over the steps for two products
    products = (both @ S.mT).double()
    s_slope, s_y = products.unsqueeze(2).unbind(1)
    _append(memory.inverse[:, memory.used, memory.used], slot, new, s_y)
    count = memory.count + new
    _drop(memory.inverse, count % memory.slots)
    memory = replace_where(memory, new, {"gamma": pair.sy / pair.yy})
    return memory._replace(count=count), s_slope


def forget(memory: Memory, lost: Tensor) -> Memory:
    """The memory without the pairs of the runs in `lost`, (runs,) bool."""
    memory.inverse.mul_(~lost.view(-1, 1, 1))
    return replace_where(memory, lost, {"count": 0, "gamma": 1})


def newton_step(memory: Memory, slope: Tensor, s_slope: Tensor) -> Tensor:
    """−H·slope for all runs, (runs, n), with H the inverse Hessian that the pairs imply.

    With the pairs as the columns of S and Y, and R the upper triangle of SᵀY when the oldest pair
    comes first, H is the compact form of Byrd, Nocedal & Schnabel 1994 (doi:10.1007/BF01582063,
    theorem 2.2). R has ones on its diagonal here, since every sᵀy is one, so that::

        H = (I − S R⁻ᵀ Yᵀ) γ (I − Y R⁻¹ Sᵀ) + S R⁻ᵀ R⁻¹ Sᵀ

    Multiplied by −g, where g is the slope, from right to left::

        q = R⁻¹ Sᵀg
        p = Yq − g
        −Hg = γp − S R⁻ᵀ (q + γYᵀp)

    So two products with R⁻¹, of the size of the history, and four with the pairs replace a loop
    over the pairs. Their order does not matter, since R⁻¹ has its rows and columns by slots.

    s_slope: Sᵀg, (runs, 1, slots in use), float64.
    """
    used = memory.used
    S, Y = memory.pairs[:, :, used].unbind(1)
    inverse = memory.inverse[:, used, used]
    gamma = memory.gamma.view(-1, 1, 1)
    q = s_slope @ inverse.mT
    p = q.to(Y) @ Y - slope.unsqueeze(1)
    p *= gamma
    a = (q + p @ Y.mT) @ inverse
    step = p - a.to(S) @ S
    return step.squeeze(1)


def _append(inverse: Tensor, slot: Tensor, new: Tensor, s_y: Tensor) -> None:
    """The inverse of the upper triangular R, in place, as the youngest pair is put into its slot.

    R gets a column r above a one, so its inverse gets −R⁻¹r above a one.

    Args:
        inverse: (runs, slots in use, slots in use), changed in place.
        slot: (runs,), where the pair is now.
        new: (runs,) bool; the other runs get zeros.
        s_y: (runs, 1, slots in use), the products of all steps with the change of the slope.
    """
    slot = slot.view(-1, 1, 1)
    column = -(s_y @ inverse.mT)
    column.scatter_(2, slot, new.double().view(-1, 1, 1))
    inverse.scatter_(2, slot.expand_as(column.mT), column.mT)


def _drop(inverse: Tensor, slot: Tensor) -> None:
    """The inverse, in place, without the oldest pair, whose row and column in R are the first."""
    row = slot.view(-1, 1, 1).expand(-1, 1, inverse.shape[2])
    inverse.scatter_(1, row, 0)


def _write(pairs: Tensor, slot: Tensor, pair: Tensor) -> None:
    """Put a pair, (runs, 2, n), into a slot of each run's own, (runs,)."""
    runs, two, slots, _ = pairs.shape
    first = torch.arange(0, runs * two * slots, slots, device=slot.device).view(runs, two)
    where = first + per_run(slot)
    pairs.flatten(0, 2).index_copy_(0, where.flatten(), pair.flatten(0, 1))
