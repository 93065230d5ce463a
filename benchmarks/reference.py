"""The public reference loops of DLG and iDLG, written anew from their published descriptions.

They take one image at a time, with eager autograd.
"""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from dlgutils import Shared
from dlgutils.analytic import labels

ITERATIONS = 300
"""Of up to 20 evaluations each, in the public code of both."""


def iterations(
    model: nn.Module, shared: Shared, generator: Generator, most: int = ITERATIONS
) -> Iterator[tuple[Tensor, int]]:
    """The image, and the evaluations so far, after each iteration of iDLG.

    The label is read off the gradient first (Zhao, Mopuri & Bilen 2020, arXiv:2001.02610); the rest
    is as in `joint_iterations`.

    Args:
        model: gets the client's weights.
        shared: what the client sent: the gradient of one image.
        generator: draws the start.
        most: iterations.
    """
    x = torch.randn(shared.x_shape, generator=generator)
    return _loop(model, shared, x, labels.by_sign(shared), most)


def joint_iterations(
    model: nn.Module, shared: Shared, generator: Generator, most: int = ITERATIONS
) -> Iterator[tuple[Tensor, int]]:
    """The image, and the evaluations so far, after each iteration of DLG.

    N(0, 1) start of image and label, ‖g′ − g‖², `torch.optim.LBFGS` with lr 1, no line search, up
    to 20 evaluations an iteration (Zhu, Liu & Han 2019, arXiv:1906.08935). The arguments are those
    of `iterations`.
    """
    x = torch.randn(shared.x_shape, generator=generator)
    logits = torch.randn(1, shared.classes, generator=generator)
    return _loop(model, shared, x, logits.requires_grad_(), most)


def _loop(
    model: nn.Module, shared: Shared, x: Tensor, y: Tensor, most: int
) -> Iterator[tuple[Tensor, int]]:
    model.load_state_dict(shared.weights, strict=False)
    evaluations = 0
    x.requires_grad_()
    unknown = [x, y] if y.requires_grad else [x]
    optimizer = torch.optim.LBFGS(unknown, lr=1)

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
        y: its labels, (batch,), or logits that may require one too, (batch, classes).
    """
    wanted = y.softmax(dim=1) if y.is_floating_point() else y
    loss = cross_entropy(model(x), wanted)
    guess = torch.autograd.grad(loss, model.parameters(), create_graph=True)
    distance = 0
    for ours, theirs in zip(guess, shared.gradient.values(), strict=True):
        distance = distance + ((ours - theirs) ** 2).sum()
    distance.backward()
    return distance
