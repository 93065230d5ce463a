"""What enters the linear layers of a network: for attacks that compare it instead of gradients."""

from torch import nn

from dlgutils.models.forward import forward
from dlgutils.models.modules import recorded_calls
from dlgutils.protocol import Protocol
from dlgutils.types import Guess, Tensors


def linear_inputs(weights: Tensors, model: nn.Module, guess: Guess, _: Protocol) -> Tensors:
    """What enters each linear layer for a guess, by the name of its weight: (batch, n_in) each.

    Of a layer that is called more than once, the last call. First derivatives of it are all that an
    attack needs.

    Args:
        weights: of one round, {name: tensor}.
        model: the attacker's copy of the network.
        guess: images and masks; labels and protocol do not matter.
    """
    with recorded_calls(model) as calls:
        forward(model, {**weights, **guess.masks}, guess.x)
    linear = [call for call in calls if isinstance(call.module, nn.Linear)]
    return {f"{call.name}.weight": call.input for call in linear}
