"""Does an update agree with its own protocol? Checked before an attack believes it.

Only the gradients of the classifier z = W u + b are looked at. One image under one step of
cross-entropy leaves δ = softmax(z) − onehot(y) in the bias and δ uᵀ in the weight, so u follows,
and with it z and δ: if all numbers of the update were multiplied by c, then c is the one number
that makes the two δ agree. Several images, or several steps, leave a sum of such products.
"""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from dlgutils.federated.classifier_evidence import (
    UNBALANCED,
    is_noisy,
    returns_logits_of,
    rounding,
    scale_of,
    singular_values,
)
from dlgutils.federated.undeclared_decay import refuse_undeclared_decay
from dlgutils.types import Shared


@torch.no_grad()
def settle(model: nn.Module, shared: Shared) -> Shared:
    """The round as if its client had sent the update itself: without scale and, of one step, decay.

    Its `checked` is a sentence on what was checked. A round that has one is returned as it is.
    Where defences changed the update, scale and decay stay. An unknown scale is read off where one
    image came by itself through plain cross-entropy, with the gradients of a last linear layer and
    its bias; otherwise it stays unknown, as of two classes, where a scale of either sign fits.

    Raises ValueError for an update that is not what its protocol says: of another scale, of more
    images, of more steps, or with another weight decay. Noise is no reason, nor is what cannot be
    checked. A defence that removes features from the gradient looks like several steps: a defence
    in the protocol says so.
    """
    if shared.checked:
        return shared
    plain = without_scale_and_decay(shared)
    refuse_undeclared_decay(model, plain, shared.protocol)
    reason = _why_not_checked(model, plain)
    if reason:
        return _settled(plain, f"not checked against its protocol: {reason}")
    return _checked_batch(plain) if shared.x_shape[0] > 1 else _checked_image(plain)


def _settled(shared: Shared, checked: str) -> Shared:
    """A copy that says what was checked. Only here: no constructor or `replace` can claim it."""
    known = copy.copy(shared)
    object.__setattr__(known, "checked", checked)
    return known


def without_scale_and_decay(shared: Shared) -> Shared:
    """The round without the scale that its protocol states, and without decay after one step.

    Where defences changed the update, both stay, since they came first.
    """
    protocol = shared.protocol
    if protocol.defenses:
        return shared
    decay = protocol.weight_decay if protocol.steps == 1 else 0.0
    if protocol.scale is None or (protocol.scale == 1 and not decay):
        return shared
    gradient = {}
    for name, g in shared.gradient.items():
        g = g / protocol.scale
        gradient[name] = g - decay * shared.weights[name] if decay else g
    rest = replace(protocol, scale=1.0, weight_decay=protocol.weight_decay - decay)
    return replace(shared, gradient=gradient, protocol=rest)


def _why_not_checked(model: nn.Module, shared: Shared) -> str:
    """Why the classifier of this round cannot be checked; "" if it can."""
    protocol = shared.protocol
    if protocol.defenses:
        names = ", ".join(defense.name for defense in protocol.defenses)
        return f"it was changed on its way ({names})"
    if protocol.example_norm:
        return "each image's gradient was clipped"
    if protocol.steps > 1:
        return f"{protocol.steps} local steps add up"
    if protocol.weight_decay:
        return "decay and an unknown scale are mixed"
    if not protocol.is_cross_entropy:
        return "its loss is not plain cross-entropy of class ids"
    try:
        weight, bias = shared.classifier
    except ValueError as error:
        return str(error)
    if bias is None:
        return "the last layer has no bias"
    if not returns_logits_of(model, weight, shared.x_shape):
        return f"the model does not end with {weight.removesuffix('.weight')}"
    classes, features = shared.gradient[weight].shape
    if min(classes - 1, features) <= shared.x_shape[0]:
        return f"{shared.x_shape[0]} images with {classes} classes leave any gradient of its layer"
    return ""


