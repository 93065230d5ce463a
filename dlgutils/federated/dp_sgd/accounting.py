"""What a noise is worth: ε at δ by Opacus' accountant, for examples and for clients."""

import math
from collections.abc import Iterable

from dlgutils.federated.dp_sgd.backend import RDPAccountant, get_noise_multiplier, quiet
from dlgutils.federated.dp_sgd.checks import check_numbers, multiplier_of
from dlgutils.protocol import Defense

_PRECISION = 0.01  # of ε, where noise is sought for it


def epsilon(noise_multiplier: float, *, delta: float, sample_rate: float, steps: int) -> float:
    """ε at δ after so many steps of the sampled Gaussian mechanism, by Opacus' accountant.

    Args:
        noise_multiplier: of the noise of a sum, in units of the clip; 0: ε is infinite.
        delta: the probability with which the promise may fail.
        sample_rate: the probability with which an example, or a client, takes part in a step.
        steps: how many.

    Raises ValueError for numbers out of range.
    """
    numbers = {"noise_multiplier": noise_multiplier, "delta": delta}
    check_numbers({**numbers, "sample_rate": sample_rate, "steps": steps})
    if not noise_multiplier:
        return math.inf
    accountant = RDPAccountant()
    accountant.history = [(noise_multiplier, sample_rate, steps)]
    with quiet():
        return max(float(accountant.get_epsilon(delta)), 0.0)


def noise_multiplier_for(epsilon: float, *, delta: float, sample_rate: float, steps: int) -> float:
    """The noise in units of the clip with which ε is kept, to one per cent below.

    Args:
        epsilon: the ε that is wanted.
        delta: the probability with which the promise may fail.
        sample_rate: the probability with which an example takes part in a step.
        steps: how many.

    Raises ValueError for numbers out of range, and for an ε that no noise reaches.
    """
    numbers = {"epsilon": epsilon, "delta": delta}
    check_numbers({**numbers, "sample_rate": sample_rate, "steps": steps})
    try:
        with quiet():
            return get_noise_multiplier(
                target_epsilon=epsilon,
                target_delta=delta,
                sample_rate=sample_rate,
                steps=steps,
                accountant="rdp",
                epsilon_tolerance=_PRECISION * epsilon,
            )
    except ValueError as error:
        raise ValueError(
            f"no noise reaches ε = {epsilon:g} at δ = {delta:g} in {steps} steps with a sample "
            f"rate of {sample_rate:g} (Opacus: {error}); allow a larger ε or δ, or take fewer steps"
        ) from error


def epsilon_of_sum(
    row: Iterable[Defense], *, delta: float, sample_rate: float, rounds: int
) -> float:
    """Client-level ε of what a server publishes that clips updates and adds noise to their sum.

    Each client's update passes the defences before the noise, the clip among them; noise is added
    to the sum over clients, which passes those after it. Where it is the sum that is pruned or
    clipped before the noise, this is not the ε. The server sees every update, and has to be
    trusted. Neighbours: with a client, or without.

    Args:
        row: such as `[clip(1.0), noise(2.0)]`, the noise being that of the sum.
        delta: the probability with which the promise may fail.
        sample_rate: the probability with which a client takes part in a round.
        rounds: how many.

    Raises ValueError for noise without a clip before it, and for numbers out of range.
    """
    multiplier = multiplier_of(row)
    return epsilon(multiplier, delta=delta, sample_rate=sample_rate, steps=rounds)


def epsilon_of_client(row: Iterable[Defense], *, delta: float, rounds: int = 1) -> float:
    """Client-level ε of one client's own update, which it clips and noises before it leaves.

    This is local: it holds against the server itself, which needs no trust. Any two updates are
    neighbours, and may lie twice the clip apart.

    Args:
        row: as given to `share`, such as `[clip(1.0), noise(0.1)]`.
        delta: the probability with which the promise may fail.
        rounds: in how many the client takes part.

    Raises ValueError for noise without a clip before it, and for numbers out of range.
    """
    multiplier = multiplier_of(row) / 2
    return epsilon(multiplier, delta=delta, sample_rate=1.0, steps=rounds)
