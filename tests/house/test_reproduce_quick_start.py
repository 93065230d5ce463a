"""Clients of Flower's quick start are shared, attacked and counted; they train as Flower does."""

import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

from dlgutils import data, share
from reproduce import quick_start


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """The sweep and its table are written into a folder of the test; searches are short."""
    monkeypatch.setattr(quick_start, "FOLDER", tmp_path)
    monkeypatch.setattr(quick_start, "TABLE", tmp_path / "quick_start.csv")
    for name in ("FOR_ONE", "FOR_EIGHT", "FOR_FEATURES"):
        monkeypatch.setattr(quick_start, name, 2)


def test_every_client_and_attacker_has_a_row(monkeypatch, capsys):
    short = {name: grid | {"round": range(1)} for name, grid in quick_start.EXPERIMENTS.items()}
    monkeypatch.setattr(quick_start, "EXPERIMENTS", short)
    quick_start.main()
    table = pd.read_csv(quick_start.TABLE)
    assert len(table) == len(data.table("quick_start")) == 10
    assert set(table["client"]) == set(quick_start.CLIENTS)
    images = table["attacker"] != "labels"
    assert (table["recovered"].notna() == images).all()
    assert (table[images]["recovered"] == 0).all()
    labels = table[~images]
    assert (labels["labels_right"] == labels["images"]).all()
    given = table[table["client"].str.startswith("8") & (table["attacker"] == "simulates")]
    assert given["labels_right"].isna().all()
    assert "median_mse" in capsys.readouterr().out


@pytest.mark.parametrize("client", quick_start.CLIENTS)
def test_the_client_trains_as_the_quick_start_does(client):
    """With torch.optim, batch after batch, from the same weights."""
    secret, protocol = quick_start.draw(client, 0), quick_start.protocol_of(client)
    model = quick_start.network(0).double()
    x = secret.x.double()
    shared = share(model, secret._replace(x=x), protocol=protocol)
    sgd = torch.optim.SGD(model.parameters(), protocol.lr, protocol.momentum)
    for one_pass in protocol.passes(len(x)):
        for places in one_pass:
            sgd.zero_grad()
            cross_entropy(model(x[places]), secret.y[places]).backward()
            sgd.step()
    for name, after in model.named_parameters():
        moved = (shared.weights[name] - after) / (protocol.lr * protocol.steps)
        torch.testing.assert_close(moved, shared.gradient[name])


def test_momentum_lengthens_the_update():
    assert quick_start.growth(quick_start.protocol_of("1 image, 1 step")) == 1
    assert quick_start.growth(quick_start.protocol_of("8 images, 2 steps")) == pytest.approx(1.45)
