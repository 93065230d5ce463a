"""What dropout gives away: the mask of one image is written in the gradient of the next layer.

A linear layer z = W u + b that gets one image has ∂loss/∂W = δ uᵀ with δ = ∂loss/∂z. Where dropout
switched a unit off, u is zero, and so is that column of the gradient; where it did not, a sigmoid
leaves u positive. A ReLU may be zero by itself and then looks dropped. That mistake is harmless,
since zero times either mask is zero, and so is its slope.

In a batch these products add up, and the sum covers the zeros. They can be uncovered, since the
masks of the images are independent: `separation.separate` explains how.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from dlgutils import models
from dlgutils.analytic import labels
from dlgutils.federated import checks
from dlgutils.models.modules import observe
from dlgutils.types import Shared, Tensors

CLEAR = 6
"""From so many standard errors above zero on, a number counts as different from zero."""


class Reading(NamedTuple):
    """What the linear layers' gradients give away about every image, without any optimisation."""

    y: Tensor  # (batch,) labels, int64
    delta: Tensor  # (batch, classes): ∂loss/∂logits, where loss is the mean over the batch
    features: Tensor  # (batch, features): what entered the classifier, after dropout
    masks: Tensors  # {name: (batch, features)}, entries 0 or 1/(1 − p); layers with p = 0 have none


def read(model: nn.Module, shared: Shared, *, noise: float = 0.0) -> Reading:
    """Label, features and dropout masks of a single image, read off its gradient: batch 1.

    The masks are those of all `models.Dropout` layers with p > 0, each from the zero columns of the
    linear layer that gets its output; they equal the client's except at units that were zero
    anyway. The features are δᵀ ∂loss/∂W / δᵀδ of the classifier, the model's last layer: exact up
    to rounding. Its δ is ∂loss/∂b; without a bias, the direction of δ is known, and its length is
    found from softmax(W u) − onehot(y) = δ.

    noise: the standard deviation of Gaussian noise in every number of the gradient; 0 for one that
    is as it was computed. A unit below six standard errors of the noise counts as dropped.

    Raises ValueError for several images, for a gradient that cannot be that of one image (noise
    that was not announced, another loss, another model), for dropout whose output no linear layer
    gets, since its mask leaves no zero columns, and for a noise that is negative or not finite.
    """
    check_noise(noise)
    checks.check(model, shared)
    return read_unchecked(model, shared, noise)


def read_unchecked(model: nn.Module, shared: Shared, noise: float) -> Reading:
    """What `read` returns, for a caller who has checked the round and the noise already.

    Raises ValueError where one image's mask cannot be read, as `read` does.
    """
    dropouts = models.active_dropouts(model)
    layers = linear_after(model, shared.x_shape)
    _check_readable(shared, hidden=[name for name in dropouts if name not in layers])
    if noise:
        gradient = _project_on_one_image(model, shared, noise)
        shared = replace(shared, gradient=gradient)
    weight, bias = shared.classifier
    y = labels.read(shared)
    delta = shared.gradient[bias] if bias else _delta_without_bias(shared, weight, y)
    masks = {}
    for name, linear in layers.items():
        gradient = shared.gradient[linear]
        _check_one_image(linear, gradient)
        kept = gradient.any(0).to(delta)
        masks[name] = kept[None] / (1 - dropouts[name].p)
    _check_one_image(weight, shared.gradient[weight])
    features = delta @ shared.gradient[weight] / (delta @ delta)
    return Reading(y, delta[None], features[None], masks)


def check_noise(noise: float) -> None:
    """Raises ValueError unless `noise` is a standard deviation: not negative, and finite."""
    if not 0 <= noise < math.inf:
        raise ValueError(
            f"noise is a standard deviation, got {noise}; 0 for a gradient as it was computed"
        )


def linear_after(model: nn.Module, x_shape: tuple[int, ...]) -> dict[str, str]:
    """Which weight the output of each dropout layer is multiplied with: {mask: weight}, by name.

    x_shape: (batch, channels, height, width). Only layers with p > 0 are listed, and only those
    whose output enters a linear layer as it is; a forward pass of one zero image finds them.
    """
    zero = next(model.parameters()).new_zeros(1, *x_shape[1:])
    calls, _ = observe(model, zero)
    active = models.active_dropouts(model)
    outputs: dict[str, Tensor] = {}
    after = {}
    for call in calls:
        mask = f"{call.name}.mask"
        if mask in active:
            outputs[mask] = call.output
        if isinstance(call.module, nn.Linear):
            weight = f"{call.name}.weight"
            for name, output in outputs.items():
                if _same_features(call.input, output):
                    after[name] = weight
    return after


def _same_features(u: Tensor, output: Tensor) -> bool:
    """Whether u, what entered a linear layer, is this output of one image, flattened or not.

    `flatten` and `view` return the same memory. u must be a single row: a linear layer that is
    applied at many places has one column for all of them.
    """
    single_row = u.shape == (1, output.numel())
    return single_row and u.data_ptr() == output.data_ptr()


