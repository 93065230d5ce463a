"""Labels as their server reads them: certain where that follows, guessed where it does not."""

import pytest
import torch
from torch import nn

import dlgutils as du
from dlgutils import models
from dlgutils.auditing.client import client_round
from dlgutils.auditing.clock import Clock
from dlgutils.auditing.label_reading import read_labels
from dlgutils.auditing.scoring import right_labels
from dlgutils.auditing.situation import Situation
from dlgutils.federated import defenses

CLASSES = 10
X = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([7, 2, 2, 5])
CERTAIN = {
    "plain": du.Protocol(),
    "decay": du.Protocol(weight_decay=0.1),
    "scaled": du.Protocol(scale=-3.0),
    "sum": du.Protocol(loss=nn.CrossEntropyLoss(reduction="sum")),
}
OF_ONE = {
    "unknown scale": du.Protocol(scale=None),
    "clip": du.Protocol(defenses=(defenses.clip(1e-3),)),
    "clipped example": du.Protocol(example_norm=1e-3),
    "half": du.Protocol(defenses=(defenses.half_precision(),)),
}
LIKELY = {
    "steps": du.Protocol(steps=4, batch_size=2, lr=0.05),
    "little noise": du.Protocol(defenses=(defenses.noise(1e-3),)),
    "quantized": du.Protocol(defenses=(defenses.quantized(8),)),
}


def situation(protocol, images):
    """The round of so many images, as its server sees it."""
    model = models.init_default(models.lenet((1, 8, 8), CLASSES), torch.Generator().manual_seed(0))
    batch = du.Batch(X[:images], Y[:images])
    secret = client_round(model, batch, torch.Generator().manual_seed(0), protocol)
    return Situation(model, secret.shared, Clock(60))


def assert_right(reading, images):
    """All labels are those of the client, in any order."""
    assert right_labels(reading.y, Y[:images]).successes == images


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("protocol", CERTAIN.values(), ids=CERTAIN)
def test_read_labels_is_certain(protocol, images):
    reading = situation(protocol, images).read_labels()
    assert_right(reading, images)
    assert reading.certificate
    assert reading.visible
    assert reading.certain or images > 1


@pytest.mark.parametrize("protocol", OF_ONE.values(), ids=OF_ONE)
def test_read_labels_reads_one_image_through_a_factor(protocol):
    reading = situation(protocol, 1).read_labels()
    assert_right(reading, 1)
    assert reading.certain


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("protocol", LIKELY.values(), ids=LIKELY)
def test_read_labels_guesses_without_a_certificate(protocol, images):
    reading = situation(protocol, images).read_labels()
    assert_right(reading, images)
    assert (reading.certificate, reading.certain) == ("", False)


def test_read_labels_guesses_the_factor_of_a_clipped_batch():
    clipped = du.Protocol(defenses=(defenses.clip(1e-3), defenses.noise(1e-7)))
    reading = read_labels(situation(clipped, 4).shared)
    assert_right(reading, 4)
    assert "guessed" in reading.told


def test_read_labels_says_when_noise_may_have_made_them():
    noisy = du.Protocol(defenses=(defenses.noise(10.0),))
    for images in (1, 4):
        assert not situation(noisy, images).read_labels().visible


def test_read_labels_refuses_other_losses():
    smoothed = du.Protocol(loss=nn.CrossEntropyLoss(label_smoothing=0.1))
    one = situation(smoothed, 1)
    assert one.labels is None
    with pytest.raises(ValueError, match="cross-entropy of class ids"):
        one.read_labels()


def test_read_labels_needs_a_bias_for_a_batch():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES, bias=False))
    secret = client_round(model, du.Batch(X, Y), torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="has no bias"):
        read_labels(secret.shared)


@pytest.mark.parametrize("steps", [1, 3])
def test_labels_of_images_that_no_step_came_to_are_not_counted(steps):
    """They were: those that were seen, twice or more, as certain."""
    protocol = du.Protocol(steps=steps, batch_size=1)
    with pytest.raises(ValueError, match=rf"the first {steps} of 4 images only.*in x_shape"):
        situation(protocol, 4).read_labels()
    with pytest.raises(ValueError, match=r"of 4 images only" if steps == 1 else "took 3"):
        _ = situation(protocol, 4).separation


def test_a_loss_that_ignores_a_class_certifies_no_labels():
    protocol = du.Protocol(loss=nn.CrossEntropyLoss(ignore_index=5))
    with pytest.raises(ValueError, match=r"the loss or the targets of this round are others"):
        situation(protocol, 4).read_labels()
    harmless = du.Protocol(loss=nn.CrossEntropyLoss(ignore_index=-7))
    assert_right(situation(harmless, 4).read_labels(), 4)
