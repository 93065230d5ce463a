"""What an attack asks twice is read once, and read again where it has changed."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from dlgutils import attacks, invert
from dlgutils.analytic import features, rank_one_fit
from dlgutils.analytic.once import once_for_each_round
from dlgutils.federated import defenses
from dlgutils.testing import tiny_round

MODEL, _, SHARED, _ = tiny_round(dropout=0.0)


@pytest.fixture
def counted():
    """A reading, and the rounds that it was asked for."""
    asked = []

    def read(_, shared):
        asked.append(weakref.ref(shared))
        return float(shared.gradient["fc.bias"].sum())

    return once_for_each_round(read), asked


def test_once_reads_each_round_once(counted):
    read, asked = counted
    other = replace(SHARED)
    assert read(MODEL, SHARED) == read(MODEL, SHARED) == read(MODEL, other)
    assert [reference() for reference in asked] == [SHARED, other]


def test_once_reads_again_what_was_changed_in_place(counted):
    read, asked = counted
    gradient = {name: g.clone() for name, g in SHARED.gradient.items()}
    shared = replace(SHARED, gradient=gradient)
    before = read(MODEL, shared)
    gradient["fc.bias"].add_(1)
    assert read(MODEL, shared) == pytest.approx(before + 4)
    with torch.inference_mode():
        gradient["fc.bias"] = gradient["fc.bias"] + 1
    assert read(MODEL, shared) == pytest.approx(before + 8)
    assert len(asked) == 3


def test_once_keeps_no_round_alive(counted):
    read, (asked) = counted
    for _ in range(3):  # a new round may get the address of an old one
        read(MODEL, replace(SHARED))
        gc.collect()
    assert len(asked) == 3
    assert [reference() for reference in asked] == [None] * 3


@pytest.mark.parametrize(
    ("module", "name", "row"),
    [(rank_one_fit, "fit", [defenses.quantized(8)]), (features, "read", [])],
    ids=["behind a defence", "without one"],
)
def test_features_are_read_once_for_each_round(monkeypatch, module, name, row):
    calls = []
    original = getattr(module, name)

    def counting(*args):
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(module, name, counting)
    rounds = [defenses.defend(tiny_round(k, dropout=0.0).shared, row) for k in range(2)]
    rounds = [replace(shared, weights=SHARED.weights) for shared in rounds] if row else [SHARED]
    invert(MODEL, rounds, attacks.features, steps=1)
    assert len(calls) == len(rounds)
