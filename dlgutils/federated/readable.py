"""What a reading needs of a round: the gradient of plain cross-entropy, its defences seen through.

A reading says which effects of a defence it can see through. Noise stays in the gradient, and the
protocol of the round that comes back has its standard deviation. A clipped gradient is one of
unknown scale, which one image's features and δ give away. Others are refused.
"""

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import nn

from dlgutils.federated.classifier_evidence import returns_logits_of, scale_under_noise
from dlgutils.federated.consistency import settle, without_scale_and_decay
from dlgutils.federated.defenses import clip, noise
from dlgutils.protocol import Effect, Protocol
from dlgutils.types import Shared

NOISE = frozenset({Effect.ADDS, Effect.SCALES, Effect.SHORTENS})
"""What a reading sees through that counts with errors of every number."""
NO_NOISE = frozenset({Effect.SCALES, Effect.SHORTENS})
"""What a reading sees through that certifies its answer to rounding."""


def require_gradient(
    model: nn.Module, shared: Shared, through: Collection[Effect] = NO_NOISE
) -> Shared:
    """The settled round, for what reads a gradient of plain cross-entropy after one step.

    Without defences it is that of `settle`. Otherwise scale, decay and clipping are taken out as
    far as they can be, and only noise stays among its defences.

    Args:
        model: the network.
        shared: the round.
        through: the effects of defences that the reading can see through.

    Raises ValueError if the protocol says otherwise, or that some images are not seen, for defences
    of other effects, and as `settle` does.
    """
    require_one_step(shared.protocol)
    require_all_seen(shared)
    if shared.protocol.example_norm:
        shared = _of_one_example(shared)
    require_sight(shared.protocol, through)
    exact = shared.protocol.exact
    return settle(model, shared) if exact else _seen_through(model, shared)


def require_one_step(protocol: Protocol) -> None:
    """Raises ValueError unless the update is that of one step of plain cross-entropy."""
    if not protocol.is_cross_entropy:
        raise ValueError(
            "this reading is for cross-entropy of class ids, without weights, smoothing or a class "
            "that is ignored, "
            "and the loss or the targets of this round are others; optimise image and targets "
            "with attacks.dlg"
        )
    if protocol.steps > 1:
        raise ValueError(
            f"this reading is for the gradient of one step, the client of this round took "
            f"{protocol.steps}; attack it with attacks.idlg, which recomputes them"
        )


def require_all_seen(shared: Shared) -> None:
    """Raises ValueError for a client whose steps end before they come to all of its images."""
    images = shared.x_shape[0]
    seen = shared.protocol.visits(images)
    if seen < images:
        raise ValueError(
            f"the steps of this round come to the first {seen} of {images} images only, so that "
            "the update says nothing of the others: make it a round of those that are seen, with "
            "their number in x_shape"
        )


def _of_one_example(shared: Shared) -> Shared:
    """The round of one image with its clipping as a defence; of several, ValueError."""
    protocol, images = shared.protocol, shared.x_shape[0]
    if images > 1:
        raise ValueError(
            f"each of the {images} images' gradients was clipped by a factor of its own, which "
            "this reading does not know; match the update with attacks.dlg, which clips its guesses"
        )
    row = (clip(protocol.example_norm), *protocol.defenses)
    return replace(shared, protocol=replace(protocol, example_norm=None, defenses=row))


def require_sight(protocol: Protocol, through: Collection[Effect]) -> None:
    """Raises ValueError for a defence whose effect is not among those, and for clipped noise."""
    for defense in protocol.defenses:
        if defense.effect not in through:
            raise ValueError(
                f"this reading cannot see through a defence of this round, {defense.name}: "
                f"{defense.effect.value}; match the gradient with attacks.idlg (or attacks.dlg), "
                "which repeats the defence on its guesses"
            )
    if protocol.clips_noise:
        raise ValueError(
            "the noise of this round was clipped with its gradient, so how large it is left is not "
            "known; match the gradient with attacks.idlg, which clips its guesses"
        )


def _seen_through(model: nn.Module, shared: Shared) -> Shared:
    protocol = shared.protocol
    clipped = any(defense.effect is Effect.SCALES for defense in protocol.defenses)
    if clipped and protocol.weight_decay:
        raise ValueError(
            "decay and clipping are mixed in this update: the gradient cannot be told from the "
            "weights; match it with attacks.idlg, which repeats both"
        )
    sigma = protocol.sigma / abs(protocol.scale or 1)
    plain = without_scale_and_decay(replace(shared, protocol=replace(protocol, defenses=())))
    if clipped:
        plain = replace(plain, protocol=replace(plain.protocol, scale=None))
    if not sigma:
        settled = settle(model, plain)
        unread = clipped and settled.protocol.scale is None
        return settle(model, _lengthened(model, plain)) if unread else settled
    if clipped:
        plain, factor = _unclipped(plain)
        sigma = sigma / factor
    return replace(plain, protocol=replace(plain.protocol, defenses=(noise(sigma),)))


def _lengthened(model: nn.Module, shared: Shared) -> Shared:
    """The clipped round of one image without its factor, which is positive; others as they are.

    It can be found where no check is possible: of two classes, and in few digits.
    """
    weight, bias = shared.classifier
    is_one = shared.x_shape[0] == 1 and bias is not None
    if is_one and returns_logits_of(model, weight, shared.x_shape):
        return _unclipped(shared)[0]
    return shared


@torch.no_grad()
def _unclipped(shared: Shared) -> tuple[Shared, float]:
    """The round of one image without the factor of its clipping, and the factor."""
    weight, bias = shared.classifier
    if bias is None or shared.x_shape[0] > 1:
        raise ValueError(
            "by how much this update was clipped cannot be read under its noise: that takes one "
            "image, and a classifier with bias; match it with attacks.idlg, which clips its guesses"
        )
    factor = scale_under_noise(
        shared.gradient[weight], shared.gradient[bias], shared.weights[weight], shared.weights[bias]
    )
    if factor <= 0:
        raise ValueError(
            "by how much this update was clipped cannot be read: its noise covers the classifier's "
            "gradient; match it with attacks.idlg, which clips its guesses"
        )
    gradient = {name: g / factor for name, g in shared.gradient.items()}
    protocol = replace(shared.protocol, scale=1.0)
    return replace(shared, gradient=gradient, protocol=protocol), factor
