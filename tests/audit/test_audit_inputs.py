"""What an auditor brings: refused with a sentence before any work, or completed and said so."""

import copy

import pytest
import torch
from torch import nn

import dlgutils as du
from dlgutils import models
from dlgutils.auditing.clock import seconds_of
from dlgutils.auditing.probes import search
from dlgutils.federated import defenses

X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 2])


def small() -> nn.Module:
    """A fresh LeNet for 8×8 grey images of four classes."""
    return models.init_default(models.lenet((1, 8, 8), 4), torch.Generator().manual_seed(0))


def returning(make):
    """A network whose forward returns this of its logits."""

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small()

        def forward(self, x):
            return make(self.net(x))

    return Wrapped()


class TwoInputs(nn.Module):
    """A network that needs something beside images."""

    def __init__(self):
        super().__init__()
        self.net = small()

    def forward(self, x, mask):
        return self.net(x * mask)


def with_batch_norm():
    """A network in train mode, as `nn.Module` makes it."""
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 4))


def with_dropout():
    """A network whose dropout draws masks in secret."""
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 4))


MODELS = {
    "tuple": (lambda: returning(lambda z: (z, z)), r"returned a tuple.*self.model\(x\)\[0\]"),
    "dict": (lambda: returning(lambda z: {"logits": z}), r"returned a dict.*\['logits'\]"),
    "two inputs": (TwoInputs, "does not take images alone.*mask"),
    "train mode, BatchNorm": (with_batch_norm, "BatchNorm2d in train mode"),
    "train mode, dropout": (with_dropout, "active Dropout"),
    "no module": (lambda: "resnet18", "torch.nn.Module, got str"),
    "no parameters": (lambda: nn.Flatten(), "no parameters"),
    "other device": (lambda: small().to("meta"), "images are .* on cpu, the model is .* on meta"),
    "double": (lambda: small().double(), "images are torch.float32"),
}
BATCHES = {
    "bytes": ((255 * X).byte(), "uint8.*/ 255"),
    "whole numbers": ((255 * X).long(), "int64"),
    "above one": (255 * X, r"values in \[0, 1\], got"),
    "normalised": (X - 1, r"values in \[0, 1\], got -0"),
    "not a number": (X * torch.nan, r"values in \[0, 1\]"),
    "channels": (X.expand(2, 3, 8, 8), r"images of shape \(3, 8, 8\)"),
    "channels last": (X.permute(0, 2, 3, 1), r"images of shape \(8, 8, 1\)"),
    "no images": (X[:0], r"at least one image, got the shape \(0, 1, 8, 8\)"),
    "one image alone": (X[0], r"try x\[None\]"),
    "a list": ([X[0], X[1], X[0]], "images and labels"),
    "labels of another number": (du.Batch(X, Y[:1]), r"class ids of shape \(2,\)"),
    "labels too large": (du.Batch(X, torch.tensor([0, 4])), "labels lie in 0 … 3"),
    "labels as floats": (du.Batch(X, Y.float()), "probabilities"),
    "labels as a list": (du.Batch(X, [0, 2]), "torch.tensor"),
}


@pytest.mark.parametrize(("make", "words"), MODELS.values(), ids=MODELS)
def test_audit_refuses_models_that_share_refuses(make, words):
    with pytest.raises(ValueError, match=words):
        du.audit(make(), du.Batch(X, Y), budget=60)


@pytest.mark.parametrize(("batch", "words"), BATCHES.values(), ids=BATCHES)
def test_audit_refuses_batches_that_share_refuses(batch, words):
    with pytest.raises(ValueError, match=words):
        du.audit(small(), batch, budget=60)


def test_audit_refuses_images_too_small_to_score():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    with pytest.raises(ValueError, match="4×4 pixels are too small"):
        du.audit(model, X[:, :, :4, :4])


def test_audit_needs_targets_of_other_losses():
    with pytest.raises(ValueError, match="labels are missing"):
        du.audit(small(), X, protocol=du.Protocol(loss=nn.functional.mse_loss))


