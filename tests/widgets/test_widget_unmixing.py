"""The batch that comes apart: what the page gets to compute with."""

import pytest

from dlgutils import data, widgets

PHOTOS = data.photos()
NAMES = data.class_names("photos")


def test_unmixing_holds_pictures_and_names_and_shows_the_last_turn():
    widget = widgets.unmixing(PHOTOS.x[:8], NAMES[:8])
    assert widget.shape == [32, 32, 3]
    assert len(widget.images) == 8 * 32 * 32 * 3
    assert widget.names == list(NAMES[:8])
    assert (widget.batch, widget.turn) == (8, widget.turns)


def test_unmixing_opens_at_the_batch_and_rate_that_are_asked_for():
    widget = widgets.unmixing(PHOTOS.x[:4], NAMES[:4], batch=3, rate=0.5)
    assert (widget.batch, widget.rate) == (3, 0.5)
    assert repr(widget) == "3 pictures in one gradient, dropout 0.5, turn 30"


def test_unmixing_carries_its_own_front_end():
    assert "honestRound" in widgets.unmixing(PHOTOS.x[:2], NAMES[:2])._esm


@pytest.mark.parametrize(("pictures", "names"), [(1, 1), (9, 9), (4, 3)])
def test_unmixing_of_another_number_of_pictures_is_refused(pictures, names):
    with pytest.raises(ValueError, match=r"two to eight pictures .* got \d pictures and \d names"):
        widgets.unmixing(PHOTOS.x[:pictures], NAMES[:names])


@pytest.mark.parametrize("choice", [{"batch": 1}, {"batch": 5}, {"rate": 0.95}], ids=str)
def test_unmixing_of_a_choice_that_cannot_be_made_is_refused(choice):
    with pytest.raises(ValueError, match=r"a batch has 2 to 4 pictures and a rate of 0 to 0.9"):
        widgets.unmixing(PHOTOS.x[:4], NAMES[:4], **choice)
