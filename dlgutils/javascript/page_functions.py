"""What a page computes with PyTorch's graphs: the client's gradient, the matching loss, the image.

A page calls the tensors of a guess x, logits and mask, and those of a round weights.NAME and
gradient.NAME; what was read off the gradient to be matched instead of it is read.NAME. A label that
is known has logits of 0 and −∞.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Generator, Tensor, nn
from torch.func import grad_and_value

from dlgutils import data, federated, models
from dlgutils.javascript.translate import Function
from dlgutils.matching import objective
from dlgutils.types import Attack, Guess, Shared, Tensors, Transform

MASK = "dropout.mask"
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}
"""What the units of a page's LeNet may be."""


class Example(NamedTuple):
    """A round, and one value of everything that a page may guess, to trace the functions with."""

    model: nn.Module
    shared: Shared
    x: Tensor
    mask: Tensor
    logits: Tensor

    @property
    def weights(self) -> Tensors:
        """The weights of the round, under the names that a page uses."""
        return with_prefix("weights", self.shared.weights)

    @property
    def gradient(self) -> Tensors:
        """The gradient of the round, under the names that a page uses."""
        return with_prefix("gradient", self.shared.gradient)


def example(activation: str = "sigmoid", batch: int = 1) -> Example:
    """A round of the first photographs; only the kind of network and the shapes matter.

    activation: one of `ACTIVATIONS`.
    """
    generator = Generator().manual_seed(0)
    fresh = models.lenet(dropout=0.5, activation=ACTIVATIONS[activation])
    model = models.init_default(fresh, generator)
    names = data.class_names("photos")[:batch]
    model, _, shared, masks = federated.honest(model, data.photos(*names), generator, init=None)
    x = shared.like.new_full(shared.x_shape, 0.5)
    logits = shared.like.new_zeros(batch, shared.classes)
    return Example(model, shared, x, masks[MASK], logits)


def attackers_copy(model: nn.Module, attack: Attack) -> nn.Module:
    """The model that an attacker searches with.

    `models.smooth_relu` of it, if it has ReLUs and gradients are matched: their slopes jump.
    """
    has_relu = any(isinstance(layer, nn.ReLU) for layer in model.modules())
    return models.smooth_relu(model) if has_relu and attack.compare is None else model


def client_gradient(example: Example) -> Function:
    """The client's gradient, {name: tensor}, of x, y as probabilities, mask and weights.NAME."""

    def gradient(t: Tensors) -> Tensors:
        weights = without_prefix("weights", t)
        masks = {MASK: t["mask"]}
        return federated.gradient(weights, example.model, t["x"], t["y"], masks)

    y = example.logits.softmax(-1)
    guess = {"x": example.x, "y": y, "mask": example.mask}
    return gradient, {**guess, **example.weights}


def picture(transform: Transform, example: Example) -> Function:
    """The image in [0, 1] units, as "x", of the unknowns x."""

    def decode(t: Tensors) -> Tensors:
        return {"x": transform.decode(t["x"])}

    return decode, {"x": example.x}


def unknowns(transform: Transform, example: Example) -> Function:
    """The unknowns, as "x", of the image x in [0, 1] units."""

    def encode(t: Tensors) -> Tensors:
        return {"x": transform.encode(t["x"])}

    return encode, {"x": example.x}


def loss_and_slopes(attack: Attack, example: Example) -> Function:
    """The matching loss as "value", and its slopes in the image and the label.

    The function takes x, logits, mask, weights.NAME, and gradient.NAME or read.NAME; the slopes are
    "slope.x" and "slope.logits". For a label that is known, the page ignores the latter.
    """
    guesses = {"x": example.x, "logits": example.logits}
    model = attackers_copy(example.model, attack)
    kind, compared = what_is_compared(attack, example)

    def evaluate(t: Tensors) -> Tensors:
        weights = without_prefix("weights", t)
        target = without_prefix(kind, t)
        given = from_page({"mask": t["mask"]})

        def loss(unknown: Tensors) -> Tensor:
            guess = from_page(unknown)
            return objective(model, attack, guess, given, weights, target)

        slopes, value = grad_and_value(loss)(pick(t, list(guesses)))
        return {"value": value, **with_prefix("slope", slopes)}

    given = {"mask": example.mask, **example.weights, **with_prefix(kind, compared)}
    return evaluate, {**guesses, **given}


def what_is_compared(attack: Attack, example: Example) -> tuple[str, Tensors]:
    """The prefix in a page, gradient or read, and the tensors of the round that are matched."""
    if attack.compare is None:
        return "gradient", example.shared.gradient
    return "read", attack.compare.of_round(example.model, example.shared)


def to_page(guess: Guess) -> Tensors:
    """The tensors of a guess by the names that they have in a page."""
    mask = guess.masks.get(MASK)
    parts = {"x": guess.x, "logits": guess.y, "mask": mask}
    there = [name for name, tensor in parts.items() if tensor is not None]
    return pick(parts, there)


def from_page(tensors: Tensors) -> Guess:
    """The guess that `to_page` took apart."""
    masks = {}
    if "mask" in tensors:
        masks[MASK] = tensors["mask"]
    return Guess(tensors.get("x"), tensors.get("logits"), masks)


def pick(tensors: Tensors, names: Sequence[str]) -> Tensors:
    """The tensors of these names, in this order."""
    return {name: tensors[name] for name in names}


def with_prefix(prefix: str, tensors: Tensors) -> Tensors:
    """The same tensors, under "prefix.name"."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors that have the prefix, without it."""
    start = f"{prefix}."
    found = {}
    for name, tensor in tensors.items():
        if name.startswith(start):
            found[name.removeprefix(start)] = tensor
    return found
