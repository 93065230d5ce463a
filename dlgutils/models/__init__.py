"""The networks under attack, their initialisers, and dropout whose mask is a named tensor."""

from dlgutils.models.dropout import Dropout, active_dropouts, draw_masks, dropouts, expose_dropout
from dlgutils.models.initialise import init_default, init_uniform, weights
from dlgutils.models.modules import observe, replace_module
from dlgutils.models.networks import CNN, MLP, LeNet, cnn, lenet, mlp
from dlgutils.models.smooth_relu import SmoothReLU, smooth_relu

__all__ = [
    "CNN",
    "MLP",
    "Dropout",
    "LeNet",
    "SmoothReLU",
    "active_dropouts",
    "cnn",
    "draw_masks",
    "dropouts",
    "expose_dropout",
    "init_default",
    "init_uniform",
    "lenet",
    "mlp",
    "observe",
    "replace_module",
    "smooth_relu",
    "weights",
]