def _checked_image(shared: Shared) -> Shared:
    """One image: is the classifier's gradient δ uᵀ, and δ the δ of u?"""
    weight, bias = shared.classifier
    g = shared.gradient[weight]
    delta = shared.gradient[bias].double()
    if not delta.any() or is_noisy(g, 1):
        return _settled(shared, "not checked against its protocol: noise, or another kind of layer")
    _refuse_larger_rank(shared, g, 1)
    features = delta @ g.double() / (delta @ delta)
    z = shared.weights[weight].double() @ features + shared.weights[bias].double()
    rounded = torch.finfo(shared.precision).eps * (1 + float(z.abs().max()))
    size = 1.0 if shared.protocol.scale else abs(scale_of(delta, z, 0.1)[0])  # rounding has it too
    tolerance = 1e-3 + 64 * rounded * size / float(delta.norm())
    scale, residual = scale_of(delta, z, tolerance)
    if tolerance > 0.1:
        return _settled(shared, "not checked against its protocol: δ is lost in rounding")
    if residual > tolerance:
        return _checked_misfit(shared, delta, residual)
    if shared.protocol.scale is None:
        return _rescaled(shared, scale)
    if abs(scale - 1) > tolerance:
        raise ValueError(
            f"this update is {scale:.4g} times what its own features and label imply: the client "
            "multiplied it, or took several steps of which the first was by far the longest; say "
            f"so: Shared(..., protocol=Protocol(scale=...)), {scale:.4g} times what it is now, or "
            "scale=None to have it read, or steps= and lr="
        )
    return _settled(shared, "one image and one step of cross-entropy, as its protocol says")


def _checked_misfit(shared: Shared, delta: Tensor, residual: float) -> Shared:
    """Raises ValueError unless noise explains that δ is not softmax − onehot of its features."""
    if delta.sum().abs() > UNBALANCED * residual * delta.norm():
        return _settled(shared, "not checked against its protocol: noise, or another loss")
    raise ValueError(
        f"no single step of cross-entropy on one image makes this gradient: δ is {residual:.0e} of "
        "its length away from softmax − onehot of its features, and sums to zero, so it is not "
        "noise. Say what it is: Shared(..., protocol=Protocol(steps=5, lr=0.1)) after several "
        "steps; Protocol(loss=...) with smoothed labels; Protocol(soft_targets=True); "
        "Protocol(defenses=(...,)) if defences, such as pruning of features, changed it on its "
        "way, (federated.defenses.unknown(),) for one that is not known"
    )


def _rescaled(shared: Shared, scale: float) -> Shared:
    gradient = {name: g / scale for name, g in shared.gradient.items()}
    protocol = replace(shared.protocol, scale=1.0)
    known = replace(shared, gradient=gradient, protocol=protocol)
    words = (
        f"one image and one step of cross-entropy, multiplied by {scale:.4g}; or several steps, "
    )
    return _settled(known, words + "of which the first was by far the longest")


def _checked_batch(shared: Shared) -> Shared:
    """Several images: the classifier's gradient is a sum of no more products than there are."""
    weight, _ = shared.classifier
    g = shared.gradient[weight]
    images = shared.x_shape[0]
    if is_noisy(g, images):
        return _settled(shared, "not checked against its protocol: noise, or another kind of layer")
    _refuse_larger_rank(shared, g, images)
    words = f"nothing contradicts one step on at most {images} images; neither the scale nor steps "
    return _settled(shared, words + "on a part of them would be seen")


def _refuse_larger_rank(shared: Shared, g: Tensor, rank: int) -> None:
    """Raises ValueError if the columns are balanced and yet more products were added up."""
    singular = singular_values(g)
    if singular[rank:].norm() <= rounding(g):
        return
    products = int((singular > rounding(g)).sum())
    images = "one image" if rank == 1 else f"{rank} images"
    raise ValueError(
        f"no single step on {images} makes this gradient: that of the classifier has rank "
        f"{products}, and its columns sum to zero, so it is not noise; after several local steps, "
        "say so: Shared(..., protocol=Protocol(steps=5, lr=0.1)); of more images, say how many "
        "there are in x_shape"
    )
