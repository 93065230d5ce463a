"""The parts of Levenberg–Marquardt for many searches at once, each with a damping of its own.

Sources: Levenberg 1944, doi:10.1090/qam/10666; Marquardt 1963, doi:10.1137/0111030.
"""

import torch
from torch import Tensor

_EDGE = 1e-14  # of the damping, relative to the largest entry of the diagonal


def damped_step(normal: Tensor, gradient: Tensor, damping: Tensor) -> Tensor:
    """What to subtract from the unknowns, (n, k).

    normal: JᵀJ, (n, k, k), whose diagonals are changed; gradient: Jᵀ times the errors, (n, k);
    damping: (n,), relative to the diagonals.
    """
    diagonal = normal.diagonal(dim1=1, dim2=2)
    largest = diagonal.amax(1, keepdim=True)
    diagonal += damping[:, None] * diagonal + _EDGE * largest
    step, _ = torch.linalg.solve_ex(normal, gradient[..., None])
    return step[..., 0]


def adapt(damping: Tensor, better: Tensor) -> Tensor:
    """The damping, (n,), of the next step: less where the last one was better, (n,) bool."""
    return torch.where(better, damping / 5, damping * 4).clamp(1e-15, 1e8)


def choose(better: Tensor, new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> tuple:
    """Of two named tuples of tensors, searches first, the new one's where it is better."""
    parts = []
    for a, b in zip(new, old, strict=True):
        mask = better.view(-1, *[1] * (a.ndim - 1))
        parts.append(torch.where(mask, a, b))
    return type(old)(*parts)


def lowest(loss: Tensor, keep: int) -> Tensor:
    """Which searches, (n,), have the lowest losses: at most `keep` indices; NaN comes last."""
    finite = loss.nan_to_num(torch.inf)
    return finite.topk(min(keep, len(loss)), largest=False).indices
