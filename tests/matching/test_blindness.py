"""Networks whose gradient says nothing about the image: the attack says so before it begins."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dlgutils import Batch, attacks, invert, models, share
from dlgutils.federated import honest
from dlgutils.matching.blindness import image_dependence
from dlgutils.matching.problem import Problem
from dlgutils.types import Attack, Guess
from tests.matching.test_models_as_they_come import RUNS

RECIPES = [value for value in vars(attacks).values() if isinstance(value, Attack)]
X = torch.full((1, 1, 8, 8), 0.25)
SECRET = Batch(X, torch.tensor([2]))


def muted(factor):
    """A network through which the image hardly passes."""
    model = models.init_default(models.mlp((1, 8, 8), (6,), 4), torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(factor)
    return model


@pytest.mark.parametrize("attack", [attacks.idlg, attacks.dlg], ids=lambda a: a.name)
def test_invert_warns_where_the_gradient_says_nothing_about_the_image(attack):
    model = muted(1e-9)
    shared = share(model, SECRET)
    with pytest.warns(UserWarning, match=r"hardly depends on the image: .*e-") as caught:
        invert(model, [shared] * 3, attack, steps=2, chunk=1)
    assert [warning.filename for warning in caught] == [__file__]


def test_invert_warns_of_a_network_whose_batch_norm_has_seen_nothing(seeded):
    model = RUNS["MobileNet-V3"]().eval()
    batch = Batch(torch.rand(1, 3, 32, 32, generator=seeded(0)), torch.tensor([3]))
    with pytest.warns(UserWarning, match=r"before their BatchNorm layers have seen data"):
        result = invert(model, share(model, batch), attacks.idlg, steps=1)
    assert result.loss[0, 0] < 1e-12
    assert result.y.item() == 3


@pytest.mark.parametrize("attack", RECIPES, ids=lambda a: a.name)
def test_image_dependence_is_far_above_rounding_for_every_recipe(attack, seeded):
    model = models.lenet((1, 8, 8), 4, dropout=0.5)
    here = honest(model, SECRET, seeded(0))
    problem = Problem(here.model, [here.shared], attack, [0], None)
    assert image_dependence(problem) > 1e-4


def test_image_dependence_of_a_linear_layer_is_that_of_its_input():
    """Of zero weights, δ is always the same, and the gradient of the weight is δ xᵀ."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4, bias=False))
    nn.init.zeros_(model[1].weight)
    attack = replace(attacks.dlg, infer=lambda *_: Guess(y=SECRET.y), transform=None)
    problem = Problem(model, [share(model, SECRET)], attack, [0], X[None])
    ramp = torch.linspace(0, 1, 64).view_as(X)
    assert image_dependence(problem) == pytest.approx(float((ramp - X).norm() / X.norm()))
