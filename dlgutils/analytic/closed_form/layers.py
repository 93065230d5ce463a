"""One step down through each kind of module: from what left it to what entered it.

Each function takes the message above a module and returns the message below it; those of layers
with weights also return a record of how well it went. Errors are standard errors, one for every
number, and are taken as independent.
"""

import math

import torch
from torch import Tensor, nn

from dlgutils.analytic.closed_form import activations
from dlgutils.analytic.closed_form.equations import equations_of
from dlgutils.analytic.closed_form.prior import prior_of
from dlgutils.analytic.closed_form.records import Layer, Measured, Message, Step
from dlgutils.analytic.closed_form.solver import solve
from dlgutils.analytic.rank_one import linear_input


# The gradient is G = δ uᵀ, and u = δᵀG / δᵀδ. Let noise change G by E and δ by e, all entries of
# size σ. To first order u changes by
#
#     δᵀE / δᵀδ − u (δᵀe) / δᵀδ,
#
# two independent terms of size σ/‖δ‖ and σ|u|/‖δ‖, together σ √(1 + u²) / ‖δ‖. Rounding adds an
# error relative to u. δ itself is wrong by σ, and by rounding, and ∂loss/∂u = Wᵀδ by the sum of
# these errors. What the equations leave, G − δ uᵀ, has the error of G, and that of δ times u.
def invert_linear(step: Step, measured: Measured, above: Message) -> tuple[Layer, Message]:
    """The record of a linear layer, whose gradient alone determines its input, and what is below.

    ∂loss/∂z is ∂loss/∂bias, where there is a bias. That of the classifier, whose message has no
    value yet, has been read already.
    """
    g = measured.gradient[f"{step.name}.weight"]
    grad_output = above.grad_output
    if len(above.value):
        grad_output = measured.gradient.get(f"{step.name}.bias", grad_output)
    u = linear_input(g, grad_output)
    rounding = measured.rounding
    relative_noise = measured.noise / grad_output.norm()
    grad_error = torch.hypot(rounding * grad_output, grad_output.new_tensor(measured.noise))
    of_noise = relative_noise * (1 + u.square()).sqrt()
    error = torch.hypot(rounding * u, of_noise)
    variance = measured.noise**2 + torch.outer(grad_error, u).square() + _tiny(g)
    left = g - grad_output[:, None] * u
    residual = (left / variance.sqrt()).square().mean().sqrt()
    layer = Layer(
        name=step.name,
        equations=g.numel(),
        unknowns=len(u),
        rank=len(u),
        condition=1.0,
        residual=float(residual),
        u=u[None],
    )
    weight = step.module.weight
    below = grad_output @ weight
    below_error = (grad_error.square() @ weight.square()).sqrt()
    return layer, Message(u, error, below, below_error)


# A kept unit left dropout as u/(1 − p), so u and its error are 1 − p times what is known above. A
# dropped unit left it as zero whatever it was: its error is infinite. By the chain rule ∂loss/∂u is
# the mask, 1/(1 − p) or 0, times the gradient above.
def invert_dropout(step: Step, mask: Tensor, above: Message) -> Message:
    """What is below dropout: nothing is known about a dropped unit, and nothing depends on it.

    mask: (n,), or one for each channel, entries 0 or 1/(1 − p).
    """
    mask = mask.flatten().repeat_interleave(len(above.value) // mask.numel())
    keep = 1 - step.module.p
    value = keep * above.value
    error = torch.where(mask > 0, keep * above.error, math.inf)
    grad_output = mask * above.grad_output
    grad_error = mask * above.grad_error
    return Message(value, error, grad_output, grad_error)


# With a = f(z), an error of a is one of error/f′(z) of z: large where f is flat, and infinite where
# it is constant, since a unit that a ReLU switched off could be anything below zero. By the chain
# rule ∂loss/∂z = f′(z) ∂loss/∂a.
def invert_activation(step: Step, above: Message) -> Message:
    """What is below an activation: its inverse, with errors that grow where it is flat."""
    activation = step.module
    z = activations.inverse(activation, above.value, above.error)
    slope = activations.derivative(activation, z)
    changes = slope > 0
    value = torch.where(changes, z, 0)
    error = torch.where(changes, above.error / slope, math.inf)
    of_slope = _slope_error(activation, above, slope) * above.grad_output
    return Message(
        value=value,
        error=error,
        grad_output=slope * above.grad_output,
        grad_error=torch.hypot(slope * above.grad_error, of_slope),
    )


# The slope belongs to a value of a that may be wrong: it is taken at both ends of the error bar, a
# ± error, and the farther one counts. Seen from a, the slope a(1 − a) of a sigmoid is never wrong
# by more than a is, however wrong z may be. Where f is constant, the slope is 0, but 1 if the unit
# is on after all; the probability of that is about its error divided by the size of the units that
# are on.
def _slope_error(activation: nn.Module, above: Message, slope: Tensor) -> Tensor:
    """The standard error of each slope of an activation, (n,).

    above: what left the activation. slope: (n,), there.
    """
    value = above.value
    error = torch.where(above.error.isfinite(), above.error, 0)
    farthest = torch.zeros_like(slope)
    for end in (value - error, value + error):
        z = activations.inverse(activation, end, error)
        distance = activations.derivative(activation, z) - slope
        farthest = torch.maximum(farthest, distance.abs())
    probability = (error / value.abs().max()).clamp(max=1)
    return torch.where(slope > 0, farthest, probability)


def _tiny(like: Tensor) -> float:
    """The smallest normal number of a dtype, to divide by where a length is zero."""
    return torch.finfo(like.dtype).tiny


# By the chain rule ∂loss/∂u is the transpose of the convolution, applied to ∂loss/∂z: the transpose
# of the kernels gives what each place sends to the taps of its patch, and `fold` adds that up where
# patches overlap.
def invert_convolution(
    step: Step, below: nn.Module | None, measured: Measured, above: Message
) -> tuple[Layer, Message]:
    """The record of a convolution, inverted by least squares with a prior, and what is below.

    Args:
        step: the convolution.
        below: the activation that u left; None: u is the image.
        measured: the shared gradient.
        above: what is known about the output of the convolution.
    """
    equations = equations_of(step, measured, above)
    prior = prior_of(below, above.value, step.shape)
    positive = isinstance(below, nn.ReLU)
    estimate = solve(equations, prior, positive=positive)
    layer = Layer(
        name=step.name,
        equations=equations.n_equations,
        unknowns=equations.unknowns,
        rank=estimate.rank,
        condition=estimate.condition,
        residual=equations.root_mean_square(estimate.u),
        u=estimate.u.view(1, *step.shape),
    )
    sent = equations.weight.T @ equations.grad_output
    grad_error = above.grad_error.view_as(equations.grad_output)
    wrong = equations.weight.T.square() @ grad_error.square()
    message = Message(
        value=estimate.u,
        error=estimate.error,
        grad_output=equations.fold(sent),
        grad_error=equations.fold(wrong).sqrt(),
    )
    return layer, message
