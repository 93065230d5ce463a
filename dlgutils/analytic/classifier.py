"""The classifier of a batch as one matrix: what entered it, its δ, and whether the two fit."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dlgutils.analytic.sparse_rows import RowSpace
from dlgutils.types import Shared, Tensors


class Classifier(NamedTuple):
    """A linear classifier whose bias is one more column of its weight: its inputs end with a one.

    δ is ∂loss/∂logits, where the loss is the mean over the batch.
    """

    weights: Tensor  # (classes, features + 1), float64; without bias (classes, features)
    gradient: Tensor  # the same: ∂loss/∂weights
    has_bias: bool = True

    @property
    def linear(self) -> Tensor:
        """The weights without the bias, (classes, features)."""
        return self.weights[:, :-1] if self.has_bias else self.weights

    def delta_sum(self, factor: float) -> Tensor | None:
        """softmax − onehot summed over the batch, (classes,); None without a bias.

        factor: by which the loss multiplies it: one over the batch where the loss is a mean.
        """
        return self.gradient[:, -1] / factor if self.has_bias else None

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

    def without(self, inputs: Tensor, y: Tensor, factor: float) -> "Classifier":
        """The classifier with the gradient of the other images.

        Args:
            inputs: of some images, (n, features + 1).
            y: their labels, (n,).
            factor: by which the loss multiplies δ.
        """
        difference = (inputs @ self.weights.T).softmax(1)
        difference = difference - one_hot(y, len(self.weights)).to(difference)
        return self._replace(gradient=self.gradient - factor * difference.T @ inputs)

    def residual(self, inputs: Tensor, delta: Tensor) -> float:
        """‖G − Δᵀ H‖ / ‖G‖: how far these inputs, H, and δ, Δ, are from giving the gradient, G.

        inputs: (batch, features + 1). delta: (batch, classes).
        """
        missing = self.gradient - delta.T @ inputs
        return float(missing.norm() / self.gradient.norm())


def classifier_of(shared: Shared) -> Classifier:
    """The classifier of a round, in float64, its bias as one more column of its weights."""
    weight, bias = shared.classifier
    weights = join_bias(shared.weights, weight, bias)
    gradient = join_bias(shared.gradient, weight, bias)
    return Classifier(weights, gradient, has_bias=bias is not None)


def join_bias(tensors: Tensors, weight: str, bias: str | None) -> Tensor:
    """A weight in float64, (n_out, n_in), with the bias as its last column if it is there."""
    w = tensors[weight].double()
    if bias not in tensors:
        return w
    return torch.cat([w, tensors[bias].double()[:, None]], 1)
