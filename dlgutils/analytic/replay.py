"""A round that was read is played again: do its error bars hold?

Error bars of first order are only as good as the equations are linear. So the images that were
read, moved by their error bars, are put through the classifier in the client's own precision, and
the gradient that they make is solved from the unmoved images. Now the truth is known: how far off
is the answer? Batches of which the answer is no certificate, or farther off than its bars by far
allow, are too alike to be told apart, whatever the first order says.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import linear

from dlgutils.analytic import mixing, mixing_solution
from dlgutils.analytic.classifier import Classifier
from dlgutils.analytic.mixing_solution import Found

_ROUNDS = 4
_LARGEST_MOVE = 0.1  # of the length of an image
_USUAL = 1 / 4  # of its error bar: images farther off than that are not determined as it says


def checked(
    classifier: Classifier, found: Found, eps: float, like: Tensor, sent: torch.dtype
) -> Found:
    """The same with error bars that held in rounds of known images; infinite where they did not.

    Args:
        classifier: weights and gradient, in float64.
        found: a batch that is certain.
        eps: the relative error of the gradient.
        like: a tensor as the client computes with.
        sent: the dtype in which it sends.
    """
    generator = Generator().manual_seed(0)
    worst, factor_off = torch.zeros_like(found.error), 0.0
    for _ in range(_ROUNDS):
        truth = _moved(classifier, found, generator).to(like).double()
        gradient = play(classifier, truth, found.y, found.factor, like).to(sent).double()
        one = classifier._replace(gradient=gradient)
        again = mixing_solution.near(one, found.inputs, found.y, found.factor_if_known, eps)
        off = (again.inputs - truth).norm(dim=1) / truth.norm(dim=1)
        worst = worst.maximum(off if again.certain else off + torch.inf)
        factor_off = max(factor_off, abs(again.factor / found.factor - 1))
    error = found.error.where(worst <= _USUAL * found.error, torch.inf)
    held = factor_off <= _USUAL * found.factor_error
    return found._replace(error=error, factor_error=found.factor_error if held else math.inf)


def play(classifier: Classifier, inputs: Tensor, y: Tensor, factor: float, like: Tensor) -> Tensor:
    """The classifier's gradient as a client computes it, (classes, features + 1).

    Args:
        classifier: its weights.
        inputs: of the images, (n, features + 1); without bias (n, features).
        y: their labels, (n,).
        factor: by which the loss multiplies δ.
        like: a tensor of the client's dtype and device.
    """
    x = inputs.to(like)
    weights = classifier.weights.to(like)
    if classifier.has_bias:
        logits = linear(x[:, :-1], weights[:, :-1], weights[:, -1])
    else:
        logits = linear(x, weights)
    onehot = mixing.labels_as_onehot(y, len(weights)).to(like)
    return factor * (logits.softmax(1) - onehot).T @ x


def _moved(classifier: Classifier, found: Found, generator: Generator) -> Tensor:
    """The inputs, each moved by its error bar towards a random mixture of all of them."""
    basis = torch.linalg.qr(found.inputs.T).Q.T
    shape = len(found.y), len(found.y)
    direction = torch.randn(shape, generator=generator, dtype=basis.dtype).to(basis)
    if classifier.has_bias:
        ones = basis[:, -1]
        direction = direction - (direction @ ones)[:, None] * ones / (ones @ ones)
    size = found.error.clamp(max=_LARGEST_MOVE) * found.inputs.norm(dim=1)
    length = direction.norm(dim=1).clamp(min=1e-12)
    return found.inputs + (size / length)[:, None] * direction @ basis
