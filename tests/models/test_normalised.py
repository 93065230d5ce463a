"""Normalisation inside the model: images stay in [0, 1], the gradient is that of the client."""

import pytest
import torch

from dlgutils import Batch, attacks, invert, models, share
from dlgutils.types import Shared

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture
def model(seeded):
    return models.init_default(models.lenet((3, 8, 8), 4).double(), seeded(0))


@pytest.fixture
def batch(seeded):
    x = torch.rand(1, 3, 8, 8, generator=seeded(1), dtype=torch.float64)
    return Batch(x, torch.tensor([1]))


def test_normalised_is_the_model_after_normalize(model, batch):
    x = (batch.x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(models.normalised(model, MEAN, STD)(batch.x), model(x.double()))


def test_a_gradient_with_the_names_of_the_model_inside_is_attacked(model, batch):
    outer = models.normalised(model, MEAN, STD)
    shared = share(outer, batch)
    plain = {name.removeprefix("normalised."): g for name, g in shared.gradient.items()}
    came = Shared(models.weights(model), plain, shared.x_shape)
    truth = invert(outer, came, attacks.idlg, start=batch.x[None], steps=1)
    assert truth.loss[0, 0] < 1e-20


def test_share_refuses_normalised_images_and_names_the_way_out(model, batch):
    with pytest.raises(ValueError, match=r"got -\d.*models\.normalised\(model, mean, std\)"):
        share(model, Batch((batch.x - 0.5) / 0.2, batch.y))


def test_normalised_takes_one_number_for_all_channels(model, batch):
    found = models.normalised(model, 0.5, 0.5)(batch.x)
    assert found.equal(model((batch.x - 0.5) / 0.5))


@pytest.mark.parametrize(
    ("std", "message"), [((1, 1), "3 means and 2 standard"), ((1, 0, 1), "are positive")]
)
def test_normalised_refuses_numbers_that_do_not_fit(model, std, message):
    with pytest.raises(ValueError, match=message):
        models.normalised(model, MEAN, std)
