"""Linear layers that get the image itself, so that their input is the image."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlgutils.models.modules import observe

_SAME = 1e-4  # of the length of a layer's input: rounding in single precision is less


class Pixels(NamedTuple):
    """What enters a layer that gets the image itself: gain · x + offset, each (pixels,)."""

    gain: Tensor
    offset: Tensor

    def image(self, inputs: Tensor, x_shape: tuple[int, ...]) -> Tensor:
        """The images, (n, channels, height, width), of what entered the layer, (n, pixels)."""
        return ((inputs - self.offset) / self.gain).view(-1, *x_shape[1:])


def pixel_layers(model: nn.Module, x_shape: tuple[int, ...]) -> dict[str, Pixels]:
    """The linear layers that get the image itself, in any unit of brightness, {name: `Pixels`}.

    x_shape: (batch, channels, height, width). Three forward passes find them.
    """
    like = next(model.parameters())
    shape = (1, *x_shape[1:])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(shape, generator=generator).to(like)
    black, white = _inputs(model, like.new_zeros(shape)), _inputs(model, like.new_ones(shape))
    between = _inputs(model, drawn)
    found = {}
    for name in black.keys() & white.keys() & between.keys():
        offset, gain = black[name], white[name] - black[name]
        if len(gain) == drawn.numel() and gain.all():
            predicted = offset + gain * drawn.flatten()
            if (predicted - between[name]).norm() <= _SAME * between[name].norm():
                found[name] = Pixels(gain, offset)
    return found


def _inputs(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What enters each linear layer, of those that get one row for one image: {name: (n_in,)}."""
    calls, _ = observe(model, x)
    linear = [call for call in calls if isinstance(call.module, nn.Linear)]
    return {call.name: call.input.flatten() for call in linear if call.input.shape[:-1] == (1,)}
