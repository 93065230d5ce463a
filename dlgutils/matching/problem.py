"""What an attacker minimises: one function of flat unknowns for each run."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.func import vmap

from dlgutils import federated
from dlgutils.types import Attack, Comparison, Guess, Shared, Tensors


def decode_guess(model: nn.Module, attack: Attack, *parts: Guess) -> Guess:
    """The guess as images in [0, 1] units, class ids or probabilities, and masks.

    Args:
        model: the attacker's copy of the network.
        attack: its transform and `decode` are applied, and logits become probabilities.
        parts: what is optimised, then what was inferred or drawn; where both say something about a
            tensor, the later one counts.

    Raises ValueError if no part says what the images or the labels are.
    """
    optimised, *known = parts
    x, y, masks = optimised
    if attack.transform and x is not None:
        x = attack.transform.decode(x)
    for part in known:
        x = x if part.x is None else part.x
        y = y if part.y is None else part.y
        masks = {**masks, **part.masks}
    guess = attack.decode(model, Guess(x, y, masks))
    for what, tensor in (("images", guess.x), ("labels", guess.y)):
        if tensor is None:
            raise ValueError(
                f"{attack.name} does not say what the {what} are; "
                "let start, infer or decode return a Guess(x=..., y=...) that does"
            )
    if guess.y.is_floating_point():
        guess = guess._replace(y=guess.y.softmax(-1))
    return guess


def _gradient_of_guess(weights: Tensors, model: nn.Module, guess: Guess) -> Tensors:
    return federated.gradient(weights, model, *guess)


def _gradient_of_round(_: nn.Module, shared: Shared) -> Tensors:
    return shared.gradient


gradients = Comparison(_gradient_of_guess, _gradient_of_round)
"""The comparison of attacks that say nothing else: the gradients of all that was shared."""


def objective(
    model: nn.Module, attack: Attack, guess: Guess, known: Guess, weights: Tensors, target: Tensors
) -> Tensor:
    """The matching loss of a guess, plus the prior if there is one: the scalar that is minimised.

    `invert` minimises it; this is for those who want to minimise it elsewhere.

    Args:
        model: the attacker's copy of the network.
        attack: the recipe.
        guess: what is optimised, the image as the attack's transform encodes it.
        known: what was inferred and drawn.
        weights: of one round, as in `Shared`.
        target: what of that round is compared: its gradient, unless the attack says otherwise.
    """
    decoded = decode_guess(model, attack, guess, known)
    compare = attack.compare or gradients
    whole = compare.of_guess(weights, model, decoded)
    part = {name: whole[name] for name in target}
    loss = attack.distance(part, target)
    return loss if attack.prior is None else loss + attack.prior(decoded)


class Given(NamedTuple):
    """What does not change while a run descends, the runs first."""

    known: Tensors  # inferred from the gradient
    weights: Tensors
    target: Tensors  # what is compared: the gradient, unless the attack says otherwise


class Problem:
    """Many independent functions of z, (runs, n), one for each run; tensors are flat inside."""

    def __init__(
        self,
        model: nn.Module,
        rounds: Sequence[Shared],
        attack: Attack,
        seeds: Sequence[int],
        start: Tensor | None,
    ):
        self.model, self.rounds, self.attack = model, rounds, attack
        self.generators = [_generator(seed) for seed in seeds]
        compare = attack.compare or gradients
        inferred = [_flatten_guess(attack.infer(model, shared)) for shared in rounds]
        self.given = Given(
            known=_stack(inferred),
            weights=_stack([shared.weights for shared in rounds]),
            target=_stack([compare.of_round(model, shared) for shared in rounds]),
        )
        guesses = _stack(
            [_flatten_guess(self._first_guess(run, start)) for run in range(len(rounds))]
        )
        self.start, self.unflatten = _flatten(guesses)

    def objective(self, z: Tensor, drawn: Tensors, given: Given) -> Tensor:
        """The loss of one run, a scalar, at its unknowns z, (n,)."""
        known = _unflatten_guess({**given.known, **drawn})
        guess = self.unflatten(z)
        return objective(
            self.model, self.attack, guess, known, weights=given.weights, target=given.target
        )

    def draw(self, runs: Sequence[int]) -> Tensors:
        """What the attack draws anew for these runs, {name: tensor}, runs first."""
        draws = []
        for run in runs:
            drawn = self.attack.draw(self.model, self.rounds[run], self.generators[run])
            draws.append(_flatten_guess(drawn))
        return _stack(draws)

    def picture(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels of all runs, runs first, at their unknowns z, (runs, n)."""

        def decode(z: Tensor, known: Tensors) -> tuple[Tensor, Tensor]:
            guess = self.unflatten(z)
            return decode_guess(self.model, self.attack, guess, _unflatten_guess(known))[:2]

        return vmap(decode)(z, self.given.known)

    def _first_guess(self, run: int, start: Tensor | None) -> Guess:
        guess = self.attack.start(self.model, self.rounds[run], self.generators[run])
        if start is not None:
            guess = guess._replace(x=start[run].to(self.rounds[run].like))
        if self.attack.transform and guess.x is not None:
            guess = guess._replace(x=self.attack.transform.encode(guess.x))
        return guess


def _flatten_guess(guess: Guess) -> Tensors:
    """The tensors of a guess by name: "x", "y", and the names of the masks."""
    tensors = {"x": guess.x, "y": guess.y, **guess.masks}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _unflatten_guess(tensors: Tensors) -> Guess:
    """The guess that `_flatten_guess` took apart."""
    masks = {name: tensor for name, tensor in tensors.items() if name not in ("x", "y")}
    return Guess(tensors.get("x"), tensors.get("y"), masks)


def _generator(seed: int) -> Generator | None:
    return None if seed < 0 else Generator().manual_seed(seed)


def _stack(runs: Sequence[Tensors]) -> dict[str, Tensor]:
    """The tensors of all runs by name, runs first, cut off from whatever graph made them."""
    names = runs[0].keys()
    for tensors in runs:
        if tensors.keys() != names:
            raise ValueError(
                f"the runs of an attack have the same tensors, got {sorted(names)} and "
                f"{sorted(tensors)}; invert them one by one"
            )
    stacked = {}
    for name in names:
        of_all_runs = [tensors[name].detach() for tensors in runs]
        stacked[name] = torch.stack(of_all_runs)
    return stacked


def _flatten(tensors: Tensors) -> tuple[Tensor, Callable[[Tensor], Guess]]:
    """The guesses of all runs as z, (runs, n), and the way back for one run."""
    shapes = {name: tensor.shape[1:] for name, tensor in tensors.items()}
    sizes = [shape.numel() for shape in shapes.values()]

    def unflatten(z: Tensor) -> Guess:
        parts = zip(shapes.items(), z.split(sizes), strict=True)
        return _unflatten_guess({name: part.view(shape) for (name, shape), part in parts})

    return torch.cat([tensor.flatten(1) for tensor in tensors.values()], 1), unflatten
