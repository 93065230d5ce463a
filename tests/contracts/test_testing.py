"""The published contract catches recipes that break it, each at its own clause."""

from dataclasses import replace

import pytest
import torch

from dlgutils import attacks, testing
from dlgutils.matching import objectives, optimizers, starts
from dlgutils.types import Guess, Optimizer


def drawing_globally(model, shared, generator):
    """A start that draws from the global generator."""
    return Guess(torch.rand(shared.x_shape).to(shared.like))


def forgetting_masks(model, guess):
    """A decode that drops the masks."""
    return Guess(guess.x, guess.y)


def shrinking(model, shared, generator):
    """A start of half the image."""
    return Guess(shared.like.new_zeros(1, 1, 4, 8))


def changing_its_input(model, shared):
    """An inference that scales the shared gradient in place."""
    for g in shared.gradient.values():
        g.mul_(2)
    return attacks.infer_label(model, shared)


def of_the_models_own_weights(model, shared, generator):
    """A start that depends on the weights of the model instead of the shared ones."""
    x = starts.grey(model, shared, generator).x
    return Guess(x + 0.1 * next(model.parameters()).mean())


class Counting:
    """A distance that grows from call to call, across runs and attacks."""

    def __init__(self):
        self.calls = 0

    def __call__(self, guess, target):
        """The relative error, and a tenth for every call so far."""
        self.calls += 1
        return objectives.relative_squared_error(guess, target) + 0.1 * self.calls


def counting_from_its_start():
    """An attack whose distance grows from call to call, and whose start sets it back."""
    distance = Counting()

    def start(model, shared, generator):
        distance.calls = 0
        return starts.grey(model, shared, generator)

    return replace(attacks.idlg, distance=distance, start=start)


def stopping(optimizer, ticks, *, change=lambda state: state):
    """An Adam whose runs stop after so many evaluations; `change` is made to every state."""

    def update(state, value, slope):
        state = optimizer.update(state, value, slope)
        return change(state._replace(alive=state.alive & (state.tick < ticks)))

    return Optimizer("stopping", optimizer.init, update)


def with_one_wait(state):
    """The state with one number for all runs."""
    return state._replace(waited=state.waited.max())


one_way = attacks.idlg.transform._replace(decode=lambda u: u)

BROKEN = {
    "follows_its_generator": replace(attacks.idlg, start=drawing_globally),
    "touches_nothing_global": replace(attacks.idlg, start=drawing_globally),
    "uses_the_masks_that_it_infers": replace(attacks.idlg, decode=forgetting_masks),
    "changes_neither_round_nor_model": replace(attacks.idlg, infer=changing_its_input),
    "attacks_the_weights_that_were_shared": replace(attacks.idlg, start=of_the_models_own_weights),
    "runs_alone_as_in_company": replace(attacks.idlg, distance=Counting()),
    "computes_the_same_again": counting_from_its_start(),
    "transforms_there_and_back": replace(attacks.idlg, transform=one_way),
    "keeps_the_runs_first": replace(
        attacks.idlg, optimizer=stopping(optimizers.adam(), 20, change=with_one_wait)
    ),
}


@pytest.mark.parametrize("clause", BROKEN)
def test_check_attack_finds_the_broken_clause(clause):
    attack = BROKEN[clause]
    with pytest.raises(AssertionError, match="iDLG breaks the contract of attacks"):
        getattr(testing.clauses, clause)(attack)
    with pytest.raises(AssertionError, match="iDLG breaks the contract of attacks"):
        testing.check_attack(attack)


def test_check_attack_lets_errors_of_the_recipe_through():
    with pytest.raises(ValueError, match=r"got images of shape \(1, 4, 8\)"):
        testing.check_attack(replace(attacks.idlg, start=shrinking))


def test_check_attack_tries_a_batch_if_asked():
    testing.check_attack(attacks.dlg, batch=2)
    with pytest.raises(ValueError, match="needs one image, got a batch of 2"):
        testing.check_attack(attacks.idlg, batch=2)


def test_check_attack_takes_runs_that_stop():
    """Their losses are NaN from then on, which is the same in every run."""
    testing.check_attack(replace(attacks.idlg, optimizer=stopping(optimizers.adam(), 5)))


def test_check_attack_names_the_cause_before_what_follows_from_it():
    with pytest.raises(AssertionError, match="draw from the generator that is given"):
        testing.check_attack(BROKEN["follows_its_generator"])
    with pytest.raises(AssertionError, match="an attack leaves its input alone"):
        testing.check_attack(BROKEN["changes_neither_round_nor_model"])
