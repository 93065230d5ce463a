"""What a page computes with PyTorch's graphs: the client's gradient, the matching loss, the image.

A page calls the tensors of a guess x, logits and mask, and those of a round weights.NAME and
gradient.NAME. A label that is known has logits of 0 and −∞.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.func import grad_and_value

from dlgutils import data, federated, models
from dlgutils.javascript.translate import Function
from dlgutils.matching import objective
from dlgutils.types import Attack, Guess, Shared, Tensors, Transform

MASK = "dropout.mask"
with torch.random.fork_rng(devices=[]):  # an import draws nothing from the global generator
    MODEL = models.lenet(dropout=0.5)  # weights and rate do not matter: both come from outside


class Example(NamedTuple):
    """A round, and one value of everything that a page may guess, to trace the functions with."""

    shared: Shared
    x: Tensor
    mask: Tensor
    logits: Tensor

    @property
    def weights(self) -> Tensors:
        """The weights of the round, under the names that a page uses."""
        return _with_prefix("weights", self.shared.weights)

    @property
    def gradient(self) -> Tensors:
        """The gradient of the round, under the names that a page uses."""
        return _with_prefix("gradient", self.shared.gradient)


def example() -> Example:
    """A round of a photograph; only its shapes matter."""
    generator = Generator().manual_seed(0)
    masks = models.draw_masks(MODEL, 1, generator)
    shared = federated.share(MODEL, data.photos("cat"), masks=masks)
    x = shared.like.new_full(shared.x_shape, 0.5)
    logits = shared.like.new_zeros(1, shared.classes)
    return Example(shared, x, masks[MASK], logits)


def client_gradient(example: Example) -> Function:
    """The client's gradient, {name: tensor}, of x, y as probabilities, mask and weights.NAME."""

    def gradient(t: Tensors) -> Tensors:
        weights = _without_prefix("weights", t)
        masks = {MASK: t["mask"]}
        return federated.gradient(weights, MODEL, t["x"], t["y"], masks)

    y = example.logits.softmax(-1)
    guess = {"x": example.x, "y": y, "mask": example.mask}
    return gradient, {**guess, **example.weights}


def picture(transform: Transform, example: Example) -> Function:
    """The image in [0, 1] units, as "x", of the unknowns x."""

    def decode(t: Tensors) -> Tensors:
        return {"x": transform.decode(t["x"])}

    return decode, {"x": example.x}


def loss_and_slopes(attack: Attack, unknowns: Sequence[str], example: Example) -> Function:
    """The matching loss as "value", and its slope in each unknown as "slope.x" and so on.

    unknowns: what the attack optimises; the function takes the rest of x, mask and logits as known,
    and weights.NAME and gradient.NAME.
    """
    parts = {"x": example.x, "mask": example.mask, "logits": example.logits}
    known = [name for name in parts if name not in unknowns]
    order = [*unknowns, *known]

    def evaluate(t: Tensors) -> Tensors:
        weights = _without_prefix("weights", t)
        target = _without_prefix("gradient", t)
        given = from_page(_pick(t, known))

        def loss(unknown: Tensors) -> Tensor:
            guess = from_page(unknown)
            return objective(MODEL, attack, guess, given, weights, target)

        slopes, value = grad_and_value(loss)(_pick(t, unknowns))
        return {"value": value, **_with_prefix("slope", slopes)}

    return evaluate, {**_pick(parts, order), **example.weights, **example.gradient}


def to_page(guess: Guess) -> Tensors:
    """The tensors of a guess by the names that they have in a page."""
    mask = guess.masks.get(MASK)
    parts = {"x": guess.x, "logits": guess.y, "mask": mask}
    there = [name for name, tensor in parts.items() if tensor is not None]
    return _pick(parts, there)


def from_page(tensors: Tensors) -> Guess:
    """The guess that `to_page` took apart."""
    masks = {}
    if "mask" in tensors:
        masks[MASK] = tensors["mask"]
    return Guess(tensors.get("x"), tensors.get("logits"), masks)


def _pick(tensors: Tensors, names: Sequence[str]) -> Tensors:
    """The tensors of these names, in this order."""
    return {name: tensors[name] for name in names}


def _with_prefix(prefix: str, tensors: Tensors) -> Tensors:
    """The same tensors, under "prefix.name"."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors that have the prefix, without it."""
    start = f"{prefix}."
    found = {}
    for name, tensor in tensors.items():
        if name.startswith(start):
            found[name.removeprefix(start)] = tensor
    return found
