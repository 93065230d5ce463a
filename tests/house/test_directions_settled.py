"""What chapter 7 says of all its fruits, not only of the one it shows, by its own cells."""

import matplotlib
import pytest
import torch

from tools.chapters import chapters

LAST = "def error_left"  # in the cell with which all functions are there


@pytest.fixture(scope="module")
def chapter():
    """Its names after the cells that define what is measured."""
    (found,) = [each for each in chapters() if each.name.startswith("07_")]
    names = {}
    matplotlib.use("Agg")
    for cell in found.main:
        if cell.kind == "code" and "remove-cell" not in cell.tags:
            exec(cell.text, names)
            if LAST in cell.text:
                return names
    raise AssertionError(f"no cell of chapter 7 has {LAST}")


def spread(names, seed, init):
    """Error left after a hundred directions, and the condition number: in pixels, and white."""
    images, labels = names["truth"]
    small = torch.nn.functional.avg_pool2d(images[[seed]].double(), 2)
    names["v"] = small - 0.5
    secret = names["du"].Batch(small, labels[[seed]])
    generator = torch.Generator().manual_seed(seed)
    rows = names["jacobian"](names["honest"](names["net"], secret, generator, init=init))
    decode, goal = names["decode"], names["whitened"].encode(small)
    pixels = names["error_left"](rows, names["v"])
    white = names["error_left"](decode @ rows, goal, decode)
    return [(left[99].item(), number.item()) for left, number in (pixels, white)]


@pytest.mark.slow
def test_all_fruits_lie_where_the_work_begins_in_white_coordinates(chapter):
    """Slow: 24 Jacobians, about a minute."""
    inits = chapter["inits"]
    found = torch.tensor([[spread(chapter, k, init) for k in range(12)] for init in inits.values()])
    (pixels, plain), (white, ours) = found.permute(2, 3, 0, 1)  # each (initialisations, fruits)
    assert [round(100 * v.item()) for v in (pixels.min(), pixels.max())] == [74, 94]
    assert [round(100 * v.item()) for v in (white.min(), white.max())] == [11, 69]
    assert 1.5 < (ours / plain).min() < (ours / plain).max() < 9.5
    default, wide = plain
    assert 2.5 < (wide / default).min() < (wide / default).max() < 110
