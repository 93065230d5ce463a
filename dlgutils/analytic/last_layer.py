"""The classifier of a batch as one matrix: what enters it, and what that gives."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dlgutils.analytic.sparse_rows import RowSpace
from dlgutils.types import Shared


class LastLayer(NamedTuple):
    """The last layer of a round, with its bias as one more column: its inputs end with a one."""

    weights: Tensor  # (classes, features + 1)
    gradient: Tensor  # (classes, features + 1)

    def read(self, rows: RowSpace, w: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs, (batch, features + 1), and labels, (batch,), of the images.

        rows: of the gradient. w: (batch, batch), the combinations that are images.
        """
        x = w @ rows.basis
        length = x[:, -1:]  # that of the bias is one
        inputs = x / length
        inputs = inputs.masked_fill(rows.is_zero(w), 0)
        gradient = self.gradient.to(x)
        fit = torch.linalg.lstsq(x.T, gradient.T)
        delta = fit.solution * length
        return inputs, delta.argmin(1)

    def delta(self, inputs: Tensor, y: Tensor) -> Tensor:
        """δ of the images, (batch, classes).

        inputs: (batch, features + 1). y: (batch,), their labels.
        """
        weights = self.weights.to(inputs)
        probabilities = (inputs @ weights.T).softmax(1)
        target = one_hot(y, len(weights))
        return (probabilities - target) / len(y)

    def residual(self, inputs: Tensor, delta: Tensor) -> float:
        """‖G − Δᵀ H‖ / ‖G‖: how far inputs and δ are from giving the gradient."""
        missing = self.gradient - delta.T @ inputs
        share = missing.norm() / self.gradient.norm()
        return float(share)


def last_layer(shared: Shared, weight: str, bias: str) -> LastLayer:
    """The layer whose weight and bias have these names in a round."""
    both = []
    for tensors in (shared.weights, shared.gradient):
        column = tensors[bias][:, None]
        matrix = torch.cat([tensors[weight], column], 1)
        both.append(matrix)
    return LastLayer(*both)
