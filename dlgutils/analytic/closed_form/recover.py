"""The image without descent: from the classifier down, each layer a linear system that is solved.

If what left a layer is known, and how the loss changes with it, then two things are known about
what entered. With z = A u + b the pre-activation of one image and δ = ∂loss/∂z,

    A u = z − b                 the layer itself, wherever its activation can be inverted;
    G(δ) u = ∂loss/∂weight      the shared gradient, which is linear in u too.

Together they give u, which left the layer below; the chain rule gives ∂loss/∂u; and so on down to
the image. That is the recursion of R-GAP (Zhu & Blaschko 2021, arXiv:2010.07733), to which three
things are added. Dropout before a linear layer does not stop it: the mask is read (`masks.read`),
and the equations of dropped units are left out. Every number carries the size of its error, from
rounding or from noise, so that an equation counts for as much as it is worth: a sigmoid saturated
at 1 − 10⁻⁷ says almost nothing about its pre-activation, one at 10⁻⁷ all that the client kept. And
a prior, weak beside good equations, fills in what they do not determine: hidden units lie in the
range of their activation, and photographs are white noise in `coordinates.whitened`.
"""

import torch
from torch import nn

from dlgutils import models
from dlgutils.analytic import masks
from dlgutils.analytic.closed_form import certificate
from dlgutils.analytic.closed_form.chain import chain, in_float64
from dlgutils.analytic.closed_form.layers import (
    invert_activation,
    invert_convolution,
    invert_dropout,
    invert_linear,
)
from dlgutils.analytic.closed_form.pooled import invert_pooled
from dlgutils.analytic.closed_form.records import Layer, Measured, Message, Solution, Step
from dlgutils.federated import checks
from dlgutils.federated.alignment import align
from dlgutils.federated.readable import NOISE, require_gradient
from dlgutils.types import Shared, Tensors


def recover(model: nn.Module, shared: Shared, *, noise: float | None = None) -> Solution:
    """The image, label and masks of one round by linear algebra in float64: a `Solution`.

    Look at `residual` and `determined` before the image. A residual far above rounding or noise
    marks a wrong answer. And where the answer is not determined, there may be others: with ReLU,
    noise, saturated units or few channels, part of the image is the prior's guess. (That a ReLU
    leaves nothing negative is used where its equations do not suffice, and not counted as an
    equation.) An image of n unknowns takes about 25 n² bytes and n³/3 multiplications, n = 3 072
    for 32×32 pixels in colour, twice as many where it is not determined. A hidden convolution is
    solved channel by channel, in a fraction of that, but 20 to 60 times over where a ReLU below
    leaves it underdetermined. PyTorch's threads share the work; what rounds have in common is kept.

    model: a chain of `nn.Conv2d`, `nn.Linear`, activations (Sigmoid, Tanh, LeakyReLU, ELU,
    Softplus, ReLU), and `Dropout` before linear layers, that ends with the classifier. Layers may
    lack a bias. `nn.AvgPool2d` may come after a convolution, or after its Sigmoid, Tanh, ELU or
    Softplus; it costs several solutions instead of one.
    noise: the standard deviation of noise in every number of the gradient; None: what the round's
    protocol says. Rounding is always taken into account.

    It ends at `nn.MaxPool2d`, at the average of ReLUs, and at batches, whose images share one sum
    of gradients: `attacks.features` takes these.

    Raises ValueError for several images, for a partial update, for a gradient of another model,
    with noise that was not announced, or zero for a whole linear layer, for a model that is not
    such a chain, for a noise that is negative or not finite, and for defences other than noise,
    clipping and half precision.
    """
    masks.check_noise(noise)
    model, (shared,) = align(model, shared)
    checks.check(model, shared)
    shared = require_gradient(model, shared, NOISE)
    noise = shared.protocol.sigma if noise is None else noise
    shared.require(*shared.weights)
    reading = masks.read_unchecked(model, shared, noise)
    model = in_float64(model, shared)
    steps = chain(model, shared.x_shape)
    gradient = {name: g.double() for name, g in shared.gradient.items()}
    rounding = torch.finfo(shared.precision).eps
    measured = Measured(gradient, noise, rounding)
    delta = reading.delta[0].double()
    unknown = delta.new_empty(0)
    top = Message(unknown, unknown, delta, unknown)
    layers, bottom = _descend(steps, measured, reading.masks, top)
    x = bottom.value.view(shared.x_shape)
    left = certificate.residual(model, shared, x, reading.y, reading.masks)
    return Solution(x.to(shared.like), reading.y, reading.masks, layers, left)


def _descend(
    steps: list[Step], measured: Measured, drawn: Tensors, message: Message
) -> tuple[tuple[Layer, ...], Message]:
    """The layers from the classifier down, and what is known about the image.

    Args:
        steps: the chain of modules, from the image up.
        measured: the shared gradient.
        drawn: the masks that were read, {name: (1, features)}.
        message: what is known about the logits.
    """
    layers = []
    for k in reversed(range(len(steps))):
        step = steps[k]
        match step.module:
            case nn.Linear():
                layer, message = invert_linear(step, measured, message)
                layers.append(layer)
            case nn.Sequential():
                layer, message = invert_pooled(step, _below(steps, k), measured, message)
                layers.append(layer)
            case nn.Conv2d():
                layer, message = invert_convolution(step, _below(steps, k), measured, message)
                layers.append(layer)
            case models.Dropout():
                mask = drawn[f"{step.name}.mask"][0].double()
                message = invert_dropout(step, mask, message)
            case _:
                message = invert_activation(step, message)
    return tuple(layers), message


def _below(steps: list[Step], k: int) -> nn.Module | None:
    """The module whose range step k gets; None: it gets the image. The mean of a range is in it."""
    if k == 0:
        return None
    module = steps[k - 1].module
    return module[-2] if isinstance(module, nn.Sequential) else module