@pytest.mark.parametrize("batch", [X, du.Batch(X, None), (X, None)], ids=["x", "Batch", "tuple"])
def test_audit_takes_predictions_for_missing_labels_and_says_so(batch):
    model = small()
    report = du.audit(model, batch, budget=0)
    assert report.truth.y.equal(model(X).argmax(1))
    assert "Labels were not given" in report.limits[0]


def test_audit_leaves_the_model_as_it_was():
    model = models.init_default(models.lenet((1, 8, 8), 4, dropout=0.5), torch.Generator())
    model.train()
    model.body.eval()
    model.fc.bias.requires_grad_(False)
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    du.audit(model, du.Batch(X, Y), budget=2)
    assert [m.training for m in model.modules()] == modes
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    assert [name for name, is_trained in trained.items() if not is_trained] == ["fc.bias"]
    assert all(p.grad is None for p in model.parameters())
    assert list(model._forward_hooks) == [handle.id]


def test_audit_is_the_same_from_the_same_seed(monkeypatch):
    monkeypatch.setattr(search, "_EVALUATIONS", 20)
    first, second = (du.audit(small(), du.Batch(X[:1], Y[:1]), budget=60) for _ in range(2))
    for one, other in zip(first.findings, second.findings, strict=True):
        assert (one.verdict, one.told, one.distance) == (other.verdict, other.told, other.distance)


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("a minute", 60),
        ("half an hour", 1800),
        ("20 seconds", 20),
        ("Two minutes", 120),
        ("1.5 hours", 5400),
        (3, 3),
        (0, 0),
        ("zero seconds", 0),
    ],
)
def test_seconds_of_reads_numbers_and_words(words, seconds):
    assert seconds_of(words) == seconds


@pytest.mark.parametrize("budget", ["soon", "", "a", "minus two seconds", -1, float("inf"), None])
def test_seconds_of_refuses_what_is_no_time(budget):
    with pytest.raises(ValueError, match="a budget is a time"):
        seconds_of(budget)


def test_audit_refuses_a_budget_before_any_work():
    with pytest.raises(ValueError, match="a budget is a time"):
        du.audit(small(), X, budget="forever")


def test_audit_of_weights_that_are_no_numbers_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    nn.init.constant_(model[1].weight, torch.nan)
    with pytest.raises(ValueError, match=r"NaN or inf among its .* numbers"):
        du.audit(model, X, budget=1)


def test_noise_of_seed_0_is_no_leak():
    """An attacker who starts where a dummy image was drawn would start at the truth."""
    x = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    cnn = models.init_default(models.cnn(classes=4), torch.Generator().manual_seed(1))
    loud = [defenses.noise(10.0)]
    report = du.audit(cnn, du.Batch(x, torch.tensor([1])), defenses=loud, budget=3)
    assert not any(f.scores and f.scores.recognisable.successes for f in report.findings)


def test_a_defense_alone_is_refused():
    x = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match="brackets"):
        du.audit(models.lenet(), x, defenses=defenses.noise(0.1))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            "cat",
            r"a list of words in the order of the class ids, got 'cat'; write \['cat', 'dog'\]",
        ),
        ({0: "cat", 1: "dog"}, r"got \{0: 'cat', 1: 'dog'\}.* of a dict from id to name"),
        ([0, 1, 2, 3], r"a list of words .*, got \[0, 1, 2, 3\]"),
        (None, r"a list of words .*, got None"),
        (["cat", "dog"], "the model has 4 classes, and 2 have a name; name all of them"),
    ],
)
def test_audit_refuses_names_that_are_not_those_of_all_classes(names, sentence):
    with pytest.raises(ValueError, match=sentence):
        du.audit(small(), du.Batch(X, Y), class_names=names)


def test_audit_tells_the_names_of_the_labels_that_it_reads():
    names = ["cat", "dog", "cup", "hat"]
    report = du.audit(small(), du.Batch(X[:1], Y[1:]), class_names=names, budget=2)
    assert report.class_names == tuple(names)
    assert "Read: 2 (cup)." in report.findings[2].told
    assert "(cup)" in str(report)
    assert report.to_dict()["class_names"] == names
