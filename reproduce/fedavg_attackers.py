"""Three attackers on an update of several local steps, and how one round of each is scored."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

import dlgutils as du
from dlgutils import attacks, metrics
from dlgutils.analytic import labels
from dlgutils.federated import consistency
from dlgutils.matching.layer_inputs import linear_inputs
from dlgutils.types import Comparison, Guess, Shared, Tensors
from reproduce.inputs import told
from reproduce.trained import RECOGNISABLE, RECOVERED

ATTACKERS = ["simulates", "one gradient", "features"]


def reconstruct(
    model: nn.Module,
    rounds: Sequence[Shared],
    secrets: Sequence[du.Batch],
    attacker: str,
    evaluations: int,
) -> list[du.Batch | None]:
    """What one attacker makes of each round; None: the round is refused.

    Args:
        model: whose weights are those of each round.
        rounds: all of one protocol.
        secrets: whose labels are given, where they are of several images.
        attacker: a member of ATTACKERS.
        evaluations: of the search.
    """
    if attacker == "one gradient":
        plain = du.Protocol(scale=None)
        rounds = [replace(shared, protocol=plain) for shared in rounds]
    attack = attack_of(attacker)
    if len(secrets[0].y) > 1:
        attack = told(attack, rounds, [Guess(y=secret.y) for secret in secrets])
    places = [k for k, shared in enumerate(rounds) if is_accepted(model, shared)]
    found: list[du.Batch | None] = [None] * len(rounds)
    if places:
        chosen = [rounds[k] for k in places]
        result = du.invert(model, chosen, attack, seeds=places, steps=evaluations, frames=1)
        for k, x, y in zip(places, result.x, result.y, strict=True):
            found[k] = du.Batch(x, y)
    return found


def attack_of(attacker: str) -> du.Attack:
    """The search of one attacker, a member of ATTACKERS."""
    if attacker != "features":
        return attacks.idlg
    compare = Comparison(linear_inputs, mean_input)
    return replace(attacks.features, infer=attacks.infer_label, compare=compare)


def is_accepted(model: nn.Module, shared: Shared) -> bool:
    """Whether the update may be what its protocol says, and its one label can be read."""
    try:
        consistency.settle(model, shared)
        if shared.x_shape[0] == 1:
            labels.read(shared)
    except ValueError:
        return False
    return True


def mean_input(model: nn.Module, shared: Shared) -> Tensors:
    """The ū that fits the lowest linear layer's update δ̄ūᵀ best, {weight: (1, features)}.

    δ̄ is the update of its bias. After one step on one image, ū are its features exactly.
    """
    layers = (name for name, layer in model.named_modules() if isinstance(layer, nn.Linear))
    lowest = next(layers)
    weight = shared.gradient[f"{lowest}.weight"]
    delta = shared.gradient[f"{lowest}.bias"].double()
    u = delta @ weight.double() / (delta @ delta)
    return {f"{lowest}.weight": u.to(weight)[None]}


def feature_error(model: nn.Module, shared: Shared, secret: du.Batch) -> float:
    """How far `mean_input` is from the features of one image, relative; NaN for several."""
    if len(secret.x) > 1:
        return float("nan")
    ((name, found),) = mean_input(model, shared).items()
    true = linear_inputs(shared.weights, model, Guess(secret.x), shared.protocol)[name]
    return float((found - true).norm() / true.norm())


def scores(found: du.Batch | None, secret: du.Batch) -> dict[str, float | int]:
    """Counts over the images of one round, and their median MSE and SSIM."""
    images = len(secret.x)
    if found is None:
        nan = float("nan")
        counts = {"refused": images, "recovered": 0, "recognisable": 0, "labels_right": 0}
        return {"images": images} | counts | {"mse": nan, "ssim": nan}
    shown = metrics.align(found.x.nan_to_num().clamp(0, 1), secret.x)
    mse, ssim = metrics.mse(shown, secret.x), metrics.ssim(shown, secret.x)
    return {
        "images": images,
        "refused": 0,
        "recovered": int((mse < RECOVERED).sum()),
        "recognisable": int((ssim >= RECOGNISABLE).sum()),
        "labels_right": int((found.y == secret.y).sum()),
        "mse": float(mse.median()),
        "ssim": float(ssim.median()),
    }


def interval(name: str, hits: int, total: int) -> dict[str, float]:
    """Wilson's interval of hits among total, as two columns."""
    rate = metrics.success_rate(torch.arange(total) < hits)
    return {f"{name}_low": rate.low, f"{name}_high": rate.high}
