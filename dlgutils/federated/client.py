"""The honest client: one batch, one loss, one gradient, and what leaves the device."""

from torch import Generator, Tensor, nn
from torch.func import grad
from torch.nn.functional import cross_entropy

from dlgutils import models
from dlgutils.federated.checks import check_batch, check_model
from dlgutils.federated.inputs import check_arrays
from dlgutils.federated.mask_checks import check_masks
from dlgutils.types import Batch, Shared, Tensors

_NO_MASKS: Tensors = {}


def loss(
    weights: Tensors, model: nn.Module, x: Tensor, y: Tensor, masks: Tensors = _NO_MASKS
) -> Tensor:
    """Mean cross-entropy of the model with these weights and masks: a scalar.

    Args:
        weights: {name: tensor}, as `models.weights(model)` gives them.
        model: the network; its own weights do not matter.
        x: (batch, channels, height, width).
        y: (batch,) class ids or (batch, classes) probabilities.
        masks: `{name: (batch, *features)}`; a missing one is all ones.

    Raises ValueError for a mask that the model does not have.
    """
    if masks:
        check_masks(model, masks)
    return cross_entropy(models.forward(model, {**weights, **masks}, x), y)


def gradient(
    weights: Tensors, model: nn.Module, x: Tensor, y: Tensor, masks: Tensors = _NO_MASKS
) -> Tensors:
    """∂loss/∂weights, {name: tensor}; the arguments are those of `loss`.

    The client computes it once; an attacker recomputes it for every guess.
    """
    return grad(loss)(weights, model, x, y, masks)


def share(
    model: nn.Module,
    batch: Batch,
    generator: Generator | None = None,
    *,
    masks: Tensors | None = None,
) -> Shared:
    """One honest round: the model's weights, and the gradient of the mean cross-entropy.

    Args:
        model: a classifier; device and dtype follow it and the batch, which must agree.
        batch: the client's images in [0, 1] and labels.
        generator: on the CPU; draws one mask per image for every dropout layer with p > 0.
        masks: `{name: (batch, *features)}` instead, for a caller who drew and keeps them, as in
            `masks = models.draw_masks(model, len(batch.x), generator)`; a missing one is all ones.

    Raises ValueError for images outside [0, 1] or of a shape or dtype that the model does not take,
    labels out of range, dropout without a generator, a generator beside masks, masks of another
    shape, dtype or device, and models that draw random numbers by themselves, mix the images of a
    batch, have no parameters, or are not classifiers.
    """
    check_arrays(batch)
    model = models.unwrapped(model)
    check_model(model)
    if masks is None:
        masks = models.draw_masks(model, len(batch.x), generator)
    elif generator is not None:
        raise ValueError(
            "masks are either given or drawn from a generator, but both came; "
            "pass share(model, batch, generator) or share(model, batch, masks=masks)"
        )
    masks = models.renamed(masks, models.dropouts(model))
    check_masks(model, masks, len(batch.x))
    masks = {name: mask.detach() for name, mask in masks.items()}
    batch = batch._replace(x=batch.x.detach())
    check_batch(model, batch)
    weights = models.weights(model)
    try:
        g = gradient(weights, model, *batch, masks)
    except RuntimeError as error:
        raise ValueError(
            f"torch.func cannot differentiate this model: {error}; write its forward with "
            "operations of PyTorch only, without .numpy() or .data"
        ) from error
    return Shared(weights, g, tuple(batch.x.shape))