def _check_readable(shared: Shared, hidden: list[str]) -> None:
    """Raises ValueError for several images, and for masks without a linear layer after them."""
    batch = shared.x_shape[0]
    if batch != 1:
        raise ValueError(
            f"zero columns give away the mask of one image, got a batch of {batch}, in which a "
            "column is zero only where every image dropped the unit; use separation.separate"
        )
    if hidden:
        raise ValueError(
            f"no linear layer gets the output of {', '.join(hidden)}, so its zeros are not columns "
            "of a gradient; optimise that mask together with the image: attacks.dia"
        )


def _check_one_image(name: str, gradient: Tensor) -> None:
    """Raises ValueError unless the gradient of a linear layer is δ uᵀ, as that of one image is."""
    longest = gradient.norm(dim=1).argmax()
    row = gradient[longest]
    along_row = (gradient @ row)[:, None] * row / (row @ row)
    off = gradient - along_row
    share = float(off.norm() / gradient.norm())
    if share > 1e3 * torch.finfo(gradient.dtype).eps:
        raise ValueError(
            f"the gradient of {name} is not a product δ uᵀ, as that of one image is: {share:.0e} "
            "of its length is left over; noise that was not announced, several images, or a layer "
            "used twice hide the mask: pass noise=, or optimise the mask, with attacks.dia"
        )


# One image and noise of one size σ leave G = δ uᵀ + σ N, N standard normal, in a linear layer. The
# likelihood of δ uᵀ falls with ‖G − δ uᵀ‖², so the most likely one is the matrix of rank one
# nearest to G: the first term s l rᵀ of its singular value decomposition (Eckart & Young 1936).
#
# Which of its columns are zero? Since l has length one, s r = Gᵀ l = (lᵀδ) u + σ Nᵀl: every entry
# has a standard error of σ, whatever the size of the layer. A dropped unit is off by six of them
# once in 5·10⁸ times, so not one unit of a large layer is kept by mistake. A kept unit that small
# is lost; it contributes less to the gradient than six standard errors.
#
# Of the classifier δ = softmax − onehot is needed, too: `labels.read` recognises it by a single
# negative entry and a sum of zero, and noise spoils both. The label is where δ is lowest; all other
# entries are probabilities, so not below zero; and what they sum to is missing from one at the
# label.
def _project_on_one_image(model: nn.Module, shared: Shared, noise: float) -> Tensors:
    """The gradient with linear layers as one image leaves them, given noise of that size."""
    gradient = dict(shared.gradient)
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        weight = f"{name}.weight"
        g = gradient[weight].double()
        left, size, right = torch.linalg.svd(g, full_matrices=False)
        row = size[0] * right[0]
        row = torch.where(row.abs() > CLEAR * noise, row, 0)
        gradient[weight] = (left[:, :1] * row).to(gradient[weight])
    last, delta = list(gradient.items())[-1]
    if delta.ndim == 1:
        gradient[last] = _balanced(delta)
    return gradient


def _balanced(delta: Tensor) -> Tensor:
    """δ with one negative entry, minus the sum of the others."""
    others = delta.clamp(min=0)
    label = delta.argmin()
    others[label] = 0
    others[label] = -others.sum()
    return others


# Every column of δ uᵀ is a multiple of δ, and so is their sum: this gives its direction, with the
# sign that makes the entry at the label negative. A length ℓ of δ implies the features
# u = Gᵀδ / ℓ², and these imply a δ of their own, softmax(W u) − onehot(y). At the true length both
# agree. The search looks at 513 lengths and goes on between the neighbours of the best, so each of
# its ten turns divides the range of log ℓ by 256.
def _delta_without_bias(shared: Shared, weight: str, y: Tensor) -> Tensor:
    """δ of a classifier without bias, (classes,)."""
    W = shared.weights[weight].double()
    gradient = shared.gradient[weight].double()
    columns = gradient.sum(1)
    sign = -columns[y].sign()
    direction = columns / columns.norm() * sign
    target = one_hot(y, len(W))[0]

    def error(lengths: Tensor) -> Tensor:
        delta = lengths[:, None] * direction
        features = delta / lengths[:, None] ** 2 @ gradient
        implied = (features @ W.T).softmax(1) - target
        return (implied - delta).norm(dim=1) / lengths

    low = math.log(1e-8)
    high = math.log(2) / 2  # no δ is longer than √2
    for _ in range(10):
        tries = torch.linspace(low, high, 513, dtype=torch.float64, device=W.device)
        k = int(error(tries.exp()).argmin())
        low = tries[max(k - 1, 0)]
        high = tries[min(k + 1, 512)]
    length = tries[k].exp()
    if error(length[None]) > 1e-3:
        raise ValueError(
            f"no length makes the columns of {weight}'s gradient a softmax − onehot: noise, or "
            "another loss; optimise label and mask with attacks.dia"
        )
    return (length * direction).to(shared.gradient[weight])
