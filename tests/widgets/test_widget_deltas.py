"""The bars of δ: logits and labels as the page gets them, and what does not fit."""

import pytest
import torch

from dlgutils import widgets

CLASSES = ("a", "b", "c")
LOGITS = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
LABELS = torch.tensor([2, 0])


def test_deltas_centres_the_logits_of_every_network():
    bars = widgets.deltas({"plain": LOGITS, "flat": torch.ones(2, 3)}, LABELS, CLASSES)
    assert bars.networks == ["plain", "flat"]
    assert bars.logits == [[[-2, -1, 3], [-1, -1, 2]], [[0, 0, 0], [0, 0, 0]]]
    assert bars.labels == [2, 0]
    assert bars.classes == list(CLASSES)


def test_deltas_in_words_names_the_class_of_the_first_image():
    bars = widgets.deltas({"plain": LOGITS}, LABELS, CLASSES)
    assert "negative at c" in repr(bars)


def test_deltas_carries_its_own_front_end():
    bars = widgets.deltas({"plain": LOGITS.requires_grad_()}, LABELS, CLASSES)
    assert "Math.fround" in bars._esm


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ({}, LABELS, r"of every network have the shape \(2, 3\), got none"),
        ({"thin": torch.zeros(2, 2)}, LABELS, r"shape \(2, 3\), got \{'thin': \(2, 2\)\}"),
        ({"plain": torch.zeros(0, 3)}, LABELS[:0], "got none"),
        ({"plain": LOGITS}, LABELS + 1, r"labels lie in 0 … 2, got \[3, 1\]"),
    ],
    ids=["no network", "another shape", "no image", "another label"],
)
def test_deltas_refuses_what_does_not_fit(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        widgets.deltas(logits, labels, CLASSES)
