"""Networks that have been trained on some images of a set, and the images that they have not seen.

A network is trained once: its weights are kept in `_build/networks`.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from dlgutils import metrics, models
from reproduce.inputs import all_images, count_classes
from reproduce.other_networks import OTHERS

FOLDER = Path("_build/networks")
NETWORKS = ("LeNet, sigmoid", "LeNet, ReLU", "CNN")
"""The networks by name: `models.lenet` with two activations, and `models.cnn`."""

STEPS = {"LeNet, sigmoid": 3e-3, "VGG-11": 1e-4}
"""Of Adam, where it is not 1e-3."""

SEEN = {"fruits": 1000, "fashion": 120}
"""How many images of a set the networks are trained on; of others 1 000."""


class Training(NamedTuple):
    """What a trained network follows from."""

    network: str  # one of NETWORKS, or a key of `other_networks.OTHERS`
    images: str = "fruits"  # a set that `inputs.all_images` knows
    rate: float = 0.0  # of dropout, in training too
    seed: int = 0  # draws weights, batches and masks


@cache
def order(images: str = "fruits") -> Tensor:
    """The images of a set in one random order, (n,): the first are for training."""
    generator = Generator().manual_seed(0)
    return torch.randperm(len(all_images(images).x), generator=generator)


def held_out(images: str = "fruits") -> Tensor:
    """The images of a set that no trained network has seen: (393,) fruits."""
    return order(images)[count_seen(images) :]


def count_seen(images: str) -> int:
    """How many images of a set the networks are trained on."""
    return SEEN.get(images, 1000)


def trained(training: Training, epochs: int) -> nn.Module:
    """A network after some epochs of Adam in batches of 50, in eval mode.

    The step is 3e-3 for the LeNet of sigmoids, 1e-4 for VGG-11, and 1e-3 for the others.
    """
    model = build(training)
    path = FOLDER / f"{'_'.join(map(str, training))}_{epochs}.pt".replace(", ", "_")
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        model = _train(model, training, epochs)
        partial = path.with_suffix(f".{id(model)}")
        torch.save(model.state_dict(), partial)
        partial.replace(path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def build(training: Training) -> nn.Module:
    """The network before it is trained, with PyTorch's initialisation, or torchvision's."""
    images = all_images(training.images)
    shape = tuple(images.x.shape[1:])
    classes = count_classes(training.images)
    if training.network in OTHERS:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(training.seed)
            return OTHERS[training.network](classes)
    if training.network == "CNN":
        model = models.cnn(shape, classes, dropout=training.rate)
    else:
        activation = nn.ReLU if training.network == "LeNet, ReLU" else nn.Sigmoid
        model = models.lenet(shape, classes, dropout=training.rate, activation=activation)
    return models.init_default(model, Generator().manual_seed(training.seed))


def accuracy(model: nn.Module, images: str = "fruits", *, seen: bool = False) -> float:
    """The share of held-out images, or of those it was trained on, that a network gets right."""
    everything = all_images(images)
    rows = order(images)[: count_seen(images)] if seen else held_out(images)
    like = next(model.parameters())
    with torch.no_grad():
        z = model(everything.x[rows].to(like))
    return metrics.label_accuracy(z.argmax(1)[None], everything.y[rows]).item()


def _train(model: nn.Module, training: Training, epochs: int) -> nn.Module:
    everything = all_images(training.images)
    seen = order(training.images)[: count_seen(training.images)]
    generator = Generator().manual_seed(training.seed)
    adam = torch.optim.Adam(model.parameters(), lr=STEPS.get(training.network, 1e-3))
    for _ in range(epochs):
        shuffled = torch.randperm(len(seen), generator=generator)
        for rows in seen[shuffled].split(50):
            masks = models.draw_masks(model, len(rows), generator)
            z = torch.func.functional_call(model, masks, (everything.x[rows],))
            adam.zero_grad()
            cross_entropy(z, everything.y[rows]).backward()
            adam.step()
    return model
