"""The memory of L-BFGS: a ring of pairs for each run, and the Newton step that they imply."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import solve_triangular

from dlgutils.matching.optimizers.runs import per_run, replace_where


class Memory(NamedTuple):
    """The last pairs (s, y) of every run in a ring of slots, and their scalar products.

    `remember` updates it in place, since it is large.
    """

    s: Tensor  # (runs, history, n): steps
    y: Tensor  # (runs, history, n): changes of the slope
    sy: Tensor  # (runs, history, history): sᵢ·yⱼ, valid for i no younger than j
    yy: Tensor  # (runs, history, history): yᵢ·yⱼ
    count: Tensor  # (runs,), pairs since the run last forgot; the next slot is count mod history
    gamma: Tensor  # (runs,), the inverse curvature sᵀy / yᵀy of the youngest pair
    ticks: int  # updates so far

    @property
    def used(self) -> slice:
        """The slots that any run may have used so far: known without asking the device."""
        history = self.s.shape[1]
        return slice(min(self.ticks, history))


class Products(NamedTuple):
    """The scalar products of all stored pairs with one slope, each (runs, slots in use)."""

    s_slope: Tensor
    y_slope: Tensor


def empty_memory(z: Tensor, history: int) -> Memory:
    """The memory of the runs of z, (runs, n), with room for `history` pairs."""
    runs, n = z.shape
    return Memory(
        s=z.new_zeros(runs, history, n),
        y=z.new_zeros(runs, history, n),
        sy=z.new_zeros(runs, history, history),
        yy=z.new_zeros(runs, history, history),
        count=torch.zeros(runs, dtype=torch.long, device=z.device),
        gamma=z.new_ones(runs),
        ticks=0,
    )


def remember(
    memory: Memory, new: Tensor, s: Tensor, y: Tensor, slope: Tensor
) -> tuple[Memory, Products]:
    """The memory with the pair (s, y) for the runs in `new`, and its products with the slope.

    Args:
        memory: is changed in place.
        new: (runs,) bool; the other runs keep their pairs.
        s: (runs, n), the last step.
        y: (runs, n), the change of the slope over it.
        slope: (runs, n), after it.
    """
    memory = memory._replace(ticks=memory.ticks + 1)
    history = memory.s.shape[1]
    run = torch.arange(len(new), device=new.device)
    slot = memory.count % history
    _write(memory.s, (run, slot), new, s)
    _write(memory.y, (run, slot), new, y)

    used = memory.used  # slices are views: what is written there is written into the memory
    S = memory.s[:, used]
    Y = memory.y[:, used]
    both = torch.stack([slope, y], 1)  # one pass over the pairs for two products
    s_slope, s_y = (both @ S.mT).unbind(1)
    y_slope, y_y = (both @ Y.mT).unbind(1)
    sy = memory.sy[:, used, used]
    yy = memory.yy[:, used, used]
    every = slice(None)
    _write(sy, (run, every, slot), new, s_y)
    _write(yy, (run, every, slot), new, y_y)
    _write(yy, (run, slot, every), new, y_y)

    gamma = s_y[run, slot] / y_y[run, slot]
    memory = replace_where(memory, new, {"gamma": gamma})
    memory = memory._replace(count=memory.count + new)
    return memory, Products(s_slope, y_slope)


def forget(memory: Memory, lost: Tensor) -> Memory:
    """The memory without the pairs of the runs in `lost`, (runs,) bool."""
    return replace_where(memory, lost, {"count": 0, "gamma": 1})


def newton_step(memory: Memory, slope: Tensor, products: Products) -> Tensor:
    """−H·slope for all runs, (runs, n), with H the inverse Hessian that the pairs imply.

    With the pairs, oldest first, as the columns of S and Y, R the upper triangle of SᵀY, and D its
    diagonal, H is the compact form of Byrd, Nocedal & Schnabel 1994 (doi:10.1007/BF01582063,
    theorem 2.2)::

        H = γI + [S  γY] · [ R⁻ᵀ(D + γYᵀY)R⁻¹   −R⁻ᵀ ] · [ Sᵀ  ]
                           [      −R⁻¹             0 ]   [ γYᵀ ]

    Multiplied by the slope g from right to left, with u = Sᵀg and v = γYᵀg::

        q = R⁻¹u                       the second row of the product is −q
        a = R⁻ᵀ(Dq + γYᵀYq − v)        the first row of the product
        Hg = γg + Sa − γYq = γ(g − Yq) + Sa

    So two triangular systems, of the size of the history, and two batched products with all pairs
    replace a loop over the pairs. The small systems are solved in float64.
    """
    used = memory.used
    order, filled = _oldest_first(memory)
    gamma = per_run(memory.gamma)
    sy = _sort_square(memory.sy, order, filled)
    yy = _sort_square(memory.yy, order, filled)
    u = _sort(products.s_slope, order, filled)
    v = _sort(gamma * products.y_slope, order, filled)

    # All of these are zero where there is no pair; ones on R's diagonal make q and a zero there.
    R = sy.triu() + torch.diag_embed((~filled).double())
    D = sy.diagonal(dim1=1, dim2=2)[..., None]
    q = solve_triangular(R, u, upper=True)
    Dq = D * q
    gamma_YYq = gamma[..., None] * (yy @ q)
    a = solve_triangular(R.mT, Dq + gamma_YYq - v, upper=False)

    back = order.argsort(1)
    Yq = _combine(memory.y[:, used], q, back)
    Sa = _combine(memory.s[:, used], a, back)
    Hg = gamma * (slope - Yq) + Sa
    return -Hg


def _oldest_first(memory: Memory) -> tuple[Tensor, Tensor]:
    """The slots in use from the oldest pair to the youngest, and which places have a pair.

    Both are (runs, slots in use). Until the ring has gone round, the oldest pair is in slot 0; then
    it is in the slot that is written next, count mod history.
    """
    in_use = memory.used.stop
    place = torch.arange(in_use, device=memory.count.device)
    went_round = memory.count > in_use
    oldest = torch.where(went_round, memory.count, 0)
    order = (per_run(oldest) + place) % in_use
    filled = place < per_run(memory.count)
    return order, filled


def _sort(
    products: Tensor,  # (runs, slots)
    order: Tensor,
    filled: Tensor,
) -> Tensor:
    """A column of products, (runs, slots, 1), oldest first in float64; zero where not filled."""
    by_age = products.gather(1, order)
    by_age = torch.where(filled, by_age, 0)
    return by_age.double()[..., None]


def _sort_square(
    products: Tensor,  # (runs, history, history)
    order: Tensor,
    filled: Tensor,
) -> Tensor:
    """The products of all pairs, (runs, slots, slots), sorted as by `_sort` along both axes."""
    in_use = order.shape[1]
    row = order[:, :, None]
    column = order[:, None, :]
    index = row * in_use + column
    flat = products[:, :in_use, :in_use].flatten(1)
    by_age = flat.gather(1, index.flatten(1))
    by_age = by_age.view_as(index)
    both_filled = filled[:, :, None] & filled[:, None, :]
    by_age = torch.where(both_filled, by_age, 0)
    return by_age.double()


def _combine(vectors: Tensor, factors: Tensor, back: Tensor) -> Tensor:
    """The sum of the vectors, (runs, slots, n), each times its factor: (runs, n).

    factors: (runs, slots, 1), oldest first. back: where each slot stands in that order.
    """
    row = factors[..., 0].to(vectors.dtype)
    row = row.gather(1, back)[:, None]
    return (row @ vectors)[:, 0]


def _write(store: Tensor, index: tuple, new: Tensor, values: Tensor) -> None:
    """Put the values there for the runs in `new`; the others keep what they have."""
    kept = store[index]
    store[index] = torch.where(per_run(new), values, kept)
