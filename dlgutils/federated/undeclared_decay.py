"""Weight decay that a protocol does not name is seen in what the columns of the last layer sum to.

The δ of every image sums to zero over the classes, and so does every column of δ uᵀ, after any
number of steps on any number of images. Decay λ adds λ W, whose columns do not sum to zero: those
of the update sum to a multiple of those of the weights, and that is no coincidence.
"""

from torch import Tensor, nn

from dlgutils.federated.classifier_evidence import returns_logits_of
from dlgutils.protocol import Protocol, takes_class_ids
from dlgutils.types import Shared

_ALIKE = 1e-2  # how far sums may be from a multiple of others, relative: noise is as far as can be
_FEATURES = 4  # with fewer columns, sums are alike by chance


def refuse_undeclared_decay(model: nn.Module, shared: Shared, claimed: Protocol) -> None:
    """Raises ValueError if the update has weight decay in it that its protocol does not name.

    Args:
        model: the network.
        shared: the round, without the scale and decay that its protocol names.
        claimed: its protocol before these were taken out.

    Decay that is named for several steps is not checked, nor is a loss other than cross-entropy.
    """
    protocol = shared.protocol
    if not protocol.exact or protocol.weight_decay or not takes_class_ids(protocol.loss):
        return
    try:
        weight, _ = shared.classifier
    except ValueError:
        return
    multiple = multiple_of_sums(shared.gradient[weight], shared.weights[weight])
    if multiple is None or not returns_logits_of(model, weight, shared.x_shape):
        return
    decay = claimed.weight_decay + multiple / _growth(protocol)
    if decay < -_ALIKE * abs(multiple):
        return
    decay = max(decay, 0.0)
    times = "" if protocol.scale else " divided by the scale"
    or_scale = ", or another scale" if claimed.weight_decay else ""
    raise ValueError(
        f"this update has weight decay in it that its protocol does not name: its columns in "
        f"{weight} sum to {multiple:.3g} times what those of the weights sum to, where "
        "cross-entropy alone makes them sum to zero; say so: Shared(..., "
        f"protocol=Protocol(weight_decay={decay:.3g}{times}){or_scale})"
    )


def multiple_of_sums(g: Tensor, weight: Tensor) -> float | None:
    """The number c for which the columns of g sum to c times those of the weight; None: no such.

    g, weight: (classes, features).
    """
    sums, own = g.double().sum(0), weight.double().sum(0)
    if len(sums) < _FEATURES or not own.any() or not sums.any():
        return None
    multiple = sums @ own / (own @ own)
    off = (sums - multiple * own).norm() / sums.norm()
    return float(multiple) if off <= _ALIKE else None


def _growth(protocol: Protocol) -> float:
    """By how much the momentum of several steps multiplies what each adds, to first order."""
    velocity = total = 0.0
    for _ in range(protocol.steps):
        velocity = protocol.momentum * velocity + 1
        total += velocity
    return total / protocol.steps
