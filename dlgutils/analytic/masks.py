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

from torch import Tensor, nn

from dlgutils import models
from dlgutils.analytic import labels, mask_evidence, rank_one, without_bias
from dlgutils.federated import checks
from dlgutils.federated.alignment import align
from dlgutils.federated.readable import NOISE, require_gradient
from dlgutils.models.modules import observe
from dlgutils.types import Shared, Tensors


class Reading(NamedTuple):
    """What the linear layers' gradients give away about every image, without any optimisation."""

    y: Tensor  # (batch,) labels, int64
    delta: Tensor  # (batch, classes): ∂loss/∂logits, where loss is the mean over the batch
    features: Tensor  # (batch, features): what entered the classifier, after dropout
    masks: Tensors  # {name: (batch, features)}, entries 0 or 1/(1 − p); layers with p = 0 have none


def read(model: nn.Module, shared: Shared, *, noise: float | None = None) -> Reading:
    """Label, features and dropout masks of one image, read off its gradient: batch 1.

    The masks are those of all `models.Dropout` layers with p > 0, each from the zero columns of the
    linear layer that gets its output; they equal the client's except at units that were zero
    anyway. The features are δᵀ ∂loss/∂W / δᵀδ of the classifier, the model's last layer: exact up
    to rounding. Its δ is ∂loss/∂b; without a bias, the direction of δ is known, and its length is
    found from softmax(W u) − onehot(y) = δ, if only one fits. Of two classes, u is then taken as
    positive.

    noise: the standard deviation of Gaussian noise in every number of the gradient; None: what the
    round's protocol says, 0 for one that is as it was computed. A unit below six standard errors of
    the noise counts as dropped; it warns if that cannot be all noise.

    Raises ValueError for several images, for a gradient that cannot be that of one image (noise
    that was not announced, another loss, another model), for dropout whose output no linear layer
    gets, since its mask leaves no zero columns, for a noise that is negative or not finite, for
    one that covers the label or a hundredth of what entered a layer, and for defences other than
    noise, clipping and half precision.
    """
    check_noise(noise)
    model, (shared,) = align(model, shared)
    checks.check(model, shared)
    shared = require_gradient(model, shared, NOISE)
    noise = shared.protocol.sigma if noise is None else noise
    reading = read_unchecked(model, shared, noise)
    if noise:
        layers = linear_after(model, shared.x_shape)
        mask_evidence.check_shown(shared, layers.values(), noise)
    return reading


def read_unchecked(model: nn.Module, shared: Shared, noise: float) -> Reading:
    """What `read` returns, for a caller who has checked the round and the noise already.

    Raises ValueError where one image's mask cannot be read, as `read` does.
    """
    dropouts = models.active_dropouts(model)
    layers = linear_after(model, shared.x_shape)
    _check_readable(shared, hidden=[name for name in dropouts if name not in layers])
    weight, bias = shared.classifier
    shared.require(*layers.values())
    if noise:
        gradient = rank_one.project(model, shared, noise)
        shared = replace(shared, gradient=gradient)
    y = labels.read_unchecked(shared)
    delta = shared.gradient[bias] if bias else without_bias.delta_without_bias(shared, y)
    masks = {}
    for name, linear in layers.items():
        gradient = shared.gradient[linear]
        rank_one.check(linear, shared)
        kept = units_kept(gradient.any(0)[None], dropouts[name])
        masks[name] = kept.to(delta) / (1 - dropouts[name].p)
    rank_one.check(weight, shared)
    features = rank_one.linear_input(shared.gradient[weight], delta)
    return Reading(y, delta[None], features[None], masks)


def units_kept(kept: Tensor, layer: models.Dropout) -> Tensor:
    """Which entries of a mask are not zero, `(batch, *mask)`, given which features are, (batch, n).

    Where channels are dropped, each has many features, and one that is left shows that it was kept.
    """
    shape = layer.mask.shape
    return kept.view(len(kept), shape.numel(), -1).any(2).view(-1, *shape)


def check_noise(noise: float | None) -> None:
    """Raises ValueError unless `noise` is a standard deviation: not negative, finite; or None."""
    if noise is not None and not 0 <= noise < math.inf:
        raise ValueError(
            f"noise is a standard deviation, got {noise}; 0 for a gradient as it was computed"
        )


def linear_after(model: nn.Module, x_shape: tuple[int, ...]) -> dict[str, str]:
    """The weight by which the output of each dropout layer is multiplied: {mask: weight}, by name.

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
