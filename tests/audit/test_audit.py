"""Planted leaks are found, and a round that gives nothing away has a quiet report."""

import re

import pytest
import torch
from torch import nn

import dlgutils as du
from dlgutils import data, models
from dlgutils.auditing import advice
from dlgutils.auditing.client import client_round
from dlgutils.auditing.clock import Clock
from dlgutils.auditing.probes import search
from dlgutils.auditing.probes.closed_form import closed_form
from dlgutils.auditing.probes.limit import limit_at
from dlgutils.auditing.probes.scale import scale
from dlgutils.auditing.situation import Situation
from dlgutils.federated import defenses

CLASSES = 12


def photographs(images: int, *, size: int = 8, grey: bool = False) -> du.Batch:
    """The first photographs, reduced, of different classes."""
    x = nn.functional.interpolate(data.photos().x[:images], size=(size, size), mode="area")
    x = x.mean(1, keepdim=True) if grey else x
    return du.Batch(x, torch.arange(images))


def fresh(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with the default weights of a seed."""
    return models.init_default(model, torch.Generator().manual_seed(seed))


def lenet(**settings: object) -> nn.Module:
    """A fresh LeNet for reduced photographs."""
    return fresh(models.lenet((3, 8, 8), CLASSES, **settings))


def finding(report: du.auditing.Report, probe: str) -> du.auditing.Finding:
    """What one probe found."""
    (found,) = [each for each in report.findings if each.probe == probe]
    return found


@pytest.fixture(autouse=True)
def short_searches(monkeypatch):
    """Searches of so many evaluations that no test hangs on the speed of its machine."""
    monkeypatch.setattr(search, "_EVALUATIONS", 60)


class Constant(nn.Module):
    """A network whose gradient does not depend on the image, and of the label only a little."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return self.bias.expand(len(x), 4)


# Planted leaks


def test_audit_finds_the_image_that_a_first_linear_layer_hands_out():
    model = models.normalised(models.mlp((3, 8, 8), (20,), CLASSES), (0.4, 0.5, 0.6), (0.2,) * 3)
    batch = photographs(1)
    report = du.audit(fresh(model), batch, budget=120)
    layers = finding(report, "layers")
    assert layers.verdict == "leak"
    assert layers.scores.recognisable.successes == 1
    assert layers.found.x.sub(batch.x).abs().max() < 1e-3
    assert any("body.0.weight" in name for name in layers.read_from)
    assert "gets the image itself" in layers.told
    assert report.complete
    assert report.findings[report.best].scores.recognisable.successes == 1


def test_audit_finds_the_label_and_the_mask_of_one_image():
    report = du.audit(lenet(dropout=0.5), photographs(1), budget=120)
    label, mask = finding(report, "labels"), finding(report, "masks")
    assert (label.verdict, label.labels.successes, label.labels.total) == ("leak", 1, 1)
    assert label.certificate
    assert mask.verdict == "leak"
    assert mask.read_from == ("fc.weight",)
    assert re.search(r"Of (\d+) units that look kept, \1 were", mask.told)
    best = report.findings[report.best]
    assert best.scores.recognisable.successes == 1


def test_audit_takes_a_batch_apart():
    batch = photographs(4)
    report = du.audit(lenet(), batch, budget=120)
    for probe in ("labels", "separation", "features"):
        found = finding(report, probe)
        assert found.verdict == "leak", probe
        assert found.labels.successes == 4
        assert found.certificate
    matched = finding(report, "feature matching")
    assert matched.scores.recognisable.successes >= 2
    assert matched.scores.identified.total == 4
    order = [int((batch.x - x).square().mean((1, 2, 3)).argmin()) for x in matched.found.x]
    assert order == [0, 1, 2, 3]
    assert matched.found.y.equal(batch.y)


def test_audit_reads_a_scale_that_the_server_is_not_told():
    report = du.audit(lenet(), photographs(1), protocol=du.Protocol(scale=None), budget=120)
    assert finding(report, "scale").verdict == "leak"
    assert "not told" in report.protocol


@pytest.mark.parametrize(("images", "factor"), [(1, -3.0), (1, 0.25), (3, 7.0)])
def test_scale_reads_the_factor(images, factor):
    model, batch = lenet(), photographs(images)
    generator = torch.Generator().manual_seed(0)
    secret = client_round(model, batch, generator, du.Protocol(scale=factor))
    found = scale(Situation(model, secret.shared, Clock(60)))
    assert found.verdict == "leak"
    assert f"multiplied by {factor:.4g}" in found.told


def test_audit_solves_a_chain_in_closed_form():
    report = du.audit(lenet(), photographs(1), budget=120)
    solved = finding(report, "closed form")
    assert solved.verdict == "leak"
    assert solved.scores.mse < 1e-4
    assert solved.distance < 1e-6


def test_closed_form_says_that_it_does_not_apply_before_it_counts_its_time():
    protocol, generator = du.Protocol(steps=5), torch.Generator().manual_seed(0)
    secret = client_round(lenet(), photographs(1), generator, protocol)
    with pytest.raises(ValueError, match="for one step; the gradients of several are added up"):
        closed_form(Situation(lenet(), secret.shared, Clock(1e-6)))


def test_closed_form_is_not_begun_where_its_equations_take_longer_than_there_is():
    model = fresh(models.lenet(classes=CLASSES))
    secret = client_round(model, photographs(1, size=32), torch.Generator().manual_seed(0))
    found = closed_form(Situation(model, secret.shared, Clock(2)))
    assert found.verdict == "not reached"
    assert re.search(r"would take about 3 s, and [12]\.\d s are left", found.told)


def test_audit_repeats_local_steps_and_defences():
    protocol = du.Protocol(steps=2, lr=0.05, momentum=0.9, defenses=(defenses.clip(0.5),))
    report = du.audit(lenet(), photographs(2), protocol=protocol, budget=120)
    assert finding(report, "gradient matching").scores.recognisable.successes == 2
    assert finding(report, "features").verdict == "inapplicable"
    assert "2 steps of SGD" in report.protocol
    assert "clipped to 0.5" in report.protocol


def test_audit_advises_only_what_it_ran_again():
    report = du.audit(lenet(), photographs(1), budget=120)
    assert report.advice
    changes = {each.change: each for each in report.advice}
    quiet = changes["clip the update to 1 and add noise of 0.01"]
    assert quiet.before.successes == 1
    assert quiet.after.successes == 0
    assert "A longer attack may find more." in quiet.told
    assert "clip the update to 1 and add noise of 0.1" not in changes
    home = changes["keep fc.weight and fc.bias on the device"]
    assert home.after.successes == 1
    assert "longer attack" not in home.told
    assert "5 local steps of lr 0.1 in place of one" in changes


def test_audit_advises_no_steps_to_a_client_that_takes_several():
    protocol = du.Protocol(steps=2, sent=("body.0.weight", "body.0.bias"))
    model, generator = lenet(), torch.Generator().manual_seed(0)
    secret = client_round(model, photographs(1), generator, protocol)
    assert list(advice._others(secret.shared)) == []


# Rounds that give nothing away


def test_audit_of_one_image_under_heavy_noise_is_quiet():
    noisy = [defenses.noise(1.0)]
    report = du.audit(lenet(), photographs(1), defenses=noisy, budget=120)
    assert {each.verdict for each in report.findings} <= {"quiet", "inapplicable", "not reached"}
    assert report.advice == ()
    assert any("differential privacy" in limit for limit in report.limits)


def test_audit_of_a_network_that_ignores_the_image_finds_no_image():
    batch = photographs(1)
    report = du.audit(Constant(), du.Batch(batch.x, torch.tensor([2])), budget=120)
    images = [each for each in report.findings if each.scores is not None]
    assert all(each.verdict == "quiet" for each in images)
    assert "failed" not in {each.verdict for each in report.findings}
    assert report.advice == ()


def test_limit_says_what_nobody_can_do():
    model, batch = fresh(models.lenet((1, 8, 8), 4)), photographs(1, size=8, grey=True)
    generator = torch.Generator().manual_seed(0)
    for row, verdict in (((), "leak"), ((defenses.noise(100.0),), "quiet")):
        secret = client_round(model, batch, generator, du.Protocol(defenses=row))
        found = limit_at(secret)(Situation(model, secret.shared, Clock(60)))
        assert found.verdict == verdict
        assert "RMSE" in found.told or "64 independent" in found.told
