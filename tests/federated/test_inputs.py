"""Images and labels as people bring them: refused with the code that makes them right."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dlgutils import Batch, Protocol, models, share

X, Y = torch.full((1, 1, 8, 8), 0.25), torch.tensor([1])
ARRAY = np.zeros((2, 8, 8, 3), np.uint8)
IMAGES = {
    "bytes, channels last": (ARRAY, r"ndarray of uint8.*permute\(0, 3, 1, 2\)\.float\(\) / 255"),
    "one image": (ARRAY[0], r"permute\(2, 0, 1\)\[None\]\.float\(\) / 255"),
    "doubles": (np.zeros((1, 1, 8, 8)), r"ndarray of float64.*torch\.from_numpy\(x\)\.float\(\)$"),
    "a tensor of bytes": (X.to(torch.uint8), r"a tensor of torch\.uint8.*pass x\.float\(\) / 255"),
    "a list": ([X[0]], r"a list of 1; make each image a tensor .* torch\.stack"),
    "PIL": (Image.new("RGB", (8, 8)), r"the Image.*numpy\.asarray\(image\.convert"),
}
LABELS = {
    "a number": (3, r"the int 3; pass torch\.tensor\(\[3\]\)"),
    "a list": ([3], r"a list of 1; pass torch\.tensor\(y\)"),
    "an array": (np.array([3]), r"ndarray of int64 .*pass torch\.from_numpy\(y\)"),
}


class Answer:
    """What some libraries return: an object with logits."""

    def __init__(self, logits):
        self.logits = logits


class Returning(nn.Module):
    """A model whose logits are put into something."""

    def __init__(self, wrap):
        super().__init__()
        self.fc, self.wrap = nn.Linear(64, 4), wrap

    def forward(self, x):
        """The logits, wrapped."""
        return self.wrap(self.fc(x.flatten(1)))


@pytest.mark.parametrize(("x", "message"), IMAGES.values(), ids=IMAGES)
def test_share_refuses_images_that_are_no_tensor_of_numbers(x, message):
    with pytest.raises(ValueError, match=message):
        share(models.lenet((1, 8, 8), 4), Batch(x, Y))


@pytest.mark.parametrize(("y", "message"), LABELS.values(), ids=LABELS)
def test_share_refuses_labels_that_are_no_tensor(y, message):
    with pytest.raises(ValueError, match=message):
        share(models.lenet((1, 8, 8), 4), Batch(X, y))


@pytest.mark.parametrize(
    "model", [models.lenet((3, 8, 8), 4), nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten())]
)
def test_share_says_that_channels_come_first(model):
    with pytest.raises(ValueError, match=r"channels come first.*permute\(0, 3, 1, 2\)"):
        share(model, Batch(torch.zeros(1, 8, 8, 3), Y))


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda z: (z, z), r"a tuple; wrap it .*self\.model\(x\)\[0\]"),
        (lambda z: {"scores": z}, r"a dict; wrap it .*self\.model\(x\)\['scores'\]"),
        (Answer, r"an? Answer; wrap it .*self\.model\(x\)\.logits"),
    ],
    ids=["tuple", "dict", "object"],
)
def test_share_refuses_a_model_that_returns_more_than_logits(wrap, message):
    with pytest.raises(ValueError, match=message):
        share(Returning(wrap), Batch(X, Y))


def test_share_names_what_draws_random_numbers():
    def noisy(z):
        return nn.functional.dropout(z, 0.5)

    with pytest.raises(ValueError, match=r"in torch\.nn\.functional\.dropout, so no attacker"):
        share(Returning(noisy), Batch(X, Y))


@pytest.mark.parametrize(
    "layer",
    [nn.MultiheadAttention(4, 1, dropout=0.1), nn.LSTM(4, 4, 2, dropout=0.1), nn.RReLU()],
    ids=lambda layer: type(layer).__name__,
)
def test_share_refuses_layers_that_draw_inside(layer):
    model = Returning(lambda z: z)
    model.inner = layer
    with pytest.raises(ValueError, match=r"inner is a .* draws random numbers .*dropout = 0\.0"):
        share(model, Batch(X, Y))
    assert share(model.eval(), Batch(X, Y)).gradient["fc.bias"].any()


def test_share_names_what_cannot_be_differentiated():
    def through_numpy(z):
        return z + float(z.detach().numpy().mean())

    with pytest.raises(ValueError, match=r"cannot differentiate this model: .*without \.numpy"):
        share(Returning(through_numpy), Batch(X, Y))


def test_a_pair_of_a_loader_is_a_batch(seeded):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    plain = share(model, Batch(X, Y))
    for pair in ((X, Y), [X, Y]):
        assert share(model, pair).gradient["1.bias"].equal(plain.gradient["1.bias"])
    for other in (X, None, (X, Y, Y)):
        with pytest.raises(ValueError, match=r"a pair of images and labels.*Batch\(x, y\)"):
            share(model, other)


def test_the_class_of_a_loss_is_no_loss():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(ValueError, match=r"the class CrossEntropyLoss; pass an instance"):
        share(model, Batch(X, Y), protocol=Protocol(loss=nn.CrossEntropyLoss))
