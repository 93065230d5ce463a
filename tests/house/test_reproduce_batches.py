"""The experiments on batches run, and the fixed point reads the truth where it is certain."""

import pandas as pd
import pytest
import torch

from dlgutils.analytic import masks, separation
from reproduce import fixed_point, mixing, pairs, unmixing
from reproduce.inputs import all_images


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_fixed_point_reads_a_batch_of_different_labels(rate):
    generator = torch.Generator().manual_seed(0)
    y = fixed_point.draw_labels("different", 8, 12, generator)
    images = all_images("fruits").x
    one = fixed_point.honest_round(images, y, generator, init="default", rate=rate)
    found = fixed_point.unmix(one.shared, y)
    assert found.certain
    torch.testing.assert_close(found.features, fixed_point.true_features(one), atol=1e-5, rtol=0)
    counts = fixed_point.read_label_counts(one)
    assert counts.nonzero()[:, 0].equal(y.sort().values)


def test_fixed_point_needs_digits_for_images_of_one_class():
    errors = []
    for dtype in (torch.float32, torch.float64):
        generator = torch.Generator().manual_seed(1)
        y = torch.tensor([3, 3])
        images = all_images("fruits").x
        one = fixed_point.honest_round(images, y, generator, init="default", dtype=dtype)
        assert fixed_point.condition(one) > 1e3
        found = fixed_point.unmix(one.shared, y)
        assert found.certain
        errors.append(fixed_point.feature_error(found.features, fixed_point.true_features(one)))
    assert errors[1] < 1e-6 < errors[0] < 1


def test_fixed_point_without_a_finite_turn_is_not_certain():
    generator = torch.Generator().manual_seed(0)
    y = torch.tensor([0, 1])
    images = all_images("fruits").x
    one = fixed_point.honest_round(images, y, generator, init="default")
    found = fixed_point.unmix(one.shared, torch.tensor([2, 3]))
    assert not found.certain


def test_unmixing_counts_what_is_certain_and_what_is_right():
    cell = {"classes": 12, "batch": 4, "init": "default", "rate": 0.0, "labels": "different"}
    row = unmixing.measure(**cell, seed=0)
    counted = ("labels_read", "certain", "right", "certain_but_wrong")
    assert [row[name] for name in counted] == [1, 1, 1, 0]
    table = unmixing.summary(pd.DataFrame([cell | row] * 3))
    assert table["rounds"].tolist() == table["right"].tolist() == [3]


def test_mixing_counts_what_is_read_and_what_is_determined():
    cell = {"network": "LeNet, sigmoid", "images": "fruits", "classes": 100, "epochs": 0}
    cell |= {"batch": 2, "known": False, "dtype": "float64"}
    row = mixing.measure(**cell, seed=0)
    counted = ("certified", "determined", "wrong", "told_apart")
    assert [row[name] for name in counted] == [1, 1, 0, 2]
    assert row["error"] <= row["error_bar"]
    table = mixing.summary(pd.DataFrame([cell | row] * 3))
    assert table["rounds"].tolist() == table["determined"].tolist() == [3]


@pytest.mark.parametrize(("off", "wrong"), [(0, 0), (1e-9, 1)])
def test_mixing_measures_errors_of_many_images_in_all_digits(monkeypatch, off, wrong):
    cell = {"network": "LeNet, sigmoid", "images": "fruits", "classes": 100, "epochs": 0}
    cell |= {"batch": 32, "dtype": "float64", "seed": 0}
    secret = mixing.draw(**cell)
    order = torch.arange(31, -1, -1)
    features = secret.features[order] * (1 + off)
    read = masks.Reading(secret.y[order], torch.empty(0), features, {})
    error = torch.full((32,), 1e-12, dtype=torch.float64)
    found = separation.Separation(read, 32, residual=0.0, reason="", error=error)
    monkeypatch.setattr(mixing.separation, "separate", lambda *_, **__: found)
    row = mixing.measure(known=False, **cell)
    assert row["wrong"] == wrong
    assert row["error"] == pytest.approx(off, rel=0.1, abs=1e-15)


@pytest.mark.parametrize("knows", list(pairs.RATES))
def test_pairs_are_scored_image_by_image(monkeypatch, knows):
    monkeypatch.setattr(pairs, "STEPS", 2)
    cell = {"images": "fruits", "labels": "same", "init": "wide", "precision": "float32"}
    cell |= {"knows": knows, "seed": 0}
    table = pd.DataFrame([cell | row for row in pairs.trial([cell])])
    images = pairs.per_image(table)
    assert set(images.columns) >= {"condition", "certain", "mse", "ssim", "identified"}
    assert pairs.summary(images)["images"].tolist() == [2]
