"""Does an update agree with its own protocol? Checked before an attack believes it.

Only the gradients of the classifier z = W u + b are looked at. One image under one step of
cross-entropy leaves δ = softmax(z) − onehot(y) in the bias and δ uᵀ in the weight, so u follows,
and with it z and δ: if all numbers of the update were multiplied by c, then c is the one number
that makes the two δ agree. Several images, or several steps, leave a sum of such products.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dlgutils.types import Shared

_ROUNDINGS = 1e3  # of the length of the gradient: what is left over beyond that is not rounding
_UNBALANCED = 1e-2  # of what is left over: less is not noise


class Settled(NamedTuple):
    """A round whose scale and decay are taken out, and what was checked on the way."""

    shared: Shared
    checked: str  # a sentence


@torch.no_grad()
def settle(shared: Shared) -> Settled:
    """The round as if its client had sent the update itself: without scale and, of one step, decay.

    An unknown scale is read off where one image came by itself through plain cross-entropy, with
    the gradients of a last linear layer and its bias; otherwise it stays unknown.

    Raises ValueError for an update that is not what its protocol says: of another scale, of more
    images, or of more steps. Noise and pruning are no reason, nor is what cannot be checked.
    """
    plain = _without_scale_and_decay(shared)
    reason = _why_not_checked(plain)
    if reason:
        return Settled(plain, f"not checked against its protocol: {reason}")
    return _checked_batch(plain) if shared.x_shape[0] > 1 else _checked_image(plain)


def require_gradient(shared: Shared) -> Shared:
    """The settled round, for what reads a gradient of plain cross-entropy after one step.

    Raises ValueError if the protocol says otherwise, and as `settle` does.
    """
    protocol = shared.protocol
    if not protocol.is_cross_entropy:
        raise ValueError(
            "this reading is for cross-entropy without class weights or smoothing, and the loss of "
            "this round is another one; optimise image and targets with attacks.dlg"
        )
    if protocol.steps > 1:
        raise ValueError(
            f"this reading is for the gradient of one step, the client of this round took "
            f"{protocol.steps}; attack it with attacks.idlg, which recomputes them"
        )
    return settle(shared).shared


def _without_scale_and_decay(shared: Shared) -> Shared:
    """The round without the scale that its protocol states, and without decay after one step."""
    protocol = shared.protocol
    decay = protocol.weight_decay if protocol.steps == 1 else 0.0
    if protocol.scale is None or (protocol.scale == 1 and not decay):
        return shared
    gradient = {}
    for name, g in shared.gradient.items():
        gradient[name] = g / protocol.scale - decay * shared.weights[name]
    rest = replace(protocol, scale=1.0, weight_decay=protocol.weight_decay - decay)
    return replace(shared, gradient=gradient, protocol=rest)


def _why_not_checked(shared: Shared) -> str:
    """Why the classifier of this round cannot be checked; "" if it can."""
    protocol = shared.protocol
    if protocol.steps > 1:
        return f"{protocol.steps} local steps add up"
    if protocol.weight_decay:
        return "decay and an unknown scale are mixed"
    if not protocol.is_cross_entropy:
        return "its loss is not plain cross-entropy"
    try:
        weight, bias = shared.classifier
    except ValueError as error:
        return str(error)
    if bias is None:
        return "the last layer has no bias"
    classes, features = shared.gradient[weight].shape
    if min(classes - 1, features) <= shared.x_shape[0]:
        return f"{shared.x_shape[0]} images with {classes} classes leave any gradient of its layer"
    return ""


def _checked_image(shared: Shared) -> Settled:
    """One image: is the classifier's gradient δ uᵀ, and δ the δ of u?"""
    weight, bias = shared.classifier
    g = shared.gradient[weight]
    delta = shared.gradient[bias].double()
    if not delta.any() or _is_noisy(g, 1):
        return Settled(shared, "not checked against its protocol: noise, or another kind of layer")
    _refuse_larger_rank(shared, g, 1)
    features = delta @ g.double() / (delta @ delta)
    z = shared.weights[weight].double() @ features + shared.weights[bias].double()
    scale, residual = _scale_of(delta, z)
    rounding = torch.finfo(shared.precision).eps * (1 + float(z.abs().max()))
    tolerance = 1e-3 + 64 * rounding / float(delta.norm())
    if not residual < tolerance < 0.1:
        return Settled(shared, "not checked against its protocol: no δ = softmax − onehot is seen")
    if shared.protocol.scale is None:
        return _rescaled(shared, scale)
    if abs(scale - 1) > tolerance:
        raise ValueError(
            f"this update is {scale:.4g} times what its own features and label imply: the client "
            "multiplied it, or took several steps of which the first was by far the longest; say "
            f"so: Shared(..., protocol=Protocol(scale=...)), {scale:.4g} times what it is now, or "
            "scale=None to have it read, or steps= and lr="
        )
    return Settled(shared, "one image and one step of cross-entropy, as its protocol says")


def _rescaled(shared: Shared, scale: float) -> Settled:
    gradient = {name: g / scale for name, g in shared.gradient.items()}
    protocol = replace(shared.protocol, scale=1.0)
    known = replace(shared, gradient=gradient, protocol=protocol)
    return Settled(known, f"one image and one step of cross-entropy, multiplied by {scale:.4g}")


def _checked_batch(shared: Shared) -> Settled:
    """Several images: the classifier's gradient is a sum of no more products than there are."""
    weight, _ = shared.classifier
    g = shared.gradient[weight]
    images = shared.x_shape[0]
    if _is_noisy(g, images):
        return Settled(shared, "not checked against its protocol: noise, or another kind of layer")
    _refuse_larger_rank(shared, g, images)
    return Settled(shared, f"at most {images} images and one step, as its protocol says")


def _scale_of(delta: Tensor, z: Tensor) -> tuple[float, float]:
    """The c for which δ = c · (softmax(z) − onehot(y)), and what is left of δ, relative to it."""
    fits = []
    for y in (delta.argmin(), delta.argmax()):
        implied = z.softmax(0) - one_hot(y, len(z))
        scale = delta @ implied / (implied @ implied)
        residual = (delta - scale * implied).norm() / delta.norm()
        fits.append((float(residual), float(scale)))
    residual, scale = min(fits)
    return scale, residual


def _left_over(g: Tensor, rank: int) -> Tensor:
    """The length of what no matrix of this rank contains."""
    return torch.linalg.svdvals(g.double())[rank:].norm()


def _rounding(g: Tensor) -> Tensor:
    return _ROUNDINGS * torch.finfo(g.dtype).eps * g.norm()


# Every column of δ uᵀ sums to zero, as δ does, and so do all sums of such products. Noise, pruning
# and rounding to few digits spoil the sums as much as the rank.
def _is_noisy(g: Tensor, rank: int) -> bool:
    unbalanced = g.double().sum(0).norm()
    return bool(unbalanced > max(_UNBALANCED * _left_over(g, rank), _rounding(g)))


def _refuse_larger_rank(shared: Shared, g: Tensor, rank: int) -> None:
    """Raises ValueError if the columns are balanced and yet more products were added up."""
    if _left_over(g, rank) <= _rounding(g):
        return
    products = int((torch.linalg.svdvals(g.double()) > _rounding(g)).sum())
    images = "one image" if rank == 1 else f"{rank} images"
    raise ValueError(
        f"no single step on {images} makes this gradient: that of the classifier has rank "
        f"{products}, and its columns sum to zero, so it is not noise; after several local steps, "
        "say so: Shared(..., protocol=Protocol(steps=5, lr=0.1)); of more images, say how many "
        "there are in x_shape"
    )
