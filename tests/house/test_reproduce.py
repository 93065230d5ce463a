"""The scripts of `reproduce` run, on a few runs and evaluations; results are in RESULTS.md."""

import pandas as pd
import pytest
import torch

from reproduce import (
    batches,
    closed_form,
    dia,
    dropout_cells,
    dropout_run,
    line_search,
    recovery,
    separation,
    trained_networks,
)
from reproduce.inputs import all_images

SETTINGS = list(recovery.settings())


@pytest.mark.parametrize(
    "setting", SETTINGS[::5], ids=lambda s: f"{s.images}, {s.network}, {s.attack.name}"
)
def test_recovery_rows_count_every_run(setting):
    setting = setting._replace(looks=(4, 8), runs=2)
    rows = list(recovery.rows(setting))
    assert [row[3] for row in rows] == ["4", "8"]
    for row in rows:
        assert len(row) == len(recovery.HEAD)
        assert "|".join(row).count("of 2") == 3 + bool(setting.dropout)


def test_recovery_draws_its_rounds_and_does_not_choose():
    everything = all_images("photos")
    drawn = []
    for seed in range(8):
        one = recovery.honest_round(SETTINGS[0], seed, everything)
        drawn.append(one.secret.x)
    again = recovery.honest_round(SETTINGS[0], 3, everything)
    assert len({float(x.sum()) for x in drawn}) > 3
    assert drawn[3].equal(again.secret.x)


@pytest.fixture
def few_cells(tmp_path, monkeypatch):
    """Both runs on dropout take one image of each set, and write into a folder of the test."""
    monkeypatch.chdir(tmp_path)
    for module in (dropout_run, dia):
        monkeypatch.setattr(module, "AXES", {**module.AXES, "image": range(1)})
        monkeypatch.setattr(module, "TABLE", tmp_path / "tables" / f"{module.__name__}.csv")
    monkeypatch.setattr(dropout_run, "STEPS", {0.5: 3, 0.0: 3})
    monkeypatch.setattr(dia, "STEPS", 3)


@pytest.mark.slow
def test_dropout_run_is_summed_up_over_images(few_cells):
    """Slow, about 15 s on a busy machine: every attacker at two rates."""
    dropout_run.main()
    table = pd.read_csv(dropout_run.TABLE)
    settings = table.groupby(dropout_run.SETTING)
    assert len(settings) == 2 * 2 * 2 * len(dropout_run.ATTACKERS)
    assert (settings["evaluation"].max() == 3).all()
    assert (table["lowest"] <= table["median"]).all()
    assert (table["median"] <= table["highest"]).all()
    assert set(table["runs"]) == {1}
    assert table["ssim"].between(-1, 1).all()


def test_dropout_run_keeps_the_rows_of_other_attackers(few_cells):
    dropout_run.main("cpu", 1, "mask reading")
    before = pd.read_csv(dropout_run.TABLE)
    dropout_run.main("cpu", 1, "fresh masks")
    after = pd.read_csv(dropout_run.TABLE)
    assert list(after["attacker"].unique()) == ["fresh masks", "mask reading"]
    kept = after[after["attacker"] == "mask reading"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before)


def test_dropout_cells_have_twenty_images_with_known_labels():
    for images in dropout_cells.SETS:
        secret = dropout_cells.secrets(images)
        assert secret.x.shape == (20, 3, 32, 32)
        assert len(secret.x.flatten(1).unique(dim=0)) == 20
        assert secret.y.max() < 12


def test_dia_scores_both_versions(few_cells):
    dia.main("cpu", 1, 1)
    table = pd.read_csv(dia.TABLE)
    assert len(table) == len(dia.VERSIONS) * 2 * 2
    assert set(table["runs"]) == {1}
    assert table.groupby("version")["mse"].median().nunique() == 2


