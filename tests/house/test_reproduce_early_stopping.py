"""Training until it is done: the images are split once, and the best network is the one kept."""

import pytest
import torch
from torch import nn

from dlgutils import Batch, data
from reproduce.early_stopping import Split, accuracy, split, train_until_done


@pytest.fixture
def parts():
    """Four images of one pixel, with labels 0 and 1, three times."""
    batch = Batch(torch.arange(4.0).view(4, 1), torch.tensor([0, 1, 1, 1]))
    return Split(batch, batch, batch)


@pytest.fixture
def model():
    """A network whose bias decides how many of the four images are called 1."""
    model = nn.Linear(1, 2)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    model.weight.data[1] = 1.0
    model.bias.data[0] = 9.0
    return model


def visit(model, thresholds):
    """One epoch for each threshold, above which an image is called 1."""
    for threshold in thresholds:
        model.bias.data[0] = threshold
        yield


def test_split_puts_every_image_into_one_part():
    parts = split("fruits", (800, 200, 393), torch.Generator().manual_seed(0))
    assert [len(part.x) for part in parts] == [800, 200, 393]
    together = torch.cat([part.x for part in parts]).sum((1, 2, 3)).sort().values
    assert together.equal(data.fruits().x.sum((1, 2, 3)).sort().values)


def test_the_first_of_the_best_epochs_is_kept(model, parts):
    # images 0 … 3 are called 1 above the threshold; image 0 alone is of class 0
    epochs = visit(model, [2.5, 0.5, 1.5, 0.5, 9.0])
    found = train_until_done(model, parts, epochs, patience=2)
    assert found == {"epochs": 4, "best_epoch": 2, "validation": 1.0, "test": 1.0}
    assert model.bias[0].item() == 0.5
    assert accuracy(model, parts.test) == 1.0


def test_a_training_that_never_improves_ends_after_its_patience(model, parts):
    found = train_until_done(model, parts, visit(model, [9.0] * 50), patience=3)
    assert found["epochs"] == 3
    assert found["best_epoch"] == 0
