"""What cross-entropy gives away before any optimisation: the label of a single image.

With logits z and one image of class y, ∂loss/∂z = softmax(z) − onehot(y) = δ: negative at y and
nowhere else. Softmax and one-hot both sum to one, so δ sums to zero, unlike most other vectors with
one negative entry.

A linear classifier z = W h + b passes δ on. Its bias has the gradient ∂loss/∂b = δ, whatever the
features h are. Row i of ∂loss/∂W is δ_i h, so the sum of that row is δ_i Σh: it has the sign of δ_i
if the features have a positive sum, as they do after sigmoid or ReLU and need not after tanh. And
column j is h_j δ: whatever the sign of h_j, of three classes or more one has a sign of its own, and
that is the label. Of two classes without a bias, features h of label y leave what −h of the other
label leave: where h has entries of either sign, nobody can tell.

Source: Zhao, Mopuri & Bilen 2020, arXiv:2001.02610.
"""

import math
from collections import Counter

import torch
from torch import Tensor

from dlgutils.analytic import without_bias
from dlgutils.federated import checks
from dlgutils.federated.alignment import as_rounded
from dlgutils.federated.batch_checks import bounds_in_words
from dlgutils.federated.consistency import without_scale_and_decay
from dlgutils.types import Shared

_VISIBLE = 3  # standard errors


def read(shared: Shared) -> Tensor:
    """The label of one image, (1,), int64: `by_sign`, or without a bias's gradient by a column.

    That is the longest one of the classifier's weight gradient, whatever the sign of the features;
    of two classes, features of one sign are taken as positive. An unknown scale may be negative, if
    there are three classes or more.

    Raises ValueError as `by_sign` does, and without a bias's gradient for two classes and features
    of either sign.
    """
    return read_unchecked(_one_image(shared))


def most_likely(shared: Shared) -> Tensor:
    """The label of one image whose gradient defences changed, (1,), int64: a guess, without proof.

    It is where δ is smallest in the product δ [u, 1]ᵀ nearest to the gradients of weight and bias.
    Its sign is that of the bias's gradient, or without a bias that of features of a positive sum;
    if noise covers that, or features of either sign do, the largest number is negative.
    Raises ValueError for a batch of several images, and if the last layer is not linear.
    """
    shared = _one_image(shared)
    weight, bias = shared.classifier
    g = shared.gradient[weight].double()
    sums = shared.gradient[bias].double() if bias else g.sum(1)
    joined = torch.cat([g, sums[:, None]], 1) if bias else g
    left, size, _ = torch.linalg.svd(joined, full_matrices=False)
    delta = left[:, 0]
    along = delta @ sums
    spread = shared.protocol.sigma
    if not bias:  # of noise in all columns, and of features of either sign
        spread = math.hypot(spread * g.shape[1] ** 0.5, size[0])
    if along.abs() <= _VISIBLE * spread and (bias or len(delta) > 2):
        along = -delta.pow(3).sum()
    return (delta * along).argmin()[None]


def by_sign(shared: Shared) -> Tensor:
    """The label of one image from the sign of the classifier's bias gradient: (1,), int64.

    The features may be anything. The classifier is the last layer in `shared.weights`, as `share`
    orders them. Zhao et al. state the rule, and read the signs off the weights.

    Raises ValueError for a batch of several images, a classifier without bias, a gradient without
    exactly one negative entry (smoothed labels, another loss, added noise), and one whose entries
    do not sum to zero (noise, or another layer).
    """
    return _from_bias(_one_image(shared))


def by_row_sum(shared: Shared) -> Tensor:
    """The label of one image from the row sums of the classifier's weight gradient: (1,), int64.

    The signs are those of δ only if the sum of the features is positive. This is the rule in the
    public code of iDLG.

    Raises ValueError as `by_sign` does. If the sum of the features is negative, the signs are
    reversed, which raises too when there are more than two classes.
    """
    return _from_row_sums(_one_image(shared))


def read_unchecked(shared: Shared) -> Tensor:
    """What `read` returns, for a caller who has settled the round, which is of one image.

    Raises ValueError where no label can be read.
    """
    _, bias = shared.last_layer
    return _from_bias(shared) if bias in shared.gradient else _from_column(shared)


def _one_image(shared: Shared) -> Shared:
    """The round without the scale and decay that its protocol names. It is of one image."""
    batch = shared.x_shape[0]
    if batch != 1:
        raise ValueError(
            f"the sign rule needs one image, got a batch of {batch}, whose δ add up; "
            "ask the client for one image a round, or optimise the labels with attacks.dlg"
        )
    checks.check_gradient(shared)
    return without_scale_and_decay(as_rounded(shared))


def _from_bias(shared: Shared) -> Tensor:
    weight, bias = shared.last_layer
    if bias is None:
        shape = tuple(shared.gradient[weight].shape)
        raise ValueError(f"{weight}, of shape {shape}, is not a bias; use labels.by_row_sum")
    shared.require(bias)
    return _only_negative(bias, without_bias.turned(shared.gradient[bias], shared), shared)


def _from_row_sums(shared: Shared) -> Tensor:
    weight = without_bias.weight_of(shared)
    sums = shared.gradient[weight].sum(1)
    return _only_negative(f"the row sums of {weight}", without_bias.turned(sums, shared), shared)


def _from_column(shared: Shared) -> Tensor:
    weight = without_bias.weight_of(shared)
    delta = without_bias.column(shared)
    return _only_negative(f"the longest column of {weight}", delta, shared)


def _only_negative(what: str, delta: Tensor, shared: Shared) -> Tensor:
    """Where δ is negative, (1,), if it is a δ of one image; `what` names it in an error."""
    negative = int((delta < 0).sum())
    if negative != 1:
        raise ValueError(
            f"{what} has {negative} negative entries where one hard label gives exactly one: "
            "smoothed labels, another loss, noise or features of the wrong sign; "
            "optimise the label with attacks.dlg"
        )
    # softmax near one is rounded to eps, so a small δ sums to as much
    eps = torch.finfo(shared.precision).eps
    tolerance = eps**0.5 * delta.abs().sum() + 16 * eps
    if delta.sum().abs() > tolerance:
        raise ValueError(
            f"{what} does not sum to zero as softmax − onehot does: noise, or not the classifier; "
            "it must be the last layer in shared.weights, or optimise the label with attacks.dlg"
        )
    return delta.argmin()[None]


def check_given(shared: Shared, y: Tensor | None) -> None:
    """Checks labels that are given for a batch of several images; None: they are to be found.

    Raises ValueError for a single image, and for labels that are missing or not one for each.
    """
    batch = shared.x_shape[0]
    if batch == 1:
        raise ValueError("a batch of one needs no separation; use masks.read")
    weight, bias = shared.classifier
    if y is None and bias is None:
        raise ValueError(
            f"{weight} has no bias, whose gradient says how many images of each class there are; "
            "pass the labels, y=, or ask for one image a round and use masks.read"
        )
    if y is None:
        return
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        kind = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(
            f"labels are an int64 tensor of class ids, got {kind}; try torch.tensor(y)"
        )
    if y.shape != (batch,):
        raise ValueError(
            f"there are {batch} images, hence labels of shape ({batch},), got {tuple(y.shape)}"
        )
    if not ((y >= 0) & (y < shared.classes)).all():
        raise ValueError(
            f"labels lie in 0 … {shared.classes - 1} for this model, got {bounds_in_words(y)}"
        )


def are_among(found: Tensor, y: Tensor) -> bool:
    """Whether labels, (n,), are some of the labels y, (batch,), each at most as often."""
    return Counter(found.tolist()) <= Counter(y.tolist())
