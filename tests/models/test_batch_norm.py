"""BatchNorm with the batch's own statistics, as a function that changes nothing."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from dlgutils import Batch, attacks, invert, models, share
from dlgutils.analytic import features


def network():
    """A small network with both kinds of BatchNorm, in train mode, in float64."""
    torch_layers = (
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(192, 6),
        nn.BatchNorm1d(6, affine=False),
        nn.Linear(6, 4),
    )
    model = nn.Sequential(*torch_layers).double()
    return models.init_default(model, torch.Generator().manual_seed(0)).train()


@pytest.fixture
def batch(seeded):
    x = torch.rand(3, 1, 8, 8, generator=seeded(0), dtype=torch.float64)
    return Batch(x, torch.tensor([0, 2, 3]))


def test_batch_statistics_share_the_gradient_of_train_mode(batch):
    model = network()
    pure = models.batch_statistics(model)
    shared = share(pure, batch)
    torch.testing.assert_close(pure(batch.x), copy.deepcopy(model)(batch.x))
    loss = cross_entropy(copy.deepcopy(model)(batch.x), batch.y)
    assert loss.isfinite()
    original = copy.deepcopy(model)
    cross_entropy(original(batch.x), batch.y).backward()
    for name, parameter in original.named_parameters():
        torch.testing.assert_close(shared.gradient[name], parameter.grad, atol=1e-14, rtol=1e-9)


def test_batch_statistics_change_nothing(batch):
    model = network()
    before = copy.deepcopy(model.state_dict())
    pure = models.batch_statistics(model)
    pure(batch.x)
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert pure.eval()(batch.x).equal(pure.train()(batch.x))


def test_invert_attacks_a_batch_through_its_own_statistics(batch, seeded):
    pure = models.batch_statistics(network())
    shared = share(pure, batch)
    attack = attacks.dlg
    truth = invert(pure, shared, attack, seeded(0), start=batch.x[None], steps=1)
    assert truth.loss.isfinite().all()
    result = invert(pure, [shared] * 2, attack, seeded(0), steps=20)
    assert (result.best_loss < 0.9 * result.loss[:, 0]).all()


def test_checks_name_the_way_out(batch):
    with pytest.raises(ValueError, match=r"1 is a BatchNorm2d in train mode.*batch_statistics"):
        share(network(), batch)


def test_one_number_for_each_channel_is_refused(batch):
    one = Batch(batch.x[:1], batch.y[:1])
    with pytest.raises(ValueError, match=r"one number for each channel.*at least two images"):
        share(models.batch_statistics(network()), one)


def test_batch_statistics_refuse_a_model_without_batchnorm():
    with pytest.raises(ValueError, match=r"LeNet has no BatchNorm layer"):
        models.batch_statistics(models.lenet())


def test_split_refuses_images_that_depend_on_one_another(batch):
    pure = models.batch_statistics(network())
    with pytest.raises(ValueError, match=r"1 normalises by the whole batch"):
        features.split(pure, share(pure, batch))


def test_batch_statistics_of_a_single_layer(batch):
    found = models.batch_statistics(nn.BatchNorm2d(1).double())(batch.x)
    torch.testing.assert_close(found.mean(), torch.zeros_like(found.mean()))
