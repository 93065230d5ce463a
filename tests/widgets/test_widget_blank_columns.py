"""The columns to mark: what the page is given, and what is refused."""

import pytest
import torch

from dlgutils import widgets

GRADIENT = torch.tensor([[0.1, 0.0, 0.4], [-0.2, 0.0, -0.6]])
MASK = torch.tensor([2.0, 0.0, 2.0])


def test_blank_columns_holds_gradient_and_mask():
    figure = widgets.blank_columns(GRADIENT, MASK)
    assert figure.columns == [[0.1, -0.2], [0.0, 0.0], [0.4, -0.6]]
    assert figure.dropped == [False, True, False]
    assert figure.limit == pytest.approx(0.6)
    assert figure.marked == []


def test_blank_columns_prints_in_words_what_it_would_show():
    figure = widgets.blank_columns(GRADIENT, MASK)
    assert repr(figure) == "3 columns of a gradient, 1 of them blank"


def test_blank_columns_takes_a_gradient_of_zeros():
    assert widgets.blank_columns(torch.zeros(2, 3), torch.zeros(3)).limit == 1


@pytest.mark.parametrize("mask", [MASK[:2], MASK[None]], ids=["too short", "of a batch"])
def test_blank_columns_refuses_a_mask_that_does_not_fit(mask):
    with pytest.raises(ValueError, match=r"a mask \(features,\), got \(2, 3\) and .*24"):
        widgets.blank_columns(GRADIENT, mask)


def test_blank_columns_refuses_more_than_can_be_marked():
    with pytest.raises(ValueError, match="1 to 64 columns can be marked, got 65"):
        widgets.blank_columns(torch.zeros(2, 65), torch.zeros(65))
