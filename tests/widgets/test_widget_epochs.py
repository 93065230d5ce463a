"""The film of epochs: a picture, an error and words for each epoch of each attack."""

import zlib

import pytest
import torch

from dlgutils.widgets.epochs import by_epoch

TRUTH = torch.full((3, 2, 2), 0.5)
PICTURES = {"search": torch.full((2, 3, 2, 2), 0.25), "features": TRUTH.expand(3, -1, -1, -1)}
EPOCHS = {"search": (0, 30), "features": (0, 3, 30)}


def test_by_epoch_holds_pictures_errors_and_epochs():
    film = by_epoch(PICTURES, EPOCHS, TRUTH)
    assert film.scenes == [["search"], ["features"]]
    assert film.errors == [[0.25, 0.25], [0, 0, 0]]
    assert film.evaluations == [[0, 30], [0, 3, 30]]
    assert film.unit == "epochs"
    assert set(zlib.decompress(film.frames[0])) == {64}
    assert len(zlib.decompress(film.frames[1])) == 3 * 12


def test_by_epoch_says_what_a_frame_shows():
    film = by_epoch(PICTURES, EPOCHS, TRUTH)
    assert film.captions[0] == ["search, 0 epochs, RMSE 0.250", "search, 30 epochs, RMSE 0.250"]
    assert repr(film).endswith("search, 30 epochs, RMSE 0.250")


@pytest.mark.parametrize("epochs", [{}, {"search": (0, 30)}, {**EPOCHS, "features": (0,)}])
def test_by_epoch_refuses_epochs_that_do_not_fit(epochs):
    with pytest.raises(ValueError, match="each picture needs its epoch"):
        by_epoch(PICTURES, epochs, TRUTH)


def test_by_epoch_refuses_no_pictures():
    with pytest.raises(ValueError, match="each picture needs its epoch"):
        by_epoch({}, {}, TRUTH)