def test_dia_moves_normalised_pixels_by_signs_and_masks_by_their_slopes():
    optimizer = dia.signs_of_pixels()
    z = torch.zeros(1, dia.PIXELS + 2)
    state = optimizer.init(z + 0.5)
    slope = torch.full_like(z, 1e-3)
    slope[0, -1] = -1e-9  # Adam's ε keeps this step short; a sign would not
    state = optimizer.update(state, torch.ones(1), slope)
    moved = (state.trial - 0.5)[0]
    assert moved[:-1] == pytest.approx(-0.1, abs=1e-3)
    assert 0 < moved[-1] < 0.02


def test_separation_row_counts_what_is_certified_and_what_is_right(monkeypatch):
    monkeypatch.setattr(separation, "count_rounds", lambda _: 2)
    images = all_images("photos").x
    apart = separation.row(separation.Cell(768, 10, 0.5, 2), images)
    together = separation.row(separation.Cell(768, 10, 0.0, 2), images)
    columns = ("certified", "right", "parallel_columns_right", "rounds")
    assert [apart[column] for column in columns] == [2, 2, 2, 2]
    assert together["certified"] == together["right"]
    assert together["parallel_columns_right"] == 0


@pytest.mark.slow
def test_batches_are_scored_for_every_attacker(tmp_path, monkeypatch):
    """Slow, 18 s on a busy machine: every attacker on a batch, separation among them."""
    monkeypatch.setattr(batches, "TABLE", tmp_path / "tables" / "batches.csv")
    batches.main({2: 1}, steps=2)
    table = pd.read_csv(batches.TABLE)
    assert list(table["attacker"]) == list(batches.KINDS)
    assert set(table["images"]) == {2}


@pytest.mark.slow
def test_closed_form_is_scored_beside_idlg():
    """Slow, about 8 s on a quiet machine: a 28×28 image, and two short attacks from two starts."""
    grid = closed_form.PLAIN | {"images": ["fashion"], "noise": [1e-4], "evaluations": [10]}
    row = closed_form.solve(**{axis: values[-1] for axis, values in grid.items()})
    assert row["label_right"] == 1
    for how in closed_form.WAYS:
        assert 0 < row[f"{how}: MSE"] < 0.2
        assert row[f"{how}: SSIM"] < 1
    assert row["baseline"] > 0.01
    setting = {axis: values[-1] for axis, values in grid.items()}
    found = closed_form.summary(pd.DataFrame([setting | row] * 2), "searched").iloc[0]
    assert (found["runs"], found["attack"], found["rate"]) == (2, "searched", 0.5)
    assert found["below_1e-2"] == 2 * (row["searched: MSE"] < 1e-2)
    assert found["identified"] == 2 * row["searched: identified"]


def test_trained_lenets_have_not_seen_what_they_are_attacked_on(tmp_path, monkeypatch):
    monkeypatch.setattr(trained_networks, "FOLDER", tmp_path)
    setting = {axis: values[-1] for axis, values in closed_form.PLAIN.items()} | {"epochs": 1}
    del setting["noise"], setting["evaluations"]
    everything = all_images("fruits")
    one = closed_form.draw(everything, torch.Generator().manual_seed(0), **setting)
    seen = everything.x[trained_networks.order()[: trained_networks.SEEN["fruits"]]]
    assert (seen - one.secret.x).abs().amax((1, 2, 3)).min() > 0.01
    seed = setting["run"] // closed_form.IMAGES_A_NETWORK
    training = trained_networks.Training("LeNet, sigmoid", rate=0.5, seed=seed)
    again = trained_networks.trained(training, 1)
    assert one.shared.weights["fc.weight"].equal(again.fc.weight)
    assert 0 < trained_networks.accuracy(again) < 1


def test_line_search_turns_where_the_loop_stands_still():
    # 60 of 400 evaluations: the pictures are on their way, and the reference loop's still noise
    found = {
        name: line_search.counted(attack, "default", 1, steps=60)
        for name, attack in line_search.ATTACKS.items()
    }
    assert found["reference loop"]["identified"] <= 4
    assert found["line search"]["identified"] >= 10
