"""What entered each linear layer at the end of a network, for every image of a batch.

What entered the classifier, H, and its δ, the rows of Δ, come from one image's gradient of rank one
(`rank_one`), or from a batch that came apart (`separation`). Then δ of the layer below follows by
the chain rule, since the slope of most activations follows from what left them:

    Δ_below = (Δ W) ∘ mask ∘ slope(H),

and with it the inputs of that layer, from Δ_belowᵀ [H_below, 1] = [∂loss/∂W, ∂loss/∂b], and so on
down to the first linear layer. All of it is linear algebra. Every number carries its error; a layer
counts as read only if its gradient fits, to within these errors.
"""

import itertools
from typing import NamedTuple

from torch import Tensor, nn

from dlgutils import models
from dlgutils.analytic.classifier_reading import (
    Layer,
    check_reading,
    layer_gradient,
    read_classifier,
    rounding_beside,
)
from dlgutils.analytic.layer_below import from_bias, read_mask, through_activation
from dlgutils.analytic.linear_chain import Link, linear_chain
from dlgutils.analytic.linear_system import Estimate, Solved, solve
from dlgutils.analytic.masks import Reading
from dlgutils.federated import checks
from dlgutils.federated.alignment import align
from dlgutils.federated.readable import require_gradient
from dlgutils.types import Shared, Tensors


class LinearInput(NamedTuple):
    """What entered one linear layer."""

    name: str  # of the layer
    inputs: Tensor  # (batch, n_in)
    delta: Tensor  # (batch, n_out): ∂loss/∂output, where loss is the mean over the batch
    error: Tensor  # (batch,): ‖error‖ / ‖inputs‖ of each image is below this
    residual: float  # how much of the layer's gradient is left over, relative to its length


class Features(NamedTuple):
    """What the gradient says about the inputs of the linear layers, from the classifier down."""

    y: Tensor  # (batch,) labels, int64
    delta: Tensor  # (batch, classes): ∂loss/∂logits
    masks: Tensors  # {name: (batch, features)} of the dropout layers before these linear layers
    layers: tuple[LinearInput, ...]  # from the classifier down
    reason: str  # why linear layers below the last of them were not read; "" if there are none
    factor: float  # by which the loss multiplies δ: one over the batch where it is a mean


def read(model: nn.Module, shared: Shared, reading: Reading | None = None) -> Features:
    """The exact inputs of all linear layers at the end of a network, for every image.

    Between two linear layers there may be one activation (ReLU, LeakyReLU, Sigmoid, Tanh, ELU,
    Softplus; GELU and SiLU, whose slope is not a function of their output, where ∂loss/∂b says
    which of two slopes it was), as a layer or as a function, and dropout after it. Of a partial
    update, the layers are read whose gradient was shared. The order of a batch is arbitrary, and
    images that left no trace are not in it (`separation.separate`).

    Args:
        model: the network; it ends with a linear classifier.
        shared: one round.
        reading: of the classifier; None: one image is read off directly, and a batch is taken apart
            by `separation.separate`.

    Raises ValueError if the last layer is not linear or used twice, if nothing can be read with
    certainty (noise, another loss, another model, a batch that does not come apart, a classifier
    without a bias that decides between two classes), for a reading that does not give the gradient
    back, and for defences other than clipping and half precision;
    of one image, `rank_one_fit.fit` estimates what they left.
    """
    model, (shared,) = align(model, shared)
    checks.check(model, shared)
    shared = require_gradient(model, shared)
    links, ended = linear_chain(model, shared.x_shape)
    if shared.classifier[0] != links[0].weight:
        raise ValueError(
            f"the last layer is {shared.classifier[0]}, but the logits leave {links[0].name}; "
            "define the layers in the order in which they are called"
        )
    bars = None
    if reading is None:
        reading, bars = read_classifier(model, shared)
    top = check_reading(shared, links[0], reading, bars)
    masks, layers, reason = _descend(model, shared, links, reading, top)
    return Features(reading.y, reading.delta, masks, layers, reason or ended, top.factor)


