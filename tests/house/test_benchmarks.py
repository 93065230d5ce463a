"""The benchmarks run, on a few runs and evaluations; what they measure is in benchmarks/RESULTS.md."""

from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks import batches, closed_form, dropout_run, recovery, reference, separation, speed
from dlgutils import attacks, invert, metrics

SETTINGS = list(recovery.settings())


@pytest.mark.parametrize(
    "setting", SETTINGS[::5], ids=lambda s: f"{s.images}, {s.network}, {s.attack.name}"
)
def test_a_row_of_rates_counts_every_run(setting):
    rows = list(recovery.rows(setting._replace(looks=(4, 8), runs=2)))
    assert [row.split(" | ")[4] for row in rows] == ["4", "8"]
    assert all(row.count("of 2") == 3 + bool(setting.dropout) for row in rows)


def test_the_papers_run_is_summed_up_over_images_and_goes_on(tmp_path, monkeypatch):
    """Slow (about 10 s): every attacker once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dropout_run, "STEPS", dict.fromkeys(dropout_run.STEPS, 3))
    monkeypatch.setattr(dropout_run, "IMAGES", range(2))
    monkeypatch.setattr(dropout_run, "TABLE", tmp_path / "dropout_run.csv")
    dropout_run.main()
    table = pd.read_csv(dropout_run.TABLE)
    settings = table.groupby(["init", "rate", "attacker"])
    assert len(settings) == 2 * (5 * len(dropout_run.ATTACKERS) + len(dropout_run.NAIVE))
    assert (settings["evaluation"].max() == 3).all()
    assert (table["lowest"] <= table["median"]).all()
    assert (table["median"] <= table["highest"]).all()
    assert set(table["images"]) == {2}


def test_runs_are_drawn_and_not_chosen():
    everything = recovery.pool("photos")
    drawn = [recovery.honest_round(SETTINGS[0], seed, everything)[2].x for seed in range(8)]
    again = recovery.honest_round(SETTINGS[0], 3, everything)[2].x
    assert len({float(x.sum()) for x in drawn}) > 3
    assert drawn[3].equal(again)


def test_the_reference_loop_is_the_reference_recipe():
    """The same start, image after one iteration of up to 20 evaluations; the loop's history goes on where ours does."""
    model, shared, _ = recovery.honest_round(speed.WIDE, 0, recovery.pool("photos"))
    x, evaluations = next(reference.iterations(model, shared, torch.Generator().manual_seed(5)))
    start = torch.randn(shared.x_shape, generator=torch.Generator().manual_seed(5))
    ours = invert(
        model, shared, attacks.idlg_reference, [0], start=start[None], steps=evaluations + 1
    )
    assert evaluations == 20
    assert metrics.rmse(ours.frames[-1, 0], x).item() < 0.05


def test_the_reference_loop_stops_at_its_budget():
    model, shared, _ = recovery.honest_round(speed.DEFAULT, 0, recovery.pool("photos"))
    assert (
        len(
            list(
                islice(
                    reference.iterations(model, shared, torch.Generator().manual_seed(0), most=2), 9
                )
            )
        )
        == 2
    )


def test_a_cell_of_the_separation_counts_what_is_certified_and_what_is_right(monkeypatch):
    monkeypatch.setattr(separation, "rounds", lambda _: 2)
    images = recovery.pool("photos").x
    apart, together = (separation.row(separation.Cell(768, 10, p, 2), images) for p in (0.5, 0.0))
    assert [
        apart[column] for column in ("certified", "right", "parallel_columns_right", "rounds")
    ] == [2, 2, 2, 2]
    assert (together["certified"], together["right"]) == (0, 0)


def test_batches_are_scored_for_every_attacker(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "TABLE", tmp_path / "tables" / "batches.csv")
    batches.main({2: 1}, steps=2)
    table = pd.read_csv(batches.TABLE)
    assert list(table["attacker"]) == list(batches.KINDS)
    assert set(table["images"]) == {2}


def test_the_closed_form_is_scored_beside_idlg():
    """Slow (about 8 s): a 32×32 image, and two short attacks from two starts."""
    row = closed_form.solve(
        image="cat", activation="sigmoid", init="default", rate=0.5, noise=1e-4, seed=0
    )
    assert row["label_right"] == 1
    assert 0 < row["mse"] < 0.03
    assert row["idlg"] > 0 < row["idlg_from_here"]
    table = pd.DataFrame([{**row, "init": "default", "rate": 0.5, "noise": 1e-4}] * 2)
    assert closed_form.summary(table)[["images", "MSE < 1e-2"]].to_numpy().tolist() == [
        [2, 2 * (row["mse"] < 1e-2)]
    ]


def test_tables_hold_measured_rows(monkeypatch, capsys):
    monkeypatch.setattr(speed, "REPEATS", 1)
    monkeypatch.setattr(speed, "STEPS", 3)
    speed.table("(d) Growth", ("runs", "ms"), [(2, speed.ours(2, "cpu", size=16, batch=2))])
    head, rule, row = capsys.readouterr().out.strip().splitlines()[-3:]
    assert (head, rule) == ("| runs | ms |", "|---|---|")
    assert float(row.split("|")[2]) > 0


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak is read where Linux keeps it"
)
def test_more_runs_need_more_memory(monkeypatch):
    """Slow (about 10 s): two processes that import torch."""
    monkeypatch.setattr(speed, "PEAK", speed.PEAK.replace("speed.STEPS", "2"))
    assert speed.peak(64) > speed.peak(0) + 64
