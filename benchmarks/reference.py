"""The public reference loop of iDLG, written anew from its published description.

It takes one image at a time, with eager autograd.
"""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from dlgutils import Shared
from dlgutils.analytic import labels


def iterations(
    model: nn.Module, shared: Shared, generator: Generator, most: int = 300
) -> Iterator[tuple[Tensor, int]]:
    """The image, and the evaluations so far, after each iteration of `torch.optim.LBFGS`.

    N(0, 1) start, ‖g′ − g‖², lr 1, no line search, up to 20 evaluations an iteration (Zhu, Liu &
    Han 2019, arXiv:1906.08935), the label read off the gradient first (Zhao, Mopuri & Bilen 2020,
    arXiv:2001.02610).

    Args:
        model: gets the client's weights.
        shared: what the client sent: the gradient of one image.
        generator: draws the start.
        most: iterations.
    """
    model.load_state_dict(shared.weights, strict=False)
    y = labels.by_sign(shared)
    evaluations = 0
    x = torch.randn(shared.x_shape, generator=generator).requires_grad_()
    optimizer = torch.optim.LBFGS([x], lr=1)

    def closure() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        return evaluate(model, shared, x, y)

    for _ in range(most):
        optimizer.step(closure)
        yield x.detach(), evaluations


def evaluate(model: nn.Module, shared: Shared, x: Tensor, y: Tensor) -> Tensor:
    """One evaluation: the distance at x, a scalar, whose slope is added to `x.grad`.

    Args:
        model: has the client's weights.
        shared: what the client sent.
        x: the guess, which requires a gradient.
        y: its labels, (batch,).
    """
    loss = cross_entropy(model(x), y)
    guess = torch.autograd.grad(loss, model.parameters(), create_graph=True)
    distance = 0
    for ours, theirs in zip(guess, shared.gradient.values(), strict=True):
        distance = distance + ((ours - theirs) ** 2).sum()
    distance.backward()
    return distance