def split(model: nn.Module, shared: Shared, reading: Reading | None = None) -> list[Shared]:
    """A batch as rounds of one image each: what the images would have sent alone, as far as read.

    Images that left no trace have no round.

    Their gradients are partial updates, of the linear layers that `read` finds. An attack on one of
    them searches for one image: `invert(model, features.split(model, shared), attacks.features)`.
    The arguments are those of `read`, and so are the errors.
    """
    mixing = models.mixing_layers(model)
    if mixing:
        raise ValueError(
            f"{mixing[0]} normalises by the whole batch; attack the batch as it is, not its images"
        )
    found = read(model, shared, reading)
    rounds = []
    for image in range(len(found.y)):
        gradient = {}
        for layer in found.layers:
            delta = layer.delta[image] / found.factor
            alone = {"weight": delta[:, None] * layer.inputs[image], "bias": delta}
            names = {f"{layer.name}.{kind}": g for kind, g in alone.items()}
            gradient.update({name: g for name, g in names.items() if name in shared.weights})
        shape = (1, *shared.x_shape[1:])
        rounds.append(Shared(shared.weights, gradient, shape))
    return rounds


def _descend(
    model: nn.Module,
    shared: Shared,
    links: tuple[Link, ...],
    reading: Reading,
    top: Layer,
) -> tuple[Tensors, tuple[LinearInput, ...], str]:
    """Masks and inputs from the classifier down, and why layers below were not read."""
    masks, layer, like = dict(reading.masks), top, shared.like
    layers, dropouts = [], models.dropouts(model)
    for upper, lower in itertools.zip_longest(links, links[1:]):
        layers.append(_record(upper, layer, like))
        if upper.dropout and upper.dropout not in masks:
            mask = read_mask(dropouts[upper.dropout], layer.solved.inputs)
            masks[upper.dropout] = mask.to(like)
        if lower is None:
            break
        layer, reason = _next_layer(shared, upper, lower, layer, masks.get(upper.dropout))
        if reason:
            return masks, tuple(layers), reason
    return masks, tuple(layers), ""


def _record(link: Link, layer: Layer, like: Tensor) -> LinearInput:
    solved = layer.solved
    return LinearInput(
        name=link.name,
        inputs=solved.inputs.value.to(like),
        delta=layer.delta.value.to(like),
        error=solved.relative_error.to(like),
        residual=solved.residual,
    )


def _next_layer(
    shared: Shared, upper: Link, lower: Link, layer: Layer, mask: Tensor | None
) -> tuple[Layer, str]:
    """The layer below, or why it was not read."""
    if lower.weight not in shared.gradient:
        return layer, f"the gradient of {lower.weight} was not shared"
    g, has_bias = layer_gradient(shared, lower)
    bias = g[:, -1] if has_bias else None
    batch = len(layer.delta.value)
    eps = rounding_beside(shared, batch)
    if batch == 1 and has_bias:
        below = from_bias(bias, eps)
    elif upper.activation is None:
        return layer, (
            f"between {lower.name} and {upper.name} there is something else than one activation of "
            "known slope, and dropout after it"
        )
    else:
        sent = _sent_down(shared.weights[upper.weight].double(), layer.delta, eps)
        mask = None if mask is None else mask.double()
        below = through_activation(upper.activation, sent, layer.solved.inputs, mask, bias, eps)
    counted = Estimate(*(part[:, below.units] for part in below.delta))
    n_units = int(below.units.sum())
    if n_units <= batch:
        return layer, (
            f"only {n_units} units of {lower.name} have a slope that is certain, too few for "
            f"{batch} images"
        )
    solved = solve(g[below.units], counted, eps, has_bias=has_bias)
    return Layer(solved, below.delta), _why_not(lower, solved, batch)


def _sent_down(weight: Tensor, delta: Estimate, eps: float) -> Estimate:
    """∂loss/∂input of a layer, with the errors of δ and of the client's own products."""
    squared = weight**2
    variance = delta.error**2 @ squared + eps**2 * (delta.value**2 @ squared)
    return Estimate(delta.value @ weight, variance.sqrt())


def _why_not(link: Link, solved: Solved, batch: int) -> str:
    """Why a layer that was solved does not count as read; "" if it does."""
    if solved.rank < batch:
        return (
            f"the δ of {link.name} have only {solved.rank} independent rows for {batch} images, so "
            "its inputs are not determined: units that are off for an image, or images too alike"
        )
    if not solved.fits:
        return (
            f"{solved.residual:.0e} of the gradient of {link.name} is left over, where rounding "
            f"explains {solved.explained:.0e}: noise, or the layer is used in another way too"
        )
    return ""
