"""What a client computes before it sends anything: a loss, its gradient, an update."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy

from dlgutils.federated.defenses.clipping import clip
from dlgutils.federated.mask_checks import check_masks
from dlgutils.models import mixing_layers
from dlgutils.models.forward import forward
from dlgutils.protocol import Loss, Protocol
from dlgutils.types import Guess, Tensors

_NO_MASKS: Tensors = {}
PLAIN = Protocol()
"""One step on all images at once: the update is the gradient."""


def loss(
    weights: Tensors,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    masks: Tensors = _NO_MASKS,
    criterion: Loss = cross_entropy,
) -> Tensor:
    """The loss of the model with these weights and masks, mean cross-entropy by default: a scalar.

    Args:
        weights: {name: tensor}, as `models.weights(model)` gives them.
        model: the network; its own weights do not matter.
        x: (batch, channels, height, width).
        y: (batch,) class ids or (batch, classes) probabilities, or what `criterion` takes.
        masks: `{name: (batch, *features)}`; a missing one is all ones.
        criterion: of the outputs and y.

    Raises ValueError for a mask that the model does not have.
    """
    if masks:
        check_masks(model, masks)
    return criterion(forward(model, {**weights, **masks}, x), y)


def gradient(
    weights: Tensors,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    masks: Tensors = _NO_MASKS,
    criterion: Loss = cross_entropy,
) -> Tensors:
    """∂loss/∂weights, {name: tensor}, of what is trained; the arguments are those of `loss`.

    A parameter is trained if the model says so (`requires_grad`). The client computes it once; an
    attacker recomputes it for every guess.
    """
    trained = {name: weights[name] for name in trained_names(model)}

    def loss_of(trained: Tensors) -> Tensor:
        return loss({**weights, **trained}, model, x, y, masks, criterion)

    return grad(loss_of)(trained)


def trained_names(model: nn.Module) -> list[str]:
    """The names of the parameters that are trained, in the model's order."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


# SGD as torch.optim.SGD does it: v ← μ v + g + λ w, w ← w − η v. The sum of all v is kept instead
# of the weights, so that after one step the update is the gradient to the last bit.
def update(
    weights: Tensors,
    model: nn.Module,
    guess: Guess,
    protocol: Protocol = PLAIN,
    orders: Sequence[Tensor] | None = None,
) -> Tensors:
    """What a client with these images would send, before it is scaled: {name: tensor}.

    (weights before − after) / (lr · steps): the mean of what the steps of SGD followed, after one
    step the gradient. It is differentiable in all tensors, so that an attack can match it.

    Args:
        weights: before the round, {name: tensor}.
        model: the network; its own weights do not matter.
        guess: images, targets, and masks: one for each visit of an image, in the order of visits.
        protocol: how the client trains. Where it shuffles, `orders` says how.
        orders: for each pass, in which order it visits the images, (batch,) int64; None: in that of
            the batch.
    """
    if protocol.steps == 1 and protocol.batch_size is None:
        return _step(weights, model, guess, protocol, velocity=None)
    moved, velocity = None, None
    for part in _parts(guess, protocol, orders):
        current = weights
        if moved is not None:
            current = {**weights, **_after(weights, moved, protocol.lr)}
        velocity = _step(current, model, part, protocol, velocity)
        moved = velocity if moved is None else _sum(moved, velocity)
    return {name: total / protocol.steps for name, total in moved.items()}


def _step(
    weights: Tensors, model: nn.Module, guess: Guess, protocol: Protocol, velocity: Tensors | None
) -> Tensors:
    """What one step of SGD follows: the gradient, decay and momentum added."""
    if protocol.example_norm is None:
        slope = gradient(weights, model, *guess, protocol.loss)
    else:
        slope = _clipped(weights, model, guess, protocol)
    if protocol.weight_decay:
        decay = protocol.weight_decay
        slope = {name: g + decay * weights[name] for name, g in slope.items()}
    if protocol.momentum and velocity is not None:
        momentum = protocol.momentum
        slope = {name: g + momentum * velocity[name] for name, g in slope.items()}
    return slope


# The images of a mean over masks are one image with many masks.
def _clipped(weights: Tensors, model: nn.Module, guess: Guess, protocol: Protocol) -> Tensors:
    """The mean, or the sum if the loss is one, of each image's gradient, clipped before."""
    mixing = mixing_layers(model)
    if mixing:
        raise ValueError(
            f"{mixing[0]} normalises by the whole batch, so that no image has a gradient of its "
            "own to be clipped; use GroupNorm, or a protocol without example_norm"
        )
    shorten = clip(protocol.example_norm)

    def alone(x: Tensor, y: Tensor, masks: Tensors) -> Tensors:
        masks = {name: mask[None] for name, mask in masks.items()}
        return shorten(gradient(weights, model, x[None], y[None], masks, protocol.loss))

    x = guess.x.expand(len(guess.y), *guess.x.shape[1:])
    each = vmap(alone)(x, guess.y, dict(guess.masks))
    return {name: g.sum(0) if protocol.sums else g.mean(0) for name, g in each.items()}


def _after(weights: Tensors, moved: Tensors, lr: float) -> Tensors:
    return {name: weights[name] - lr * total for name, total in moved.items()}


def _sum(first: Tensors, second: Tensors) -> Tensors:
    return {name: tensor + second[name] for name, tensor in first.items()}


def _parts(guess: Guess, protocol: Protocol, orders: Sequence[Tensor] | None) -> Iterator[Guess]:
    """Images, targets and masks of each step."""
    images = len(guess.x)
    visited = 0
    for number, one_pass in enumerate(protocol.passes(images)):
        for places in one_pass:
            here = slice(places.start, places.stop)
            of_step = here if orders is None else orders[number][here]
            visits = slice(visited, visited + len(places))
            masks = {name: mask[visits] for name, mask in guess.masks.items()}
            visited += len(places)
            yield Guess(guess.x[of_step], guess.y[of_step], masks)
