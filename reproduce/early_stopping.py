"""Training until the validation images say that it is done; accuracy on images held back."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from dlgutils import Batch, metrics, models
from dlgutils.protocol import Defense
from reproduce.inputs import all_images


class Split(NamedTuple):
    """Images to learn from, to stop by, and to report on."""

    training: Batch
    validation: Batch
    test: Batch


def split(images: str, sizes: Sequence[int], generator: Generator) -> Split:
    """The images of a set in a random order, cut in three of these sizes."""
    everything = all_images(images)
    order = torch.randperm(len(everything.x), generator=generator)
    parts = order.split(tuple(sizes))
    return Split(*[Batch(everything.x[part], everything.y[part]) for part in parts])


def accuracy(model: nn.Module, batch: Batch) -> float:
    """The share of images that the model, without dropout, classifies correctly."""
    with torch.no_grad():
        found = model(batch.x).argmax(1)
    return round(metrics.label_accuracy(found[None], batch.y).item(), 4)


def epochs(
    model: nn.Module,
    batch: Batch,
    generator: Generator,
    defenses: Iterable[Defense] = (),
    *,
    size: int,
    rate: float,
    most: int,
) -> Iterator[None]:
    """Train the model, with fresh masks in every step of Adam; yields after each epoch.

    Args:
        model: it is trained.
        batch: all images to learn from.
        generator: draws their order, masks, and what defences draw.
        defenses: what each update goes through before Adam gets it.
        size: images of a step.
        rate: of Adam.
        most: epochs.
    """
    adam = torch.optim.Adam(model.parameters(), lr=rate)
    named = dict(model.named_parameters())
    for _ in range(most):
        for part in torch.randperm(len(batch.x), generator=generator).split(size):
            masks = models.draw_masks(model, len(part), generator)
            loss = cross_entropy(functional_call(model, masks, (batch.x[part],)), batch.y[part])
            update = dict(zip(named, torch.autograd.grad(loss, named.values()), strict=True))
            for defense in defenses:
                update = defense(update, generator)
            for parameter, g in zip(named.values(), update.values(), strict=True):
                parameter.grad = g.to(parameter)
            adam.step()
        yield


def train_until_done(
    model: nn.Module, parts: Split, epochs: Iterable[None], patience: int
) -> dict[str, Any]:
    """Train until the best validation accuracy is `patience` epochs old; the model keeps its best.

    The answer has the number of epochs, the first epoch with the best validation accuracy, and the
    accuracies of that epoch: shares in [0, 1], without dropout.

    Args:
        model: it is trained while `epochs` are taken.
        parts: validation images decide, test images are reported.
        epochs: one item for each epoch.
        patience: in epochs.
    """
    best = {"best_epoch": 0, "validation": accuracy(model, parts.validation)}
    kept = _copied(model)
    epoch = 0
    for epoch, _ in enumerate(epochs, 1):
        reached = accuracy(model, parts.validation)
        if reached > best["validation"]:
            best = {"best_epoch": epoch, "validation": reached}
            kept = _copied(model)
        if epoch >= best["best_epoch"] + patience:
            break
    model.load_state_dict(kept)
    return {"epochs": epoch, **best, "test": accuracy(model, parts.test)}


def _copied(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
