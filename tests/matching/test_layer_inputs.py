"""What an attack compares may be something else than gradients: what enters linear layers."""

from dataclasses import replace

import torch

from dlgutils import Protocol, attacks, invert, models
from dlgutils.matching.layer_inputs import linear_inputs
from dlgutils.types import Comparison, Guess


def test_linear_inputs_are_those_of_the_weights_and_masks_given(tiny):
    model, secret, shared, masks = tiny(dropout=0.5, batch=2)
    other = tiny(9, dropout=0.5).model
    found = linear_inputs(shared.weights, other, Guess(*secret, masks), Protocol())
    wanted = model.body(secret.x).flatten(1) * masks["dropout.mask"]
    assert list(found) == ["fc.weight"]
    torch.testing.assert_close(found["fc.weight"], wanted)


def test_linear_inputs_of_several_layers_come_from_below():
    model = models.mlp((1, 4, 4), (6, 5), 3)
    x = torch.rand(1, 1, 4, 4)
    found = linear_inputs(models.weights(model), model, Guess(x), Protocol())
    assert list(found) == ["body.0.weight", "body.3.weight", "fc.weight"]
    assert found["body.0.weight"].equal(x.flatten(1))


def test_an_attack_compares_what_it_says(tiny):
    model, secret, shared, *_ = tiny()
    features = model.body(secret.x).flatten(1).detach()
    compare = Comparison(linear_inputs, lambda *_: {"fc.weight": features})
    attack = replace(attacks.idlg, compare=compare)
    truth = invert(model, shared, attack, start=secret.x[None], steps=1).loss
    assert truth[0, 0] < 1e-20
    short, long = (invert(model, shared, attack, steps=steps).loss for steps in (5, 400))
    assert short[0, 0] > 1e-10
    torch.testing.assert_close(long[:, :5], short)
