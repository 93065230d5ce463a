"""What an attacker minimises: one function of flat unknowns for each run."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.func import vmap

from dlgutils import federated
from dlgutils.federated.defenses import imitate
from dlgutils.federated.defenses.pruning import zero_where_zero
from dlgutils.federated.local_training import PLAIN
from dlgutils.matching import objectives
from dlgutils.matching.flat import flatten, flatten_guess, stack, unflatten_guess
from dlgutils.matching.kept_programs import architecture, comparable
from dlgutils.protocol import Protocol
from dlgutils.types import Attack, Comparison, Guess, Shared, Tensors


def decode_guess(
    model: nn.Module, attack: Attack, *parts: Guess, protocol: Protocol = PLAIN
) -> Guess:
    """The guess as images in [0, 1] units, class ids or other targets, and masks.

    Args:
        model: the attacker's copy of the network.
        attack: its transform and `decode` are applied.
        parts: what is optimised, then what was inferred or drawn; where both say something about a
            tensor, the later one counts.
        protocol: floating point labels become targets of its loss, logits probabilities.

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
        guess = guess._replace(y=protocol.as_targets(guess.y))
    return guess


def _gradient_of_round(_: nn.Module, shared: Shared) -> Tensors:
    return shared.gradient


gradients = Comparison(federated.update, _gradient_of_round)
"""The comparison of attacks that say nothing else: the update of all that was shared."""


def objective(
    model: nn.Module,
    attack: Attack,
    guess: Guess,
    known: Guess,
    weights: Tensors,
    target: Tensors,
    protocol: Protocol = PLAIN,
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
        protocol: of that round. If its scale is unknown, the one that fits best is taken. What its
            defences do to the gradient is repeated (`defenses.imitate`), unless the attack compares
            something else.
    """
    decoded = decode_guess(model, attack, guess, known, protocol=protocol)
    compare = attack.compare or gradients
    whole = compare.of_guess(weights, model, decoded, protocol)
    part = {name: whole[name] for name in target}
    if protocol.scale is None or compare is gradients:
        part = _scaled(part, target, protocol)
    if compare is gradients:
        part = imitate(protocol.defenses, part, target)
    elif protocol.defenses:
        part, target = _without_unknown(part, target)
    loss = attack.distance(part, target)
    return loss if attack.prior is None else loss + attack.prior(decoded)


# What defences made zero says nothing of the scale.
def _scaled(part: Tensors, target: Tensors, protocol: Protocol) -> Tensors:
    """What was recomputed as the client scaled it; if unknown, its multiple next to the target."""
    scale = protocol.scale
    if scale == 1:
        return part
    if scale is None:
        product = sum((part[name] * target[name]).sum() for name in target)
        seen = zero_where_zero(part, target) if protocol.defenses else part
        scale = product / objectives.squared_norm(seen)
    return {name: scale * tensor for name, tensor in part.items()}


def _without_unknown(part: Tensors, target: Tensors) -> tuple[Tensors, Tensors]:
    """Both with zeros where defences left nothing of the target, which is NaN there."""
    known = {name: ~tensor.isnan() for name, tensor in target.items()}
    part = {name: torch.where(known[name], tensor, 0) for name, tensor in part.items()}
    return part, {name: tensor.nan_to_num(0) for name, tensor in target.items()}


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
        unknown = [shared for shared in rounds if shared.protocol.scale is None]
        self.protocol = [*unknown, *rounds][0].protocol  # a fitted scale suits those known, too
        self.generators = [_generator(seed) for seed in seeds]
        compare = attack.compare or gradients
        inferred = [flatten_guess(attack.infer(model, shared)) for shared in rounds]
        self.given = Given(
            known=stack(inferred),
            weights=stack([shared.weights for shared in rounds]),
            target=stack([compare.of_round(model, shared) for shared in rounds]),
        )
        guesses = stack(
            [flatten_guess(self._first_guess(run, start)) for run in range(len(rounds))]
        )
        self.start, self.unflatten = flatten(guesses)
        self.unknowns = tuple((name, guess.shape[1:]) for name, guess in guesses.items())

    @property
    def key(self) -> Hashable:
        """Equal for problems whose objectives are the same operations on the same sizes."""
        recipe = comparable([vars(self.attack), vars(self.protocol), self.unknowns])
        return recipe, architecture(self.model, self.given.weights.keys())

    def objective(self, z: Tensor, drawn: Tensors, given: Given) -> Tensor:
        """The loss of one run, a scalar, at its unknowns z, (n,)."""
        known = unflatten_guess({**given.known, **drawn})
        guess = self.unflatten(z)
        return objective(
            self.model, self.attack, guess, known, given.weights, given.target, self.protocol
        )

    def draw(self, runs: Sequence[int]) -> Tensors:
        """What the attack draws anew for these runs, {name: tensor}, runs first."""
        draws = []
        for run in runs:
            drawn = self.attack.draw(self.model, self.rounds[run], self.generators[run])
            draws.append(flatten_guess(drawn))
        return stack(draws)

    def picture(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels of all runs, runs first, at their unknowns z, (runs, n)."""

        def decode(z: Tensor, known: Tensors) -> tuple[Tensor, Tensor]:
            guess = self.unflatten(z)
            inferred = unflatten_guess(known)
            decoded = decode_guess(self.model, self.attack, guess, inferred, protocol=self.protocol)
            return decoded.x, decoded.y

        return vmap(decode)(z, self.given.known)

    def _first_guess(self, run: int, start: Tensor | None) -> Guess:
        guess = self.attack.start(self.model, self.rounds[run], self.generators[run])
        if start is not None:
            guess = guess._replace(x=start[run].to(self.rounds[run].like))
        if self.attack.transform and guess.x is not None:
            guess = guess._replace(x=self.attack.transform.encode(guess.x))
        return guess


def _generator(seed: int) -> Generator | None:
    return None if seed < 0 else Generator().manual_seed(seed)
