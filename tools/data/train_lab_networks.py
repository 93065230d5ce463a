"""Train the lab's networks on photographs of fruit: writes dlgutils/weights/lenet_fruits.npz.

Two LeNets, one of sigmoids and one of ReLUs, begin with PyTorch's initialisation, seed 0, and learn
the twelve commonest of the fourteen fruits of `data.fruits`. Every fifth photograph is held out;
the file says where the first of each class among them is, for the lab to show. Weights are rounded
to bfloat16, which halves the file, and the accuracies that are printed are those of the rounded
weights. It takes about two minutes of one core; another machine rounds differently and gives other
digits.

    python -m tools.data.train_lab_networks
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from dlgutils import data, metrics, models
from dlgutils.types import Batch, Tensors

OUT = Path(__file__).resolve().parents[2] / "dlgutils" / "weights" / "lenet_fruits.npz"
CLASSES = 12
EPOCHS = 60
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class Fruits(NamedTuple):
    """Images of the twelve commonest fruits."""

    names: list[str]  # in alphabetical order
    images: Batch
    rows: Tensor  # where `data.fruits` has them


def commonest_fruits() -> Fruits:
    """The images of the twelve commonest fruits, with classes 0 … 11."""
    x, y = data.fruits()
    ranked = y.bincount().argsort(descending=True, stable=True)
    classes = ranked[:CLASSES].sort().values
    rows = torch.isin(y, classes).nonzero()[:, 0]
    names = [data.class_names("fruits")[k] for k in classes.tolist()]
    return Fruits(names, Batch(x[rows], torch.searchsorted(classes, y[rows])), rows)


def split(images: Batch) -> tuple[Batch, Batch, Tensor]:
    """Images to train with, every fifth, which is held out, and which ones these are."""
    held_out = torch.arange(len(images.y)) % 5 == 4
    seen = Batch(*(t[~held_out] for t in images))
    return seen, Batch(*(t[held_out] for t in images)), held_out.nonzero()[:, 0]


def train(model: nn.Module, images: Batch, generator: Generator) -> nn.Module:
    """The model after `EPOCHS` epochs of Adam, with batches of 32; it is changed."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images.y), generator=generator).split(32):
            optimizer.zero_grad()
            cross_entropy(model(images.x[rows]), images.y[rows]).backward()
            optimizer.step()
    return model


def rounded(weights: Tensors) -> Tensors:
    """Weights of at most 8 significant binary digits, still float32."""
    return {name: t.to(torch.bfloat16).float() for name, t in weights.items()}


def accuracy(model: nn.Module, weights: Tensors, images: Batch) -> float:
    """The share of images that are classified right."""
    with torch.no_grad():
        logits = functional_call(model, dict(weights), (images.x,))
    return metrics.label_accuracy(logits.argmax(1)[None], images.y).item()


def first_of_each(labels: Tensor) -> Tensor:
    """Where the first image of each class is, (classes,)."""
    return torch.stack([(labels == k).nonzero()[0, 0] for k in range(CLASSES)])


def main() -> None:
    """Train both networks, print their accuracies, and write the file."""
    torch.set_num_threads(1)
    names, images, rows = commonest_fruits()
    seen, held_out, places = split(images)
    shown = rows[places[first_of_each(held_out.y)]]
    arrays = {"names": np.array(names), "rows": shown.numpy()}
    for name, activation in ACTIVATIONS.items():
        generator = Generator().manual_seed(0)
        fresh = models.init_default(models.lenet(activation=activation), generator)
        model = train(fresh, seen, generator)
        weights = rounded(models.weights(model))
        shares = [accuracy(model, weights, part) for part in (seen, held_out)]
        print(
            f"{name}: {shares[0]:.0%} of {len(seen.y)} seen, {shares[1]:.0%} of "
            f"{len(held_out.y)} held out, {EPOCHS} epochs"
        )
        arrays |= {f"{name}.{key}": t.numpy() for key, t in weights.items()}
    OUT.parent.mkdir(exist_ok=True)
    np.savez_compressed(OUT, **arrays)


if __name__ == "__main__":
    main()
