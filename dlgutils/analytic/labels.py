"""What cross-entropy gives away before any optimisation: the label of a single image.

With logits z and one image of class y, ∂loss/∂z = softmax(z) − onehot(y): negative at y and nowhere else. A linear
classifier z = W h + b passes that on: ∂loss/∂b is the same vector δ, and row i of ∂loss/∂W is δᵢ h. Softmax and onehot both
sum to one, so δ sums to zero, which tells it from other vectors.
"""

import torch
from torch import Tensor

from dlgutils.federated import checks
from dlgutils.types import Shared


def read(shared: Shared) -> Tensor:
    """The label of one image, (1,), int64: `by_sign`, or `by_row_sum` where the classifier has no bias."""
    has_bias = list(shared.gradient.values())[-1].ndim == 1
    return by_sign(shared) if has_bias else by_row_sum(shared)


def by_sign(shared: Shared) -> Tensor:
    """The label of one image from the sign of the classifier's bias gradient: (1,), int64.

    ∂loss/∂b = δ whatever the features are, so there is no condition on them. The classifier is the model's last layer, as
    in `named_parameters()`. Source: Zhao, Mopuri & Bilen 2020, arXiv:2001.02610, who read it off the weights.
    Raises ValueError for a batch of several images, a classifier without bias, a gradient with no single negative entry
    (smoothed labels, another loss, added noise), and one whose entries do not sum to zero (noise, or another layer).
    """
    name, delta = list(shared.gradient.items())[-1]
    if delta.ndim != 1:
        raise ValueError(
            f"the last tensor, {name}, is {tuple(delta.shape)} and no bias; use labels.by_row_sum"
        )
    return _only_negative(shared, name, delta)


def by_row_sum(shared: Shared) -> Tensor:
    """The label of one image from the row sums of the classifier's weight gradient: (1,), int64.

    Row i of ∂loss/∂W sums to δᵢ Σh, so the signs are those of δ only if the features' sum Σh is positive, as it is after
    sigmoid or ReLU and need not be after tanh. Source: the public code of iDLG (arXiv:2001.02610).
    Raises ValueError as `by_sign` does; with Σh < 0 and more than two classes the signs are reversed and it raises.
    """
    name, dW = next(
        (item for item in reversed(shared.gradient.items()) if item[1].ndim == 2), ("", None)
    )
    if dW is None:
        raise ValueError(
            f"no linear classifier among {list(shared.gradient)}: a weight of shape (classes, features)"
        )
    return _only_negative(shared, f"the row sums of {name}", dW.sum(1))


def _only_negative(shared: Shared, what: str, delta: Tensor) -> Tensor:
    if shared.x_shape[0] != 1:
        raise ValueError(
            f"the sign rule needs one image, got a batch of {shared.x_shape[0]}, whose δ add up; "
            "ask the client for one image a round, or optimise the labels with attacks.dlg"
        )
    checks.check_gradient(shared)
    negative = int((delta < 0).sum())
    if negative != 1:
        raise ValueError(
            f"{what} has {negative} negative entries where one hard label gives exactly one: smoothed labels, another "
            "loss, noise or features of the wrong sign; optimise the label with attacks.dlg"
        )
    eps = torch.finfo(
        delta.dtype
    ).eps  # softmax near 1 is rounded to it, so a small δ sums to as much
    if delta.sum().abs() > eps**0.5 * delta.abs().sum() + 16 * eps:
        raise ValueError(
            f"{what} does not sum to zero as softmax − onehot does: noise, or not the classifier; it must be the model's "
            "last layer in named_parameters(), or optimise the label with attacks.dlg"
        )
    return delta.argmin()[None]
