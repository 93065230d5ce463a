"""The published contract catches recipes that break it, each at its own clause."""

from dataclasses import replace

import pytest
import torch

from dlgutils import attacks, testing
from dlgutils.matching import objectives, starts
from dlgutils.types import Guess


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


BROKEN = {
    "follows_its_generator": replace(attacks.idlg, start=drawing_globally),
    "touches_nothing_global": replace(attacks.idlg, start=drawing_globally),
    "uses_the_masks_that_it_infers": replace(attacks.idlg, decode=forgetting_masks),
    "changes_neither_round_nor_model": replace(attacks.idlg, infer=changing_its_input),
    "attacks_the_weights_that_were_shared": replace(attacks.idlg, start=of_the_models_own_weights),
    "runs_alone_as_in_company": replace(attacks.idlg, distance=Counting()),
}


@pytest.mark.parametrize("clause", BROKEN)
def test_check_attack_finds_the_broken_clause(clause):
    attack = BROKEN[clause]
    with pytest.raises(AssertionError, match="iDLG breaks the contract of attacks"):
        getattr(testing, clause)(attack)
    with pytest.raises(AssertionError, match="iDLG breaks the contract of attacks"):
        testing.check_attack(attack)


def test_check_attack_lets_errors_of_the_recipe_through():
    with pytest.raises(ValueError, match=r"got images of shape \(1, 4, 8\)"):
        testing.check_attack(replace(attacks.idlg, start=shrinking))


def test_check_attack_tries_a_batch_if_asked():
    testing.check_attack(attacks.dlg, batch=2)
    with pytest.raises(ValueError, match="needs one image, got a batch of 2"):
        testing.check_attack(attacks.idlg, batch=2)
