"""ReLU with a rounded corner, for an attacker's copy of a network whose client uses ReLU."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from dlgutils.models.modules import replace_module


class SmoothReLU(nn.Module):
    """ReLU with a rounded corner: softplus, with a width of 1/sharpness of the input's rms."""

    def __init__(self, sharpness: float = 16.0):
        super().__init__()
        if not sharpness > 0:
            raise ValueError(f"sharpness must be positive, got {sharpness}; 16 is the default")
        self.sharpness = sharpness

    def forward(self, x: Tensor) -> Tensor:
        """width · softplus(x / width), of the shape of x, which is any."""
        tiny = torch.finfo(x.dtype).tiny  # an input of zeros has no width of its own
        rms = (x.square().mean() + tiny).sqrt()
        width = rms / self.sharpness
        return width * softplus(x / width)


def smooth_relu(model: nn.Module, sharpness: float = 16.0) -> nn.Module:
    """A copy of `model` in which every `nn.ReLU` is a `SmoothReLU`, with the same parameters.

    It is a model for the attacker. The slope of ReLU jumps where a unit switches on, and the slope
    of the matching loss, which autograd computes between the jumps, does not show them; rounded
    corners let an optimiser see that a unit is about to switch. The larger `sharpness`, the nearer
    to the client's network. Raises ValueError for a model without `nn.ReLU` layers.
    """
    model = copy.deepcopy(model)
    corners = [layer for layer in model.modules() if isinstance(layer, nn.ReLU)]
    if not corners:
        raise ValueError(
            f"this {type(model).__name__} has no nn.ReLU layer to round; functional calls such as "
            "F.relu(x) cannot be seen: make them layers, or attack the model as it is"
        )
    for layer in corners:
        replace_module(model, layer, SmoothReLU(sharpness))
    return model
