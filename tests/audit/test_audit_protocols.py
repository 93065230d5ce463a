"""Every protocol and many kinds of network: nothing breaks, and what does not apply says why."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import dlgutils as du
from dlgutils import models
from dlgutils.auditing import run
from dlgutils.auditing.probes import search
from dlgutils.federated import defenses

CLASSES = 5
X = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 2, 3])
SOFT = torch.tensor([[0.6, 0.4, 0, 0, 0], [0, 0, 1.0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2]])
BATCH = du.Batch(X, Y)
ONE = du.Batch(X[:1], Y[:1])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short searches, and no changes to run again."""
    monkeypatch.setattr(search, "_EVALUATIONS", 3)
    monkeypatch.setattr(run, "advise", lambda *_: ((), False))


def lenet(**settings):
    """A fresh LeNet."""
    model = models.lenet((1, 8, 8), CLASSES, **settings)
    return models.init_default(model, torch.Generator().manual_seed(0))


def audited(model, batch, **settings):
    """The findings by probe; none of them failed."""
    report = du.audit(model, batch, budget=120, **settings)
    verdicts = {finding.probe: finding.verdict for finding in report.findings}
    failed = [finding for finding in report.findings if finding.verdict == "failed"]
    assert not failed, failed
    assert report.complete
    assert str(report)
    assert report.to_json()
    return {finding.probe: finding for finding in report.findings}, verdicts


PROTOCOLS = {
    "local steps": du.Protocol(steps=3, batch_size=2, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "shuffled": du.Protocol(steps=4, batch_size=2, shuffle=True),
    "scaled": du.Protocol(scale=-2.0),
    "unknown scale": du.Protocol(scale=None),
    "decay": du.Protocol(weight_decay=0.01),
    "sum": du.Protocol(loss=partial(cross_entropy, reduction="sum")),
    "smoothed labels": du.Protocol(loss=partial(cross_entropy, label_smoothing=0.1)),
    "partial": du.Protocol(sent=("fc.weight", "fc.bias")),
    "without classifier": du.Protocol(sent=("body.0.weight", "body.0.bias")),
    "examples clipped": du.Protocol(example_norm=0.5),
    "clip": du.Protocol(defenses=(defenses.clip(0.1),)),
    "noise, clip": du.Protocol(defenses=(defenses.noise(0.1), defenses.clip(0.1))),
    "laplace": du.Protocol(defenses=(defenses.laplace(0.01),)),
    "top": du.Protocol(defenses=(defenses.top_k(0.1),)),
    "random": du.Protocol(defenses=(defenses.prune_random(0.5),)),
    "quantized": du.Protocol(defenses=(defenses.quantized(8),)),
    "sign": du.Protocol(defenses=(defenses.sign(),)),
    "half": du.Protocol(defenses=(defenses.half_precision(),)),
}


@pytest.mark.parametrize("batch", [ONE, BATCH], ids=["one", "batch"])
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_audit_works_for_every_protocol(protocol, batch):
    found, _ = audited(lenet(dropout=0.3), batch, protocol=protocol)
    assert found["gradient matching"].found is not None


def conv_head():
    """A network that ends with a convolution and a mean, without a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, CLASSES, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class Branches(nn.Module):
    """A network with a sum, a layer that is used twice, and functions between layers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(64, CLASSES, bias=False)

    def forward(self, x):
        u = torch.tanh(self.conv(x))
        u = u + torch.nn.functional.gelu(self.again(self.again(u)))
        return self.fc(torch.nn.functional.avg_pool2d(u, 2).flatten(1))


def channel_dropout():
    """A network whose dropout lies inside its body, where no linear layer shows it."""
    body = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.Dropout2d(0.5),
        nn.Conv2d(4, 4, 3),
        nn.Flatten(),
        nn.Linear(64, CLASSES),
    )
    return models.expose_dropout(body, (1, 8, 8))


def batch_norm():
    """A network with BatchNorm in eval mode."""
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(144, CLASSES)).eval()


NETWORKS = {
    "convolution at the end": conv_head,
    "branches": Branches,
    "channels dropped": channel_dropout,
    "BatchNorm": batch_norm,
    "BatchNorm of the batch": lambda: models.batch_statistics(batch_norm()),
    "one layer": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES)),
    "in a wrapper": lambda: nn.DataParallel(lenet()),
}


@pytest.mark.parametrize("batch", [ONE, BATCH], ids=["one", "batch"])
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_audit_works_for_many_networks(make, batch):
    audited(make(), batch)


@pytest.mark.parametrize("protocol", [du.Protocol(), du.Protocol(steps=2)], ids=["one", "two"])
def test_audit_works_for_probabilities_as_labels(protocol):
    found, verdicts = audited(lenet(), du.Batch(X, SOFT), protocol=protocol)
    assert verdicts["labels"] == "inapplicable"
    assert found["gradient matching"].named.shape == (3,)


def test_audit_works_for_another_loss():
    found, verdicts = audited(lenet(), du.Batch(X, SOFT), protocol=du.Protocol(loss=mse_loss))
    assert verdicts["labels"] == "inapplicable"
    assert found["gradient matching"].labels is None


def test_audit_works_in_double_precision():
    found, _ = audited(lenet().double(), du.Batch(X.double(), Y))
    assert found["separation"].verdict == "leak"


def test_audit_of_equal_images_has_nobody_to_identify():
    found, _ = audited(lenet(), du.Batch(X[:1].expand(2, 1, 8, 8), Y[:2]))
    assert found["gradient matching"].scores.identified is None


def test_audit_works_for_images_of_one_brightness():
    audited(lenet(), du.Batch(torch.full((2, 1, 8, 8), 0.5), Y[:2]))
