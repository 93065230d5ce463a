"""BatchNorm in train mode as a pure function: with the batch's own statistics, nothing kept."""

import copy

from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from dlgutils.models.modules import replace_module


class BatchStatistics(nn.Module):
    """Normalises by mean and variance of the batch itself; make it with `batch_statistics`."""

    def __init__(self, layer: _BatchNorm):
        super().__init__()
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps

    def forward(self, x: Tensor) -> Tensor:
        """x, (batch, channels, …), with mean 0 and variance 1 in each channel, then affine."""
        if x.numel() == x.shape[1]:
            raise ValueError(
                "BatchNorm got one number for each channel, which has no variance; PyTorch does "
                "not train so either: share at least two images, or larger ones"
            )
        return batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


def batch_statistics(model: nn.Module) -> nn.Module:
    """A copy of `model` whose BatchNorm layers always use the statistics of the batch at hand.

    It returns what the original returns in train mode, with the same gradient, and changes no
    running statistics, so that a client's round can be repeated: `share` and `invert` take it. All
    images of the batch depend on one another then. Raises ValueError for a model without BatchNorm.
    """
    model = copy.deepcopy(model)
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        raise ValueError(
            f"this {type(model).__name__} has no BatchNorm layer; take the model as it is"
        )
    for layer in layers:
        statistics = BatchStatistics(layer).train(layer.training)
        if layer is model:
            return statistics
        replace_module(model, layer, statistics)
    return model


def mixing_layers(model: nn.Module) -> list[str]:
    """The names of the layers that use the statistics of the batch, so that its images depend."""
    layers = model.named_modules()
    return [name for name, layer in layers if isinstance(layer, BatchStatistics)]
