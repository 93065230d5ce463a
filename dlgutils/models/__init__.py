"""The networks under attack, their initialisers, and dropout whose mask is a named tensor."""

from dlgutils.models.batch_norm import BatchStatistics, batch_statistics, mixing_layers
from dlgutils.models.dropout import Dropout, active_dropouts, draw_masks, dropouts, expose_dropout
from dlgutils.models.forward import forward, twice_differentiable
from dlgutils.models.initialise import init_default, init_uniform, weights
from dlgutils.models.modules import called, kept_buffers, observe, replace_module
from dlgutils.models.networks import CNN, MLP, LeNet, cnn, lenet, mlp
from dlgutils.models.normalised import Normalised, normalised
from dlgutils.models.smooth_relu import SmoothReLU, smooth_relu
from dlgutils.models.wrappers import renamed, renaming, unwrapped

__all__ = [
    "CNN",
    "MLP",
    "BatchStatistics",
    "Dropout",
    "LeNet",
    "Normalised",
    "SmoothReLU",
    "active_dropouts",
    "batch_statistics",
    "called",
    "cnn",
    "draw_masks",
    "dropouts",
    "expose_dropout",
    "forward",
    "init_default",
    "init_uniform",
    "kept_buffers",
    "lenet",
    "mixing_layers",
    "mlp",
    "normalised",
    "observe",
    "renamed",
    "renaming",
    "replace_module",
    "smooth_relu",
    "twice_differentiable",
    "unwrapped",
    "weights",
]
