"""How much each equation of a convolution is worth: 1/error² of its right-hand side."""

import torch
from torch import Tensor


# The client computed z as a sum of many terms in its own precision, so what it put into the
# activation is not W u but that sum as it was rounded: wrong by ε times its size, about that of z
# itself and of its neighbours in the channel. Where a sigmoid is near 0, a ≈ exp(z), it leaves z
# with an error of ε alone; without this term such units, a few parts in ten million wrong, would
# be believed a hundred times too much.
def precision_of_z(z: Tensor, error: Tensor, rounding: float) -> Tensor:
    """1/error² of each z, (out, places), with the client's rounding; zero where z is unknown.

    error: (out, places), from the layer above; inf where z is unknown, whose value is zero.
    """
    known = error.isfinite().sum(1, keepdim=True)
    mean_square = z.square().sum(1, keepdim=True) / known.clamp(min=1)
    size = (z.square() + mean_square).sqrt()
    error = torch.hypot(error, rounding * size)
    return torch.where(error > 0, error**-2, 0)


# The gradient has its noise σ. And as each coefficient δ has an error e of its own, the left-hand
# side Σ δ u is wrong by about ‖e‖ times the size of u, which is that of the right-hand side over
# ‖δ‖. A row is left out if all of its δ is zero, since it holds no information then, or if its
# error is zero, since nothing can be divided by that.
def precision_of_gradient(
    gradient: Tensor, grad_output: Tensor, grad_error: Tensor, noise: float
) -> Tensor:
    """1/error² of a row of ∂loss/∂W, (out, 1).

    Args:
        gradient: ∂loss/∂W, (out, taps).
        grad_output: δ, (out, places).
        grad_error: its standard errors, (out, places).
        noise: the standard deviation of noise in every number of the gradient.
    """
    length = grad_output.norm(dim=1, keepdim=True)
    largest = gradient.abs().amax(1, keepdim=True)
    size = largest / length.clamp(min=torch.finfo(length.dtype).tiny)
    of_grad_output = size * grad_error.norm(dim=1, keepdim=True)
    variance = noise**2 + of_grad_output**2
    informative = (length > 0) & (variance > 0)
    return torch.where(informative, 1 / variance, 0)
