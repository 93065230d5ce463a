"""Looking into a model: the calls of a forward pass, and replacing a module wherever it stands."""

import pytest
import torch
from torch import nn

from dlgutils.models import observe, replace_module


class Branches(nn.Module):
    """Modules called twice, by keyword, without an argument, and not at all."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        self.relu = nn.ReLU()
        self.again = self.relu
        self.shift = Constant()
        self.spare = nn.Linear(3, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        """Logits."""
        x = self.relu(self.block(x))
        x = self.again(x + self.shift())
        return self.head(input=x)


class Constant(nn.Module):
    """One, whatever comes."""

    def forward(self):
        """A scalar."""
        return torch.ones(())


@pytest.fixture
def model():
    return Branches()


@pytest.fixture
def x(seeded):
    return torch.rand(5, 1, 2, 2, generator=seeded(0))


def test_observe_names_the_calls_in_order(model, x):
    calls, _ = observe(model, x)
    names = ["block.0", "block.1", "relu", "shift", "relu", "head"]
    assert [call.name for call in calls] == names
    assert all(call.module is model.get_submodule(call.name) for call in calls)


def test_observe_returns_what_goes_in_and_comes_out(model, x):
    calls, output = observe(model, x)
    for call in calls:
        if call.input is None:
            continue
        assert call.module(call.input).equal(call.output)
    assert calls[0].input is x
    assert calls[1].input is calls[0].output
    assert [call.name for call in calls if call.input is None] == ["shift"]
    assert calls[-1].output is output
    assert output.equal(model(x))


def test_observe_records_no_gradient(model, x):
    calls, output = observe(model, x)
    assert not output.requires_grad
    assert not any(call.output.requires_grad for call in calls)


def test_observe_sees_a_model_that_is_one_layer():
    layer = nn.Linear(2, 2)
    calls, output = observe(layer, torch.ones(1, 2))
    assert [call.name for call in calls] == [""]
    assert calls[0].output is output


@pytest.mark.parametrize("width", [2, 7], ids=["works", "fails"])
def test_observe_leaves_no_hooks(model, width):
    x = torch.ones(1, 1, 2, width)
    if width == 2:
        observe(model, x)
    else:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            observe(model, x)
    assert not any(module._forward_hooks for module in model.modules())


def test_replace_module_replaces_under_every_name(model):
    new = nn.Tanh()
    replace_module(model, model.relu, new)
    assert model.relu is new
    assert model.again is new


def test_replace_module_reaches_into_children(model, x):
    new = nn.Linear(4, 3)
    replace_module(model, model.block[1], new)
    calls, _ = observe(model, x)
    assert model.block[1] is new
    assert calls[1].module is new


def test_replace_module_leaves_a_model_without_the_old_one(model):
    before = list(model.modules())
    replace_module(model, nn.ReLU(), nn.Tanh())
    after = list(model.modules())
    assert all(a is b for a, b in zip(before, after, strict=True))
