"""Attackers and limits in noise run, on one image and few evaluations, and stand side by side."""

import pandas as pd
import pytest
import torch

from dlgutils.analytic import jacobian
from reproduce import noise_limit, trained_networks

CELL = {"network": "LeNet, sigmoid", "epochs": 0, "images": "drawn", "sigma": 1e-3, "image": 0}


@pytest.fixture(autouse=True)
def own_networks(tmp_path, monkeypatch):
    """Networks are written into a folder of the test."""
    monkeypatch.setattr(trained_networks, "FOLDER", tmp_path / "networks")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """One network, one image, two σ, short searches, and Jacobians of one row."""
    monkeypatch.setattr(noise_limit, "FOLDER", tmp_path / "noise_limit")
    monkeypatch.setattr(noise_limit, "TABLE", tmp_path / "noise_limit.csv")
    monkeypatch.setattr(noise_limit, "NETWORKS", noise_limit.NETWORKS[:1])
    monkeypatch.setattr(noise_limit, "SIGMAS", [1e-4, 1e-2])
    monkeypatch.setattr(noise_limit, "RUNS", dict.fromkeys(noise_limit.RUNS, 1))
    monkeypatch.setattr(noise_limit, "SLOW", 3)
    monkeypatch.setattr(noise_limit, "FAST", 3)
    row = torch.zeros(1, 3072, dtype=torch.float64)
    monkeypatch.setattr(jacobian, "information_root", lambda *_: row)
    monkeypatch.setattr(noise_limit.limits, "white", lambda *_: None)
    for name in ("limit", "bayesian_limit"):
        monkeypatch.setattr(noise_limit.limits, name, lambda _, sigma, __: 2 * sigma)


@pytest.mark.slow
def test_noise_limit_has_a_row_for_each_attacker_and_sigma(small):
    """Slow, half a minute: the closed form is called four times."""
    noise_limit.main()
    table = pd.read_csv(noise_limit.TABLE)
    assert len(table) == 2 * (3 + 4)
    assert (table["linearised"] == 2 * table["sigma"]).all()
    assert table["van_trees"].notna().equals(table["images"] == "drawn")
    assert (table["labels_right"] <= table["runs"]).all()


def test_drawn_images_are_white_in_the_coordinates_of_the_prior():
    u = noise_limit.prior().encode(noise_limit.secrets("drawn", 8).x)
    assert float(u.std()) == pytest.approx(1, abs=0.02)
    assert noise_limit.secrets("drawn", 2).x.equal(noise_limit.secrets("drawn", 8).x[:2])


def test_rounds_have_the_noise_that_was_asked_for():
    model = noise_limit.network_of(CELL)
    secret = noise_limit.secrets("fruits", 1)
    (clean,) = noise_limit.rounds_of(model, secret, 0.0)
    (noisy,) = noise_limit.rounds_of(model, secret, 1e-3)
    added = torch.cat([(noisy.gradient[k] - g).flatten() for k, g in clean.gradient.items()])
    assert float(added.std()) == pytest.approx(1e-3, rel=0.05)
    assert not noisy.protocol.exact
