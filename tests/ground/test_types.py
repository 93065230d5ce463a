"""The nouns: frozen, and chosen among by the matching loss alone."""

import copy
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from dlgutils import Shared, attacks
from dlgutils.types import Guess
from tests.helpers.results import result

NAN, INF = torch.nan, torch.inf


@pytest.mark.parametrize("field", ["weights", "gradient", "x_shape"])
def test_shared_is_frozen(tiny, field):
    with pytest.raises(FrozenInstanceError):
        setattr(tiny().shared, field, {})


def shared(**shapes):
    """A round whose gradient has these tensors."""
    gradient = {name: torch.zeros(shape) for name, shape in shapes.items()}
    return Shared(gradient, gradient, (1, 1, 2, 2))


@pytest.mark.parametrize(
    ("shapes", "names"),
    [
        ({"fc": (5, 4), "bias": (5,)}, ("fc", "bias")),
        ({"conv": (4, 1, 3, 3), "fc": (5, 4)}, ("fc", None)),
    ],
    ids=["bias", "no bias"],
)
def test_classifier_is_the_last_layer(shapes, names):
    assert shared(**shapes).classifier == names
    assert shared(**shapes).classes == 5


@pytest.mark.parametrize("bias", [{}, {"bias": (5,)}], ids=["no bias", "bias"])
def test_classifier_must_be_linear(bias):
    last = shared(conv=(5, 1, 3, 3), **bias)
    with pytest.raises(ValueError, match=r"not linear: conv has 4 axes, .* has two"):
        _ = last.classifier


def test_result_is_frozen():
    with pytest.raises(FrozenInstanceError):
        result([[1.0]]).loss = None


def test_attack_is_frozen():
    with pytest.raises(FrozenInstanceError):
        attacks.dlg.name = "mine"


def test_attack_has_variants_that_are_changed_copies():
    mine = replace(attacks.idlg, name="mine")
    assert (mine.name, attacks.idlg.name) == ("mine", "iDLG")
    assert mine.distance is attacks.idlg.distance


def test_best_is_the_run_of_the_lowest_loss_it_ever_had():
    best = result([[3.0, 2.0], [1.0, 9.0], [5.0, 4.0]]).best()
    assert best.x.shape == (1, 1, 1, 2, 2)
    assert (best.x == 1).all()


@pytest.mark.parametrize("bad", [NAN, INF])
def test_best_is_never_a_run_without_a_finite_loss(bad):
    best = result([[bad, bad], [7.0, bad]]).best()
    assert (best.x == 1).all()


def test_best_loss_is_infinite_where_nothing_was_finite():
    assert result([[NAN, INF], [2.0, NAN]]).best_loss.tolist() == [INF, 2.0]


def test_best_loss_is_infinite_before_the_first_evaluation():
    assert result([[], []]).best_loss.tolist() == [INF, INF]


@pytest.mark.parametrize(("index", "value"), [(0, 0), (2, 2), (-1, 2), (-3, 0)])
def test_run_keeps_the_leading_axis(index, value):
    one = result([[1.0]] * 3).run(index)
    assert one.x.shape[0] == one.y.shape[0] == one.loss.shape[0] == 1
    assert one.frames.shape[1] == 1
    assert (one.x == value).all()
    assert (one.attack, one.complete) == ("test", False)


def test_run_keeps_its_seed():
    three = result([[1.0]] * 3)
    seeded = replace(three, seeds=torch.tensor([5, 6, 7]))
    assert seeded.run(1).seeds.tolist() == [6]
    assert three.run(1).seeds.shape == (0,)


@pytest.mark.parametrize("index", [3, -4])
def test_run_refuses_an_index_that_does_not_exist(index):
    with pytest.raises(IndexError):
        result([[1.0]] * 3).run(index)


def test_result_is_one_line_in_a_notebook():
    text = repr(result([[3.0, 0.25], [1.0, NAN]]))
    assert text.startswith("Result(test: 2 run(s) of 1 × 1 × 2 × 2, 2 evaluations, ")
    assert text.endswith("best loss 2.5e-01, interrupted)")


def test_guess_without_masks_shares_no_mutable_default():
    guess = Guess(torch.zeros(1), torch.zeros(1))
    with pytest.raises(TypeError):
        guess.masks["mask"] = torch.ones(1)


@pytest.mark.parametrize("attack", [attacks.dlg, attacks.dia], ids=lambda attack: attack.name)
def test_attack_is_equal_to_its_copies(attack):
    for copied in (copy.copy(attack), copy.deepcopy(attack), replace(attack)):
        assert copied == attack
        assert hash(copied) == hash(attack)
