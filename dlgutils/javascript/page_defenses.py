"""What a page's client may do to its gradient, and the loss of the attacker who knows it.

That loss is taken apart, since only a small part of it differs between the defences. The gradient
of the guess is `made`; a function of its own for each defence says how far that is from what was
sent, and its slope in every number that was made, the *pull*; and the slopes in the guess follow
from the pull.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn
from torch.func import grad, grad_and_value

from dlgutils import attacks
from dlgutils.federated import defenses
from dlgutils.javascript.page_functions import (
    Example,
    attackers_copy,
    from_page,
    pick,
    with_prefix,
    without_prefix,
)
from dlgutils.javascript.translate import Function
from dlgutils.matching import decode_guess, weighing_noise
from dlgutils.matching.problem import gradients
from dlgutils.protocol import Defense, Effect, Protocol
from dlgutils.types import Attack, Guess, Shared, Tensors

DEFENSES: Mapping[str, Defense] = {
    "clipped to length 1": defenses.clip(1.0),
    "noise, σ = 10⁻⁶": defenses.noise(1e-6),
    "noise, σ = 10⁻⁵": defenses.noise(1e-5),
    "noise, σ = 10⁻⁴": defenses.noise(1e-4),
    "noise, σ = 10⁻³": defenses.noise(1e-3),
    "noise, σ = 10⁻²": defenses.noise(1e-2),
    "largest 10 % kept": defenses.top_k(0.1),
    "largest 1 % kept": defenses.top_k(0.01),
    "signs only": defenses.sign(),
    "8 bits a number": defenses.quantized(8),
    "4 bits a number": defenses.quantized(4),
}
"""The defences that a page offers, by the names that its reader chooses from."""


def knowing(attack: Attack, shared: Shared) -> Attack:
    """The attack as somebody carries it out who knows the defences of a round.

    What can be repeated, matching repeats by itself; noise is weighed (`matching.weighing_noise`).
    """
    sigma = shared.protocol.sigma
    return replace(weighing_noise(attack, sigma), name=attack.name) if sigma else attack


def seen(shared: Shared, defense: Defense, known: bool) -> Shared:
    """The round after a defence, as an attacker sees it who knows of it or not.

    shared: with the gradient as it was sent.
    """
    told = defense if known else defenses.unknown()
    return replace(shared, protocol=Protocol(defenses=(told,)))


def describe_defenses(offered: Mapping[str, Defense]) -> dict[str, dict[str, str | float | None]]:
    """What worker.js needs to know about the defences, by the same names; for JSON.

    Of each its noise, and the names of the functions that it has: `sent`, or none where it draws,
    and `distance`.
    """
    described = {}
    for number, (name, defense) in enumerate(offered.items()):
        described[name] = {
            "sigma": defense.sigma,
            "sent": None if defense.effect is Effect.ADDS else f"sent{number}",
            "distance": f"distance{number}",
        }
    return described


def functions_of_gradient(
    by_objective: Mapping[str, Attack], offered: Mapping[str, Defense], example: Example
) -> dict[str, Function]:
    """What the page computes of gradients, whatever the network, under the names described.

    by_objective: attacks by the names of their objectives, which precede those of the distances.

    Raises NotImplementedError for an attack with a prior.
    """
    functions = {"prior": prior(attacks.idlg, example)}
    for name, described in describe_defenses(offered).items():
        if described["sent"]:
            functions[described["sent"]] = sent(offered[name], example)
        for objective, attack in by_objective.items():
            _check_prior(attack)
            function = distance(attack, offered[name], example)
            functions[f"{objective}_{described['distance']}"] = function
    return functions


def _check_prior(attack: Attack) -> None:
    if attack.prior is not None:
        raise NotImplementedError(
            f"{attack.name} has a prior, and in a page the attacker who knows a defence has none; "
            "compile it without defences, or run it in Python with invert"
        )


def sent(defense: Defense, example: Example) -> Function:
    """What leaves the client, under the names gradient.NAME, of the gradient under these names.

    For a defence that draws nothing.
    """

    def apply(t: Tensors) -> Tensors:
        return with_prefix("gradient", defense(without_prefix("gradient", t)))

    return apply, example.gradient


def made(attack: Attack, example: Example) -> Function:
    """The gradient of a guess, under the names made.NAME, of x, logits, mask and weights.NAME."""
    guesses = _guesses(example)
    model = attackers_copy(example.model, attack)

    def gradient(t: Tensors) -> Tensors:
        return with_prefix("made", _gradient(model, attack, pick(t, list(guesses)), t))

    return gradient, {**guesses, "mask": example.mask, **example.weights}


def distance(attack: Attack, defense: Defense, example: Example) -> Function:
    """How far made.NAME is from gradient.NAME as "value", its slopes as pull.NAME.

    The attacker repeats the defence on what was made. For noise the prior is not in the value: see
    `prior`.
    """
    shared = seen(example.shared, defense, known=True)
    match = knowing(attack, shared).distance

    def evaluate(t: Tensors) -> Tensors:
        target = without_prefix("gradient", t)

        def loss(guess: Tensors) -> Tensor:
            return match(defenses.imitate([defense], guess, target), target)

        pull, value = grad_and_value(loss)(without_prefix("made", t))
        return {"value": value, **with_prefix("pull", pull)}

    return evaluate, {**with_prefix("made", example.shared.gradient), **example.gradient}


def slopes(attack: Attack, example: Example) -> Function:
    """The slopes of a loss in the guess, slope.x and slope.logits, given its pull.NAME.

    The function takes x, logits, mask, weights.NAME and pull.NAME.
    """
    guesses = _guesses(example)
    model = attackers_copy(example.model, attack)

    def evaluate(t: Tensors) -> Tensors:
        pull = without_prefix("pull", t)

        def along(unknown: Tensors) -> Tensor:
            gradient = _gradient(model, attack, unknown, t)
            return sum((pull[name] * gradient[name]).sum() for name in pull)

        return with_prefix("slope", grad(along)(pick(t, list(guesses))))

    pulls = with_prefix("pull", example.shared.gradient)
    return evaluate, {**guesses, "mask": example.mask, **example.weights, **pulls}


def prior(attack: Attack, example: Example) -> Function:
    """What weighing noise adds to the distance for one image, and its slope, of the unknowns x."""
    weighed = weighing_noise(attack, 1.0)
    model = attackers_copy(example.model, attack)

    def evaluate(t: Tensors) -> Tensors:
        def loss(x: Tensor) -> Tensor:
            y = example.logits
            return weighed.prior(decode_guess(model, weighed, Guess(x, y)))

        slope, value = grad_and_value(loss)(t["x"])
        return {"value": value, "slope.x": slope}

    return evaluate, {"x": example.x}


def _guesses(example: Example) -> Tensors:
    return {"x": example.x, "logits": example.logits}


def _gradient(model: nn.Module, attack: Attack, unknown: Tensors, given: Tensors) -> Tensors:
    """The gradient of a guess, under the mask and for the weights that are given."""
    known = from_page({"mask": given["mask"]})
    guess = decode_guess(model, attack, from_page(unknown), known)
    weights = without_prefix("weights", given)
    return gradients.of_guess(weights, model, guess, Protocol())
