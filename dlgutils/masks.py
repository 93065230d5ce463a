"""What dropout gives away: the mask of a single image is written in the gradient of the layer after it.

A linear layer z = W u + b that gets one image has ∂loss/∂W = δ uᵀ with δ = ∂loss/∂z. Where dropout switched a unit off,
u is zero, and so is that column of the gradient; where it did not, a sigmoid leaves u positive. A ReLU may be zero by
itself and then looks dropped: that mistake is harmless, since zero times either mask is zero, and so is its slope.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from dlgutils import client, labels, models
from dlgutils.types import Shared, Tensors


class Reading(NamedTuple):
    """What the last layer's gradient tells of every image, without any optimisation."""

    y: Tensor  # (batch,) labels, int64
    delta: Tensor  # (batch, classes): ∂loss/∂logits, where loss is the mean over the batch
    features: Tensor  # (batch, features): what entered the classifier, after dropout
    masks: Tensors  # {name: (batch, features)}, entries 0 or 1/(1 − p); layers with p = 0 have none


def read(model: nn.Module, shared: Shared) -> Reading:
    """Label, features and dropout masks of a single image, read off its gradient: a `Reading` with batch 1.

    The masks are those of all `models.Dropout` layers with p > 0, each from the zero columns of the linear layer that gets
    its output; they equal the client's except at units that were zero anyway. The features are δᵀ ∂loss/∂W / δᵀδ of the
    classifier, the model's last layer: exact up to rounding. Its δ is ∂loss/∂b; without a bias, δ is known but for its
    length, which is found from softmax(W u) − onehot(y) = δ.
    Raises ValueError for several images, a gradient that is none of one image (noise, another loss, another model), and
    for dropout whose output no linear layer gets: its mask is not to be seen.
    """
    client.check(model, shared)
    if shared.x_shape[0] != 1:
        raise ValueError(
            f"zero columns tell the mask of one image, got a batch of {shared.x_shape[0]}, in which a column is zero only "
            "where every image dropped the unit; use masks.separate"
        )
    layers = _linear_after(model, shared.x_shape)
    weight, bias = _classifier(shared)
    y = labels.read(shared)
    delta = shared.gradient[bias] if bias else _delta_without_bias(shared, weight, y)
    masks = {}
    for name, linear in layers.items():
        _check_one_image(linear, shared.gradient[linear])
        kept = shared.gradient[linear].any(0)
        masks[name] = kept.to(delta)[None] / (1 - models.dropouts(model)[name].p)
    _check_one_image(weight, shared.gradient[weight])
    features = delta @ shared.gradient[weight] / (delta @ delta)
    return Reading(y, delta[None], features[None], masks)


def _linear_after(model: nn.Module, x_shape: tuple[int, ...]) -> dict[str, str]:
    """{name of a mask: name of the weight that its layer's output is multiplied with}, for all layers with p > 0."""
    layers = {name: layer for name, layer in models.dropouts(model).items() if layer.p > 0}
    after, outputs = {}, {}
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}

    def follow(name: str, u: Tensor) -> None:
        for mask, output in outputs.items():
            if (u.data_ptr(), u.numel()) == (output.data_ptr(), output.numel()) and u.shape[1:] == (u.numel(),):
                after[mask] = f"{name}.weight"

    hooks = [
        *(m.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out})) for name, m in layers.items()),
        *(m.register_forward_pre_hook(lambda _, u, name=name: follow(name, u[0])) for name, m in linear.items()),
    ]
    try:
        with torch.no_grad():
            model(next(model.parameters()).new_zeros(1, *x_shape[1:]))
    finally:
        for hook in hooks:
            hook.remove()
    if hidden := sorted(layers.keys() - after.keys()):
        raise ValueError(
            f"no linear layer gets the output of {', '.join(hidden)}, so its zeros are no columns of a gradient; "
            "optimise that mask together with the image: attacks.dia"
        )
    return after


def _classifier(shared: Shared) -> tuple[str, str | None]:
    """The names of the last layer's weight, (classes, features), and of its bias, if it has one."""
    *names, last = shared.gradient
    weight, bias = (last, None) if shared.gradient[last].ndim > 1 or not names else (names[-1], last)
    if (axes := shared.gradient[weight].ndim) != 2:
        raise ValueError(f"the last layer is no linear one: {weight} has {axes} axes, a linear layer's weight has two")
    return weight, bias


def _check_one_image(name: str, gradient: Tensor) -> None:
    """Raises ValueError unless the gradient of a linear layer is δ uᵀ, as that of one image is."""
    row = gradient[gradient.norm(dim=1).argmax()]
    off = gradient - (gradient @ row)[:, None] * row / (row @ row)
    share = float(off.norm() / gradient.norm())
    if share > 1e3 * torch.finfo(gradient.dtype).eps:
        raise ValueError(
            f"the gradient of {name} is no product δ uᵀ, as that of one image is: {share:.0e} of its length is left over; "
            "noise, several images, or a layer used twice hide the mask: optimise it, with attacks.dia"
        )


def _delta_without_bias(shared: Shared, weight: str, y: Tensor) -> Tensor:
    """δ of a classifier without bias: its direction is that of the columns, its length makes it a δ of its own features."""
    W, gradient = shared.weights[weight].double(), shared.gradient[weight].double()
    columns = gradient.sum(1)
    direction = columns / columns.norm() * -columns[y].sign()
    target = one_hot(y, len(W))[0]

    def error(length: Tensor) -> Tensor:
        delta = length[:, None] * direction
        logits = (delta / length[:, None] ** 2) @ gradient @ W.T
        return (logits.softmax(1) - target - delta).norm(dim=1) / length

    low, high = math.log(1e-8), math.log(2) / 2  # no δ is longer than √2
    for _ in range(10):
        tries = torch.linspace(low, high, 513, dtype=W.dtype, device=W.device)
        k = int(error(tries.exp()).argmin())
        low, high = tries[max(k - 1, 0)], tries[min(k + 1, 512)]
    if error(tries[k].exp()[None]) > 1e-3:
        raise ValueError(f"no length makes the columns of {weight}'s gradient a softmax − onehot: noise, or another loss")
    return (tries[k].exp() * direction).to(shared.gradient[weight])
