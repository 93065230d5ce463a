"""The nouns: frozen, and chosen among by the matching loss alone."""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from dlgutils import Result, attacks
from dlgutils.types import Candidate

NAN, INF = torch.nan, torch.inf


def result(loss):
    """A result with these losses, whose run k holds an image of value k."""
    loss = torch.tensor(loss)
    x = torch.arange(float(len(loss)))[:, None, None, None, None].expand(-1, 1, 1, 2, 2)
    return Result(x, torch.zeros(len(loss), 1, dtype=torch.long), loss, x[None], torch.tensor([0]), "test", False)


@pytest.mark.parametrize("field", ["weights", "gradient", "masks"])
def test_shared_is_frozen(tiny, field):
    with pytest.raises(FrozenInstanceError):
        setattr(tiny().shared, field, {})


def test_result_and_attack_are_frozen():
    with pytest.raises(FrozenInstanceError):
        result([[1.0]]).loss = None
    with pytest.raises(FrozenInstanceError):
        attacks.dlg.name = "mine"


def test_a_variant_is_a_changed_copy():
    mine = replace(attacks.idlg, name="mine")
    assert (mine.name, attacks.idlg.name) == ("mine", "iDLG")
    assert mine.distance is attacks.idlg.distance


def test_best_is_the_run_of_the_lowest_loss_it_ever_had():
    best = result([[3.0, 2.0], [1.0, 9.0], [5.0, 4.0]]).best()
    assert best.x.shape == (1, 1, 1, 2, 2)
    assert (best.x == 1).all()


@pytest.mark.parametrize("bad", [NAN, INF])
def test_best_is_never_a_run_without_a_finite_loss(bad):
    assert (result([[bad, bad], [7.0, bad]]).best().x == 1).all()


def test_lowest_is_infinite_where_nothing_was_finite():
    assert result([[NAN, INF], [2.0, NAN]]).lowest.tolist() == [INF, 2.0]


def test_lowest_is_infinite_before_the_first_evaluation():
    assert result([[], []]).lowest.tolist() == [INF, INF]


@pytest.mark.parametrize(("index", "held"), [(0, 0), (2, 2), (-1, 2), (-3, 0)])
def test_run_keeps_the_leading_axis(index, held):
    one = result([[1.0]] * 3).run(index)
    assert one.x.shape[0] == one.y.shape[0] == one.loss.shape[0] == one.frames.shape[1] == 1
    assert (one.x == held).all()
    assert (one.attack, one.complete) == ("test", False)


@pytest.mark.parametrize("index", [3, -4])
def test_a_run_that_does_not_exist_is_an_error(index):
    with pytest.raises(IndexError):
        result([[1.0]] * 3).run(index)


def test_a_candidate_without_masks_shares_no_mutable_default():
    with pytest.raises(TypeError):
        Candidate(torch.zeros(1), torch.zeros(1)).masks["mask"] = torch.ones(1)
