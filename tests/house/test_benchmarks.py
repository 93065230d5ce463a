"""The benchmarks run, on a few runs and evaluations; what they measure is in RESULTS.md."""

import math
import time
from itertools import islice
from pathlib import Path

import pytest
import torch

from benchmarks import (
    agreement,
    attempts,
    batch_readings,
    closed_form,
    gpu,
    memory,
    one_run,
    reference,
    speed,
    without_descent,
)
from dlgutils import attacks, invert, metrics
from reproduce import recovery
from reproduce.inputs import all_images


def test_reference_iterations_are_those_of_the_reference_recipe():
    """The same start, and the same image after one iteration of up to 20 evaluations.

    The loop's history goes on where ours does.
    """
    one = recovery.honest_round(speed.WIDE, 0, all_images("photos"))
    generator = torch.Generator().manual_seed(5)
    loop = reference.iterations(one.model, one.shared, generator)
    x, evaluations = next(loop)
    generator = torch.Generator().manual_seed(5)
    start = torch.randn(one.shared.x_shape, generator=generator)
    ours = invert(
        one.model,
        one.shared,
        attacks.idlg_reference,
        seeds=[0],
        start=start[None],
        steps=evaluations + 1,
    )
    assert evaluations == 20
    assert metrics.rmse(ours.frames[-1, 0], x).item() < 0.05


def test_reference_iterations_stop_at_their_budget():
    one = recovery.honest_round(speed.DEFAULT, 0, all_images("photos"))
    generator = torch.Generator().manual_seed(0)
    loop = reference.iterations(one.model, one.shared, generator, most=2)
    assert len(list(islice(loop, 9))) == 2


def test_speed_table_holds_measured_rows(monkeypatch, capsys):
    monkeypatch.setattr(speed, "REPEATS", 1)
    monkeypatch.setattr(speed, "STEPS", 3)
    milliseconds = speed.ours(2, "cpu", size=16, batch=2)
    speed.table("(d) Growth", ("runs", "ms"), [(2, milliseconds)])
    head, rule, row = capsys.readouterr().out.strip().splitlines()[-3:]
    assert (head, rule) == ("| runs | ms |", "|---|---|")
    assert float(row.split("|")[2]) > 0


def test_one_run_takes_turns_with_the_eager_loop(monkeypatch):
    monkeypatch.setattr(one_run, "EAGER", 2)
    eager = dict(list(one_run.ways().items())[:2])
    rows = one_run.rows(eager, turns=1)
    assert [name for name, *_ in rows] == list(eager)
    assert rows[0][2] == 1
    assert all(time > 0 for _, time, _ in rows)


def test_agreement_of_the_cpu_with_itself_is_complete(monkeypatch):
    monkeypatch.setattr(agreement, "RECIPES", [attacks.idlg])
    ((name, loss, slope, traced, losses),) = agreement.recipe_rows("cpu", runs=1, steps=2)
    assert name == attacks.idlg.name
    assert (loss, slope, losses) == (0, 0, 0)
    assert 0 < traced < 1e-9  # the same sums in another order


def test_relative_sees_nan_only_where_one_side_has_it():
    numbers = torch.tensor([[1.0, torch.nan]])
    assert agreement.relative(numbers, numbers) == 0
    assert agreement.relative(numbers, torch.ones(1, 2)) != 0


@pytest.fixture
def failures(monkeypatch):
    """The failures of this test alone."""
    monkeypatch.setattr(attempts, "FAILURES", [])
    yield attempts.FAILURES
    attempts.allow(math.inf)


def test_attempt_makes_a_row_of_an_error(failures):

    def fails():
        raise RuntimeError("no kernel\nfor this")

    assert attempts.attempt("row", 4, fails) == ("row", "RuntimeError: no kernel", "–", "–")
    assert len(failures) == 1


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_attempt_leaves_out_what_comes_too_late(failures, seconds):
    def takes_long():
        end = time.monotonic() + 20
        while time.monotonic() < end:
            torch.ones(9)
        return ("done",)

    attempts.allow(seconds)
    late = attempts.attempt("row", 3, takes_long)
    assert late == ("row", "left out: the time is over", "–")
    attempts.allow(10)
    assert attempts.attempt("row", 2, lambda: ("done",)) == ("row", "done")
    assert not failures


def test_gpu_without_time_leaves_out_every_row(failures, capsys):
    assert gpu.main(["cpu", "--small", "--seconds", "0"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert len(rows) > 20


@pytest.mark.slow
def test_gpu_runs_from_beginning_to_end_on_the_cpu(failures, capsys):
    """Slow, about 20 s: every table, with few runs."""
    assert gpu.main(["cpu", "--small"]) == 0
    printed = capsys.readouterr().out
    assert "left out" not in printed
    assert all(f"({number}" in printed for number in range(1, 6))


def test_without_descent_finds_label_and_image():
    closed, separated = without_descent.rows("cpu", images=1, size=16)
    assert closed[1].startswith("1 of 1")
    assert closed[2].startswith("1 of 1")
    assert separated[1].startswith("1 of 1")


def test_batch_readings_count_what_is_read_whole():
    setting = batch_readings.Setting("LeNet, sigmoid", 0, 100, 0.0, True, 2)
    *_, count, apart, down = batch_readings.row(setting, 1)
    assert count == "1 of 1"
    assert apart > 0
    assert down > 0


def test_gpu_times_rows_that_repeat_their_rounds(monkeypatch):
    monkeypatch.setattr(speed, "REPEATS", 1)
    drawn = recovery.draw_rounds(gpu.DLG, 2)
    setting = gpu.DLG._replace(looks=(2,))
    seconds, each, recovered, *_ = gpu.timed(setting, drawn, 3, "cpu")
    assert each == pytest.approx(1000 * seconds / 2 / 3)
    assert " of 2 " in recovered


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak is read where Linux keeps it"
)
def test_memory_peak_grows_with_the_runs(monkeypatch):
    """Slow, about 10 s: two processes that import torch."""
    monkeypatch.setattr(memory, "PEAK", memory.PEAK.replace("speed.STEPS", "2"))
    assert memory.peak(64) > memory.peak(0) + 64


def test_closed_form_takes_turns_with_its_yardstick(monkeypatch):
    one = recovery.honest_round(speed.DEFAULT, 0, all_images("fashion"))
    monkeypatch.setattr(closed_form, "UNKNOWNS", 100)
    monkeypatch.setattr(closed_form, "NETWORKS", ("LeNet, sigmoid",))
    monkeypatch.setattr(closed_form, "EPOCHS", (0,))
    monkeypatch.setattr(closed_form, "peak", lambda *_: 100.0)
    monkeypatch.setattr(closed_form, "rounds", lambda *_: (one.model, [one.secret], [one.shared]))
    rows = list(closed_form.rows(1))
    assert [name for name, *_ in rows] == [
        "LeNet, sigmoid, 0 epochs, single",
        "LeNet, sigmoid, 0 epochs, double",
    ]
    for _, seconds, ratio, together, megabytes, error in rows:
        assert seconds > 0
        assert together > 0
        assert ratio > 1
        assert megabytes == 100
        assert error < 1e-6
