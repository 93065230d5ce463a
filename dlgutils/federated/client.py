"""The honest client: a batch, some steps of training, and what leaves the device."""

import warnings
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from dlgutils import models
from dlgutils.federated.alignment import classifier_last
from dlgutils.federated.checks import check_batch, check_model, check_protocol_kind
from dlgutils.federated.defenses import defend
from dlgutils.federated.defenses.checks import require_row
from dlgutils.federated.inputs import as_batch
from dlgutils.federated.local_training import PLAIN, trained_names, update
from dlgutils.federated.mask_checks import check_masks
from dlgutils.protocol import Defense, Protocol, takes_class_ids
from dlgutils.types import Batch, Guess, Shared, Tensors


def share(
    model: nn.Module,
    batch: Batch,
    generator: Generator | None = None,
    *,
    masks: Tensors | None = None,
    protocol: Protocol = PLAIN,
    defenses: Iterable[Defense] = (),
) -> Shared:
    """One honest round: the model's weights, and the client's update, one gradient by default.

    Args:
        model: its parameters with `requires_grad` are trained; device and dtype follow it and the
            batch, which must agree.
        batch: the client's images in [0, 1] and its labels, or other targets of the loss; any pair
            of them, as a `DataLoader` has it.
        generator: on the CPU; draws one mask per image and visit for every dropout layer with
            p > 0, then the orders in which a shuffling client visits its images, then what its
            defences draw.
        masks: `{name: (visits, *features)}` instead, for a caller who drew and keeps them, as in
            `masks = models.draw_masks(model, len(batch.x), generator)`; a missing one is all ones.
            A client that sees every image once has one visit per image.
        protocol: how the client trains, and what of it leaves the device. Where the targets of
            cross-entropy are probabilities, the round's protocol says so.
        defenses: what the update passes before it leaves, after those of the protocol, such as
            `[defenses.clip(1.0), defenses.noise(0.001)]`; the round's protocol has them all.

    Raises ValueError for images outside [0, 1] or of a shape or dtype that the model does not take,
    targets that the loss does not take, dropout or shuffling without a generator, a generator
    beside masks, masks of another shape, dtype or device, a scale that is unknown, names that are
    not trained, and models that draw random numbers by themselves, mix the images of a batch, or
    have no parameters.
    """
    x, y = as_batch(batch)
    check_protocol_kind(protocol)
    model = models.unwrapped(model)
    check_model(model)
    batch = Batch(x.detach(), y.detach())
    check_batch(model, batch, protocol.loss)
    if takes_class_ids(protocol.loss) and batch.y.is_floating_point():
        protocol = replace(protocol, soft_targets=True)
    protocol = _with_own_names(model, protocol)
    sent = _names_sent(model, protocol)
    defenses = (*protocol.defenses, *require_row(defenses))
    visits = protocol.visits(len(batch.x))
    if masks is None:
        masks = models.draw_masks(model, visits, generator)
    elif generator is not None and not (protocol.shuffle or defenses):
        raise ValueError(
            "masks are either given or drawn from a generator, but both came; "
            "pass share(model, batch, generator) or share(model, batch, masks=masks)"
        )
    masks = models.renamed(masks, models.dropouts(model))
    check_masks(model, masks, visits)
    masks = {name: mask.detach() for name, mask in masks.items()}
    orders = _draw_orders(protocol, batch.x, generator) if protocol.shuffle else None
    own = models.weights(model)
    weights = {name: own[name] for name in classifier_last(model, tuple(batch.x.shape))}
    try:
        made = update(weights, model, Guess(*batch, masks), protocol, orders)
    except RuntimeError as error:
        raise ValueError(
            f"torch.func cannot differentiate this model: {error}; write its forward with "
            "operations of PyTorch only, without .numpy() or .data"
        ) from error
    gradient = {name: _scaled(made[name], protocol.scale) for name in sent}
    protocol = replace(protocol, defenses=())
    return defend(Shared(weights, gradient, tuple(batch.x.shape), protocol), defenses, generator)


