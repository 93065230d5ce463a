"""How an update changes with the images of its client: their Jacobian, whole or as a function.

Rows are the numbers of the update as the client sends them, columns the pixels of all its images.
It is computed in float64, whatever the model's dtype, by automatic differentiation of
`federated.update`: the same function that every attack recomputes.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.func import vjp, vmap

from dlgutils import federated, models
from dlgutils.federated.checks import check_batch, check_model
from dlgutils.federated.defenses import imitate
from dlgutils.federated.inputs import check_arrays
from dlgutils.federated.local_training import PLAIN, trained_names
from dlgutils.federated.mask_checks import check_masks
from dlgutils.protocol import Effect, Protocol
from dlgutils.types import Batch, Guess, Tensors

LARGEST = 2 * 10**8
"""The most numbers of a Jacobian that is computed whole: 1.6 GB."""

_AT_ONCE = 64  # columns
_SMOOTH = (Effect.ADDS, Effect.SCALES, Effect.REMOVES)
"""What a defence may do to a gradient that is differentiated."""


class Jacobian(NamedTuple):
    """A matrix J, (numbers, pixels), as its products with vectors."""

    numbers: int  # of the update
    pixels: int  # of all images and channels
    push: Callable[[Tensor], Tensor]  # v, (pixels,) -> J v, (numbers,)
    pull: Callable[[Tensor], Tensor]  # w, (numbers,) -> Jᵀ w, (pixels,)


# Jᵀw is linear in w, so the transpose of its derivative by w is J: no forward-mode derivatives are
# needed, which some operations do not have.
def linearise(
    model: nn.Module,
    batch: Batch,
    masks: Tensors | None = None,
    protocol: Protocol = PLAIN,
    generator: Generator | None = None,
) -> Jacobian:
    """The Jacobian of images -> update at these images, as a function.

    Labels and masks are known, and do not change. A client that shuffles is taken to visit its
    images in their order, and an unknown scale is taken as one. Of the protocol's defences,
    clipping and pruning are differentiated as an attacker repeats them, with the numbers that are
    pruned at these images; noise is left out.

    Args:
        model: the network, with the weights of the round.
        batch: the images, which need not lie in [0, 1], and their targets.
        masks: `{name: (visits, *features)}` of dropout; a missing one is all ones.
        protocol: how the client trains, and what of it leaves the device.
        generator: on the CPU; draws what is pruned, where that is random.

    Raises ValueError for a model, targets or masks that `share` does not take, for random pruning
    without a generator, for names that are not trained, for noise that is clipped, and for defences
    that make steps of a gradient, or what is not known.
    """
    check_arrays(batch)
    _check_smooth(protocol)
    model = models.unwrapped(model)
    check_model(model)
    check_batch(model, batch._replace(x=batch.x.clamp(0, 1)), protocol.loss)
    masks = models.renamed(masks or {}, models.dropouts(model))
    check_masks(model, masks, protocol.visits(len(batch.x)))
    update = _update_of_pixels(model, batch, masks, protocol, generator)
    x = batch.x.detach().double().flatten()
    made, pull = vjp(update, x)
    _, push = vjp(lambda w: pull(w)[0], torch.zeros_like(made))
    return Jacobian(len(made), len(x), lambda v: push(v)[0], lambda w: pull(w)[0])


def _check_smooth(protocol: Protocol) -> None:
    if protocol.clips_noise:
        raise ValueError(
            "noise is left out of a Jacobian, and a clip after it makes it smaller, by a factor "
            "that differs from round to round; put the clip before the noise"
        )
    steps = [defense for defense in protocol.defenses if defense.effect not in _SMOOTH]
    if steps:
        raise ValueError(
            f"{steps[0].name} cannot be differentiated: {steps[0].effect.value}; take noise in its "
            "place, with the standard deviation of the rounding, a step over √12"
        )


def _update_of_pixels(
    model: nn.Module,
    batch: Batch,
    masks: Tensors,
    protocol: Protocol,
    generator: Generator | None,
) -> Callable[[Tensor], Tensor]:
    """The function pixels, (pixels,) -> all numbers of the update, (numbers,), in float64."""
    model = copy.deepcopy(model).double()
    weights = models.weights(model)
    masks = {name: mask.detach().double() for name, mask in masks.items()}
    y = batch.y.double() if batch.y.is_floating_point() else batch.y
    scale = protocol.scale or 1.0
    sent = _names_sent(model, protocol)
    protocol = replace(protocol, shuffle=False)

    def made(pixels: Tensor) -> Tensors:
        guess = Guess(pixels.view(batch.x.shape), y, masks)
        whole = federated.update(weights, model, guess, protocol)
        return {name: scale * whole[name] for name in sent}

    defended = made(batch.x.detach().double().flatten())
    quiet = [defense for defense in protocol.defenses if defense.effect is not Effect.ADDS]
    for defense in quiet:
        defended = defense(defended, generator)

    def update(pixels: Tensor) -> Tensor:
        arrived = imitate(quiet, made(pixels), defended)
        return torch.cat([tensor.flatten() for tensor in arrived.values()])

    return update


def _names_sent(model: nn.Module, protocol: Protocol) -> list[str]:
    trained = trained_names(model)
    sent = list(protocol.sent or trained)
    unknown = [name for name in sent if name not in trained]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)} cannot be sent: this model trains {', '.join(trained)}"
        )
    return sent


def triangle(jacobian: Jacobian, like: Tensor) -> Tensor:
    """R with RᵀR = JᵀJ, (at most pixels, pixels): all that a bound or a spectrum needs of J.

    It is the triangle of J's QR decomposition. like: a tensor on the device of the images.
    Raises ValueError for a J of more than LARGEST numbers.
    """
    size = jacobian.numbers * jacobian.pixels
    if size > LARGEST:
        raise ValueError(
            f"this Jacobian has {jacobian.numbers} rows and {jacobian.pixels} columns, "
            f"{size / LARGEST:.1f} times as many numbers as are computed at once; ask for its "
            "largest singular values only, spectrum(..., largest=20), or for fewer images"
        )
    eye = torch.eye(jacobian.pixels, dtype=torch.float64, device=like.device)
    columns = vmap(jacobian.push, chunk_size=_AT_ONCE)(eye)
    return torch.linalg.qr(columns.T, mode="r").R


def information_root(
    model: nn.Module,
    batch: Batch,
    *,
    masks: Tensors | None = None,
    protocol: Protocol = PLAIN,
    generator: Generator | None = None,
) -> Tensor:
    """R with RᵀR = JᵀJ, (at most pixels, pixels), in float64.

    RᵀR/σ² is the Fisher information about the pixels in an update with Gaussian noise of standard
    deviation σ in every number. The arguments are those of `linearise`; `spectrum` has more to say,
    and takes half as long again. Raises ValueError as `linearise` and `triangle` do.
    """
    return triangle(linearise(model, batch, masks, protocol, generator), batch.x)
