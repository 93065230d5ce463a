"""What the dropout defence costs: the trainings are comparable, and end when they should."""

import pandas as pd
import pytest

from reproduce import dropout_cost


@pytest.fixture
def few_photographs(monkeypatch):
    """Trainings of a moment."""
    monkeypatch.setattr(dropout_cost, "TRAINING", 20)
    monkeypatch.setattr(dropout_cost, "VALIDATION", 10)
    monkeypatch.setattr(dropout_cost, "TEST", 1363)
    monkeypatch.setattr(dropout_cost, "PATIENCE", 2)


def test_train_ends_when_validation_has_not_improved_for_its_patience(few_photographs):
    row = dropout_cost.train(0.5, 0)
    assert row["epochs"] == row["best_epoch"] + 2
    assert 0 <= row["test"] <= 1 >= row["validation"] > 0
    assert dropout_cost.train(0.5, 0) == row != dropout_cost.train(0.5, 1)


def test_train_at_most_a_number_of_epochs(few_photographs, monkeypatch):
    monkeypatch.setattr(dropout_cost, "MOST_EPOCHS", 1)
    assert dropout_cost.train(0.0, 0)["epochs"] == 1


def test_main_writes_a_row_for_each_training(few_photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dropout_cost, "RATES", (0.0, 0.5))
    monkeypatch.setattr(dropout_cost, "SEEDS", range(2))
    monkeypatch.setattr(dropout_cost, "TABLE", tmp_path / "dropout_cost.csv")
    dropout_cost.main(processes=1)
    table = pd.read_csv(dropout_cost.TABLE)
    assert table[["seed", "rate"]].to_numpy().tolist() == [[0, 0], [0, 0.5], [1, 0], [1, 0.5]]
    shown = capsys.readouterr().out.splitlines()
    assert shown[2].startswith("| 0 | 2 |")
    assert "| 0.0 ± 0.0 | 0 |" in shown[2]
    assert shown[3].startswith("| 0.5 | 2 |")
