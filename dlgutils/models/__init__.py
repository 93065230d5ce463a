"""The networks under attack, their initialisers, and dropout whose mask is a named tensor."""

from dlgutils.models.networks import (
    MLP,
    Dropout,
    LeNet,
    SmoothReLU,
    active_dropouts,
    draw_masks,
    dropouts,
    expose_dropout,
    init_default,
    init_uniform,
    lenet,
    mlp,
    smooth_relu,
    weights,
)

__all__ = [
    "MLP",
    "Dropout",
    "LeNet",
    "SmoothReLU",
    "active_dropouts",
    "draw_masks",
    "dropouts",
    "expose_dropout",
    "init_default",
    "init_uniform",
    "lenet",
    "mlp",
    "smooth_relu",
    "weights",
]
