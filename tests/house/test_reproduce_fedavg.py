"""The experiments on local steps and BatchNorm run, on few rounds and evaluations, and count."""

import pandas as pd
import pytest
import torch

import dlgutils as du
from dlgutils import models
from reproduce import batch_norm, fedavg, fedavg_attackers, fedavg_labels, trained_networks


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Networks, sweeps and tables are written into a folder of the test; searches are short."""
    for module in (trained_networks, fedavg, fedavg_labels, batch_norm):
        monkeypatch.setattr(module, "FOLDER", tmp_path / module.__name__)
    for module in (fedavg, fedavg_labels, batch_norm):
        monkeypatch.setattr(module, "TABLE", tmp_path / f"{module.__name__}.csv")
    monkeypatch.setattr(fedavg, "EVALUATIONS", dict.fromkeys(fedavg.EVALUATIONS, 3))
    monkeypatch.setattr(fedavg, "FOR_FEATURES", 3)
    monkeypatch.setattr(fedavg, "FOR_FOUR", 3)
    monkeypatch.setattr(batch_norm, "EVALUATIONS", {1: 3, 4: 3})


def cell(client, attacker, network="CNN", lr=0.01, number=0):
    """One cell of `fedavg`, on an untrained network."""
    setting = {"network": network, "epochs": 0, "client": client, "lr": lr}
    return setting | {"attacker": attacker, "round": number}


def test_steps_of_a_cnn_are_no_gradient_of_one_image():
    (refused,) = fedavg.trial([cell("2 steps", "one gradient")])
    assert (refused["refused"], refused["recovered"], refused["labels_right"]) == (1, 0, 0)
    (simulated,) = fedavg.trial([cell("2 steps", "simulates")])
    assert (simulated["refused"], simulated["labels_right"]) == (0, 1)


def test_features_of_one_step_are_exact_and_drift_with_more():
    errors = []
    for client in fedavg.ONE_IMAGE:
        secret = fedavg.draw(client, 3)
        model = fedavg.network({"network": "CNN", "epochs": 0}, 3)
        shared = du.share(model, secret, protocol=fedavg.protocol_of(client, 0.01))
        errors.append(fedavg_attackers.feature_error(model, shared, secret))
    assert errors[0] < 1e-5
    assert errors == sorted(errors)
    assert errors[-1] > 0.1


def test_a_chunk_has_one_setting():
    cells = [cell("2 steps", "features"), cell("5 steps", "features")]
    with pytest.raises(ValueError, match="one setting"):
        fedavg.trial(cells)


def test_four_images_are_counted_with_their_labels_given():
    client = "4 images, 3 shuffled passes"
    (row,) = fedavg.trial([cell(client, "simulates", "LeNet, sigmoid")])
    assert (row["images"], row["refused"]) == (4, 0)
    table = pd.DataFrame([cell(client, "simulates") | row])
    summed = fedavg.summary(table).iloc[0]
    assert summed["images"] == 4
    assert pd.isna(summed["labels_right"])


def test_table_of_local_steps_counts_with_intervals(monkeypatch, capsys):
    one = {axis: [value] for axis, value in cell("1 step", "features").items()}
    monkeypatch.setattr(fedavg, "EXPERIMENTS", {"one": one | {"round": range(2)}})
    fedavg.main()
    (row,) = pd.read_csv(fedavg.TABLE).to_dict("records")
    assert (row["rounds"], row["images"], row["labels_right"]) == (2, 2, 2)
    assert row["recovered_low"] <= row["recovered"] / 2 <= row["recovered_high"]
    assert "features" in capsys.readouterr().out


def test_labels_of_one_step_are_counted_by_every_rule(monkeypatch, capsys):
    grid = {"network": ["CNN"], "epochs": [0], "client": ["1 step"], "lr": [0.1]}
    monkeypatch.setattr(fedavg_labels, "GRIDS", {"one": grid | {"number": range(2)}})
    fedavg_labels.main()
    (row,) = pd.read_csv(fedavg_labels.TABLE).to_dict("records")
    assert [row[f"{rule}_labels"] for rule in fedavg_labels.RULES] == [16] * 3
    assert [row[f"{rule}_rounds"] for rule in fedavg_labels.RULES] == [2] * 3
    assert "of_untrained_labels" in capsys.readouterr().out


def test_whole_numbers_keep_their_sum():
    for numbers in ([0.6, 2.6, -1.0], [3.2, 3.1, 0.0], [0.0, 0.0, 0.0]):
        counts = fedavg_labels.whole(torch.tensor(numbers), 4)
        assert counts.sum() == 4
        assert counts.min() >= 0


@pytest.mark.parametrize("batch", [1, 4])
def test_statistics_follow_from_the_momentum(batch):
    client = batch_norm.norm_lenet(torch.Generator().manual_seed(0))
    x = torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    sent = batch_norm.sent_statistics(client, x)
    model = models.batch_statistics(client)
    guess = du.types.Guess(x, torch.arange(batch))
    same = batch_norm.with_statistics(models.weights(model), model, guess, du.Protocol())
    assert len(sent) == 6
    for name, tensor in sent.items():
        torch.testing.assert_close(tensor, same[name], atol=1e-5, rtol=1e-4)


def test_every_attacker_on_batch_norm_has_a_row(monkeypatch, capsys):
    grid = {"batch": [1, 4], "attacker": batch_norm.ATTACKERS, "round": range(1)}
    monkeypatch.setattr(batch_norm, "GRIDS", {"both": grid})
    batch_norm.main()
    table = pd.read_csv(batch_norm.TABLE)
    assert list(table["attacker"]) == batch_norm.ATTACKERS * 2
    assert list(table["images"]) == [1] * 4 + [4] * 4
    assert "statistics sent" in capsys.readouterr().out
