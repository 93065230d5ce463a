"""One honest round from a generator: weights first, then masks, and one gradient of both."""

import torch
from torch.nn.functional import cross_entropy

from dlgutils import models, share
from dlgutils.federated import honest
from dlgutils.types import Batch

SECRET = Batch(torch.full((2, 1, 8, 8), 0.25, dtype=torch.float64), torch.tensor([1, 3]))


def network(dropout=0.5):
    """A LeNet for the secret."""
    return models.lenet((1, 8, 8), 4, dropout=dropout).double()


def test_honest_draws_weights_then_masks(seeded):
    generator = seeded(3)
    model = models.init_default(network(), generator)
    masks = models.draw_masks(model, 2, generator)
    found = honest(network(), SECRET, seeded(3))
    assert found.masks["dropout.mask"].equal(masks["dropout.mask"])
    for name, g in share(model, SECRET, masks=masks).gradient.items():
        assert found.shared.gradient[name].equal(g)
        assert found.shared.weights[name].equal(model.get_parameter(name))


def test_honest_leaves_the_generator_where_it_stopped(seeded):
    """What comes next from the generator is new: an attacker may take the seed from it."""
    generator = seeded(0)
    first, second = (honest(network(), SECRET, generator) for _ in range(2))
    assert not first.masks["dropout.mask"].equal(second.masks["dropout.mask"])
    assert not first.shared.weights["fc.weight"].equal(second.shared.weights["fc.weight"])


def test_honest_takes_another_initialisation(seeded):
    wide = honest(network(), SECRET, seeded(0), init=models.init_uniform).shared
    assert 0.4 < wide.weights["fc.weight"].abs().max() <= 0.5


def test_honest_without_init_keeps_the_weights_and_the_model(seeded):
    model = models.init_default(network(dropout=0), seeded(1))
    found = honest(model, SECRET, seeded(0), init=None)
    assert found.model is model
    assert found.masks == {}
    loss = cross_entropy(model(SECRET.x), SECRET.y)
    expected = torch.autograd.grad(loss, model.fc.bias)[0]
    torch.testing.assert_close(found.shared.gradient["fc.bias"], expected)


def test_honest_returns_the_secret_beside_what_the_server_sees(seeded):
    found = honest(network(), SECRET, seeded(0))
    assert found.secret is SECRET
    assert set(vars(found.shared)) == {"weights", "gradient", "x_shape", "protocol", "sent_as"}
