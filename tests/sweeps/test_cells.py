"""Cells: what a grid must be, and what a trial must return for it."""

from dataclasses import replace

import pytest
import torch

from dlgutils import attacks
from dlgutils.sweeps import run_grid
from tests.sweeps.experiments import GRID, sums


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, "at least one axis"),
        ({"seed": []}, "axis seed has 0 values"),
        ({"seed": 3}, r"axis seed is a list of values, got 3; write \[3\]"),
        ({"image": "cat"}, r"axis image is a list of values, got 'cat'; write \['cat'\]"),
        ({"seed": [0, 1, 0]}, "axis seed has 3 values of 2 names"),
        (
            {"attack": [attacks.dlg, replace(attacks.dlg, prior=abs)]},
            "axis attack has 2 values of 1 names",
        ),
        ({"x": [torch.zeros(1)]}, "a Tensor has no name for the table"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_name_axes_refuses_what_is_not_a_grid(tmp_path, grid, message):
    with pytest.raises(ValueError, match=message):
        run_grid(sums, grid, tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "one row for each cell, got 0 for 6"),
        ([{"seed": 3}] * 6, "the table has an axis of that name"),
        ([{"a": torch.zeros(())}] * 6, r"got a Tensor in a; use \.item\(\)"),
    ],
)
def test_check_rows_refuses_what_does_not_fit_into_the_table(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        run_grid(lambda cells: rows, GRID, tmp_path)
