"""Accuracy against leakage: what the page gets of each defence."""

import zlib

import pytest
import torch

from dlgutils import metrics, widgets

ACCURACY = {"none": 0.65, "noise": 0.4}
TRUTH = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def rates(*successes):
    """Rates of eight images each."""
    return [metrics.success_rate(torch.arange(8) < n) for n in successes]


def tradeoff(**changes):
    """The widget of two defences in two situations."""
    parts = {
        "accuracy": ACCURACY,
        "identified": {"fresh": rates(8, 2), "trained": rates(7, 0)},
        "pictures": {"fresh": torch.zeros(2, 3, 3, 4, 4), "trained": torch.ones(2, 3, 3, 4, 4)},
        "truth": TRUTH,
    }
    return widgets.tradeoff(**{**parts, **changes})


def test_tradeoff_says_in_words_what_each_point_shows():
    widget = tradeoff()
    assert repr(widget) == "none, fresh: accuracy 65%, identified 8 of 8 (68–100 %)"
    assert widget.captions[1][1] == "noise, trained: accuracy 40%, identified 0 of 8 (0–32 %)"


def test_tradeoff_gives_each_rate_with_its_interval():
    share, low, high = tradeoff().leakage[0][1]
    assert share == 0.25
    assert 0 < low < share < high < 1


def test_tradeoff_lays_the_pictures_of_a_defence_side_by_side():
    widget = tradeoff()
    assert widget.shape == [4, 12, 3]
    row = torch.frombuffer(bytearray(widget.truth), dtype=torch.uint8).view(4, 12, 3)
    second = row[:, 4:8].permute(2, 0, 1) / 255
    torch.testing.assert_close(second, TRUTH[1], atol=1 / 255, rtol=0)
    assert zlib.decompress(widget.frames[1]) == b"\xff" * (2 * 4 * 12 * 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"identified": {}, "pictures": {}},
        {"identified": {"fresh": rates(8), "trained": rates(7, 0)}},
        {"accuracy": {"none": 0.65}},
        {"pictures": {"fresh": torch.zeros(2, 3, 3, 4, 4)}},
    ],
    ids=["no situation", "no rate", "no accuracy", "no pictures"],
)
def test_tradeoff_of_numbers_that_do_not_fit_is_refused(changes):
    with pytest.raises(ValueError, match="each situation has a rate and a row of pictures"):
        tradeoff(**changes)
