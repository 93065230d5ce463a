"""Models and protocols as parts of sentences."""

from functools import partial

import pytest
from torch import nn
from torch.nn.functional import cross_entropy

from dlgutils import Protocol
from dlgutils.auditing.words import (
    class_in_words,
    counted,
    listed,
    model_in_words,
    percent,
    protocol_in_words,
)
from dlgutils.federated import defenses

PROTOCOLS = {
    "1 image; one step of SGD on all of them": (Protocol(), 1),
    "4 images; one step of SGD on 2 of them": (Protocol(batch_size=2), 4),
    "3 images; 5 steps of SGD on 2 each, lr 0.1; momentum 0.9; weight decay 0.01; shuffled": (
        Protocol(steps=5, batch_size=2, momentum=0.9, weight_decay=0.01, shuffle=True),
        3,
    ),
    "2 images; one step of SGD on all of them; multiplied by a number that the server is not "
    "told; noise, σ = 0.1": (Protocol(scale=None, defenses=(defenses.noise(0.1),)), 2),
    "2 images; one step of SGD on all of them; a loss or targets of its own; each image's "
    "gradient clipped to 1; multiplied by 3; only fc.weight and fc.bias sent": (
        Protocol(
            loss=partial(cross_entropy, label_smoothing=0.1),
            example_norm=1.0,
            scale=3.0,
            sent=("fc.weight", "fc.bias"),
        ),
        2,
    ),
}


@pytest.mark.parametrize(("words", "what"), PROTOCOLS.items())
def test_protocol_in_words_says_what_differs(words, what):
    assert protocol_in_words(*what) == words


def test_model_in_words_counts_what_is_trained():
    model = nn.Linear(1000, 2)
    assert model_in_words(model) == "Linear, 2 002 trained numbers"
    model.bias.requires_grad_(False)
    assert model_in_words(model) == "Linear, 2 000 trained numbers"


def test_listed_names_three_at_most():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed("abcd") == "a, b and 2 others"
    assert [counted(n, "image") for n in (1, 2)] == ["1 image", "2 images"]


def test_class_in_words_has_the_name_beside_the_number():
    assert class_in_words(1, ()) == "1"
    assert class_in_words(1, ("cat", "dog")) == "1 (dog)"


def test_percent_is_in_plain_digits():
    shares = (0.0, 7.7e-8, 5.8e-4, 0.123, 0.994, 0.996, 1.3, 123.4)
    assert [percent(share) for share in shares] == [
        "less than 0.001 %",
        "less than 0.001 %",
        "0.058 %",
        "12 %",
        "99 %",
        "100 %",
        "130 %",
        "12340 %",
    ]