def from_weights(
    before: Tensors, after: Tensors, x_shape: tuple[int, ...], protocol: Protocol
) -> Shared:
    """The round of a client that sent its weights instead of its update.

    Args:
        before: the server's weights, {name: tensor}, all of them.
        after: the client's; of a partial update, some of them. One that did not change at all
            counts as not trained.
        x_shape: (batch, channels, height, width) of the client's images.
        protocol: how the client trained.

    Raises ValueError for names that only the client has, and for weights that did not change. Warns
    of weights in fewer digits than float32: their rounding is large beside the update.
    """
    after = models.renamed(after, before)
    unknown = sorted(after.keys() - before.keys())
    if unknown:
        raise ValueError(
            f"the client sent {', '.join(unknown)}, which the server does not have; "
            "leave buffers out"
        )
    moved = {name: before[name] - tensor for name, tensor in after.items()}
    length = protocol.lr * protocol.steps
    gradient = {name: step / length for name, step in moved.items() if step.any()}
    if not gradient:
        raise ValueError(
            "the weights before and after are the same, so the client sent nothing of its images; "
            "was `before` copied before training (tensor.clone())?"
        )
    sent_as = _narrowest(after)
    if sent_as is not None:
        _warn_of_rounding(sent_as, after, moved)
    return Shared(before, gradient, tuple(x_shape), protocol, sent_as)


def _narrowest(tensors: Tensors) -> torch.dtype | None:
    """The dtype with the fewest digits, if it has fewer than float32."""
    dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    narrow = [dtype for dtype in dtypes if torch.finfo(dtype).bits < 32]
    return max(narrow, key=lambda dtype: torch.finfo(dtype).eps, default=None)


def _warn_of_rounding(dtype: torch.dtype, after: Tensors, moved: Tensors) -> None:
    weights = torch.cat([tensor.double().flatten() for tensor in after.values()])
    steps = torch.cat([tensor.double().flatten() for tensor in moved.values()])
    rounding = float(torch.finfo(dtype).eps / 4 * weights.norm() / steps.norm())
    warnings.warn(
        f"the client's weights came in {dtype}, whose rounding is about {rounding:.0e} of the "
        "update's length, and what depends on the image is often less than that; ask for the "
        "update itself, or for weights in float32",
        stacklevel=3,
    )


def _with_own_names(model: nn.Module, protocol: Protocol) -> Protocol:
    """The protocol with what is sent under the names of this model, where only prefixes differ."""
    if protocol.sent is None:
        return protocol
    new = models.renaming(protocol.sent, dict(model.named_parameters()))
    return replace(protocol, sent=tuple(new.values()))


def _names_sent(model: nn.Module, protocol: Protocol) -> list[str]:
    trained = trained_names(model)
    if not trained:
        raise ValueError(
            "no parameter of this model is trained: requires_grad is False everywhere, so there is "
            "no gradient to share; call requires_grad_(True) on what the client trains"
        )
    if protocol.scale is None:
        raise ValueError(
            "an honest client knows its scale; make the round with a number, and let the attacker "
            "work on dataclasses.replace(shared, protocol=Protocol(scale=None))"
        )
    unknown = [name for name in protocol.sent or () if name not in trained]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)} cannot be sent: this model trains {', '.join(trained)}"
        )
    return [name for name in trained if protocol.sent is None or name in protocol.sent]


def _draw_orders(protocol: Protocol, x: Tensor, generator: Generator | None) -> list[Tensor]:
    """The order of the images in each pass: that of the batch in the first, drawn in the others."""
    if generator is None:
        raise ValueError(
            "a client that shuffles its images draws their order; "
            "pass share(model, batch, generator, protocol=protocol)"
        )
    images = len(x)
    orders = [torch.arange(images, device=x.device)]
    for _ in protocol.passes(images)[1:]:
        orders.append(torch.randperm(images, generator=generator).to(x.device))
    return orders


def _scaled(update: Tensor, scale: float) -> Tensor:
    return update if scale == 1 else scale * update
