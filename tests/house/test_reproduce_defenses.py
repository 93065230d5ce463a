"""What defences cost and leave: trainings of a moment, and attacks that may refuse."""

import pandas as pd
import pytest
import torch

import dlgutils as du
from reproduce import defended_training, defenses

QUICK = ("none", "largest 10 %", "dropout 0.5", "ε = 1000")


@pytest.fixture
def few_photographs(monkeypatch, tmp_path):
    """Trainings of a moment, whose networks are kept elsewhere."""
    monkeypatch.setattr(defended_training, "SIZES", {"fruits": (60, 10, 1323)})
    monkeypatch.setattr(defended_training, "PATIENCE", 1)
    monkeypatch.setattr(defended_training, "PRIVATE_EPOCHS", 1)
    monkeypatch.setattr(defended_training, "PRIVATE_BATCH", 20)
    monkeypatch.setattr(defended_training, "FOLDER", tmp_path)
    defended_training.noise_multiplier.cache_clear()
    yield tmp_path
    defended_training.noise_multiplier.cache_clear()


@pytest.mark.parametrize("name", QUICK)
def test_train_keeps_the_network_whose_accuracy_it_reports(few_photographs, name):
    row = defended_training.train("fruits", name, 0)
    assert 0 <= row["test"] <= 1
    weights = torch.load(few_photographs / f"fruits, {name}, 0.pt", weights_only=True)
    fresh = defended_training.network("fruits").state_dict()
    assert {key: w.shape for key, w in weights.items()} == {k: w.shape for k, w in fresh.items()}
    assert (row["spent"] is None) == (not name.startswith("ε"))


def test_private_training_spends_no_more_than_its_epsilon(few_photographs):
    row = defended_training.train("fruits", "ε = 1000", 0)
    assert 900 < row["spent"] <= 1000
    assert row["noise_multiplier"] > 0


@pytest.mark.slow
def test_every_defence_of_the_trainings_makes_a_round():
    """Slow, some ten seconds: Soteria, and the noise that belongs to each ε."""
    secret = du.Batch(*(part[:1] for part in defenses.secret_images()))
    for name in defenses.NAMES:
        model = defenses.network_of(name, "fresh")
        shared = defenses.defended(model, name, secret, 0)
        assert all(g.isfinite().all() for g in shared.gradient.values()), name
        named = [defense.name for defense in shared.protocol.defenses]
        assert bool(named) == (name not in {"none", "dropout 0.5", "dropout 0.9"})


def test_a_round_that_is_refused_leaves_the_others_alone():
    def refuses_three(_, rounds):
        if 3 in rounds:
            raise ValueError("three")
        return [f"found {one}" for one in rounds]

    found = defenses.attacked(refuses_three, None, [1, 3, 5])
    assert found == ["found 1", None, "found 5"]


def test_scores_of_the_truth_are_full_and_refused_ones_do_not_count():
    secrets = defenses.secret_images()
    full = defenses.scores(secrets.x, secrets.y, secrets, [])
    counts = ("labels", "recovered", "recognisable", "identified")
    assert [full[name] for name in counts] == [defenses.IMAGES] * 4
    assert defenses.scores(secrets.x, secrets.y, secrets, [0, 1])["identified"] == 6


def test_best_takes_the_attacker_that_identifies_most_in_each_group():
    columns = ["stage", "defense", "attacker", "identified", "recovered", "median_ssim"]
    rows = [
        ["fresh", "none", "naive search", 5, 8, 0.9],
        ["fresh", "none", "search", 7, 2, 0.6],
        ["fresh", "none", "closed form", 7, 3, 0.5],
        ["trained", "none", "naive search", 1, 0, 0.1],
        ["trained", "none", "search", 0, 0, 0.2],
    ]
    assert sorted(defenses.best(pd.DataFrame(rows, columns=columns))) == [2, 3]
