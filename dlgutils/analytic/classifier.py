"""The classifier of a batch as one matrix: what entered it, its δ, and whether the two fit."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dlgutils.analytic.sparse_rows import RowSpace
from dlgutils.types import Shared


class Classifier(NamedTuple):
    """A linear classifier whose bias is one more column of its weight: its inputs end with a one.

    δ is ∂loss/∂logits, where the loss is the mean over the batch.
    """

    weights: Tensor  # (classes, features + 1)
    gradient: Tensor  # (classes, features + 1): ∂loss/∂weights

    def read(self, rows: RowSpace, w: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs, (batch, features + 1), and labels, (batch,), of the images.

        rows: of the gradient. w: (batch, batch), the combinations of them that are images.
        """
        x = w @ rows.basis
        length = x[:, -1:]  # the entry of the bias must be one
        inputs = (x / length).masked_fill(rows.is_zero(w), 0)
        fit = torch.linalg.lstsq(x.T, self.gradient.to(x).T)
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
        """‖G − Δᵀ H‖ / ‖G‖: how far these inputs, H, and δ, Δ, are from giving the gradient, G.

        inputs: (batch, features + 1). delta: (batch, classes).
        """
        missing = self.gradient - delta.T @ inputs
        return float(missing.norm() / self.gradient.norm())


def join_bias(shared: Shared, weight: str, bias: str) -> Classifier:
    """The classifier whose weight and bias have these names in a round."""
    joined = []
    for tensors in (shared.weights, shared.gradient):
        column = tensors[bias][:, None]
        joined.append(torch.cat([tensors[weight], column], 1))
    return Classifier(*joined)
