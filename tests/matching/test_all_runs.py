"""Models that decide by numbers are attacked one run after another, with a warning."""

import pytest
import torch
from torch import nn
from torch.func import grad_and_value, vmap

from dlgutils import Batch, attacks, invert, share
from dlgutils.matching import all_runs
from dlgutils.matching.all_runs import AllRuns, one_after_another


class Deciding(nn.Module):
    """A model with a branch in forward that depends on the image."""

    def __init__(self, decide):
        super().__init__()
        self.first, self.fc, self.decide = nn.Linear(64, 6), nn.Linear(6, 4), decide
        self.double()

    def forward(self, x):
        """Logits: other ones for bright images."""
        h = self.first(x.flatten(1)).sigmoid()
        return self.fc(2 * h if self.decide(x) else h)


def by_item(x):
    """By a number."""
    return x.mean().item() > 0.5


def by_tensor(x):
    """By a tensor of one truth value."""
    return x.mean() > 0.5


@pytest.mark.parametrize("trace", [10**9, 0], ids=["plain", "traced"])
@pytest.mark.parametrize("decide", [by_item, by_tensor])
def test_invert_a_model_that_branches_goes_run_by_run(decide, trace, seeded, monkeypatch):
    monkeypatch.setattr(all_runs, "_TRACE_PAYS", trace)
    model = Deciding(decide)
    x = torch.rand(2, 1, 1, 8, 8, generator=seeded(0), dtype=torch.float64)
    dark_and_bright = (x / 3, 1 - x / 3)
    rounds = [share(model, Batch(part[0], torch.tensor([1]))) for part in dark_and_bright]
    start = torch.stack([part[0] for part in dark_and_bright])
    with pytest.warns(UserWarning, match="one run goes after another.*vmap"):
        truth = invert(model, rounds, attacks.idlg, start=start, steps=1)
    assert (truth.loss[:, 0] < 1e-20).all()


def test_one_after_another_returns_what_vmap_returns():
    def function(x, options):
        return (x**2).sum() * options["scale"]

    args = torch.rand(3, 4), {"scale": torch.arange(3.0)}
    together = vmap(grad_and_value(function))(*args)
    for one, other in zip(one_after_another(grad_and_value(function), args), together, strict=True):
        torch.testing.assert_close(one, other)


def test_an_error_of_the_function_itself_is_raised():
    def broken(x):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        AllRuns(broken)(1, torch.ones(2, 3))


def test_what_has_no_second_derivative_is_named():
    def function(x):
        raise NotImplementedError("derivative for f is not implemented")

    with pytest.raises(ValueError, match=r"differentiated again: derivative for f is not"):
        AllRuns(function)(1, torch.ones(2, 3))
