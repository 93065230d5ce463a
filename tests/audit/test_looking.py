"""One probe after the other: what breaks, what is interrupted, and what comes too late."""

import warnings

import pytest
import torch

import dlgutils as du
from dlgutils import models
from dlgutils.auditing import Finding
from dlgutils.auditing import situation as situation_module
from dlgutils.auditing.client import client_round
from dlgutils.auditing.clock import Clock
from dlgutils.auditing.looking import in_time, look
from dlgutils.auditing.probes import search
from dlgutils.auditing.probes.labels import labels
from dlgutils.auditing.probes.separation import features, separation
from dlgutils.auditing.situation import Situation
from dlgutils.matching import invert

MODEL = models.init_default(models.lenet((3, 16, 16), 4), torch.Generator().manual_seed(0))
BATCH = du.Batch(torch.rand(1, 3, 16, 16, generator=torch.Generator()), torch.tensor([1]))


def looked(seconds=60.0, **probes):
    """The findings of these probes, by name, and the clock."""
    secret = client_round(MODEL, BATCH, torch.Generator().manual_seed(0))
    situation = Situation(MODEL, secret.shared, Clock(seconds))
    findings = look(probes, situation, secret)
    assert [finding.probe for finding in findings] == list(probes)
    return {finding.probe: finding for finding in findings}, situation.clock


def raising(error):
    """A probe that breaks."""

    def probe(_):
        raise error

    return probe


@pytest.mark.parametrize(
    "error", [RuntimeError("no kernel"), MemoryError(), ZeroDivisionError("x"), ValueError("odd")]
)
def test_look_goes_on_after_a_probe_that_breaks(error):
    found, clock = looked(first=raising(error), labels=labels)
    assert found["first"].verdict == "failed"
    assert str(error).lower() in found["first"].told.lower()
    assert found["labels"].verdict == "leak"
    assert not clock.interrupted


def test_look_says_why_a_probe_does_not_apply():
    def of_library(situation):
        return du.analytic.separation.separate(situation.model, situation.shared)

    found, _ = looked(separation=of_library)
    assert found["separation"].verdict == "inapplicable"
    assert "batch of one" in found["separation"].told


def test_look_ends_at_an_interrupt_and_keeps_what_there_is():
    found, clock = looked(labels=labels, second=raising(KeyboardInterrupt()), third=labels)
    assert [f.verdict for f in found.values()] == ["leak", "not reached", "not reached"]
    assert "interrupted" in found["third"].told
    assert clock.interrupted


def test_look_begins_nothing_once_the_time_is_over():
    found, clock = looked(seconds=0.0, labels=labels)
    assert found["labels"].verdict == "not reached"
    assert "budget" in found["labels"].told
    assert not clock.interrupted


def test_look_tells_warnings():
    def probe(_):
        warnings.warn("the network is blind", stacklevel=1)
        return Finding("p", "quiet", "Nothing.")

    found, _ = looked(warning=probe)
    assert found["warning"].told == "Nothing. The network is blind."
    assert found["warning"].seconds >= 0


def test_audit_returns_what_there_is_at_ctrl_c(monkeypatch):
    """The search swallows Ctrl-C itself, and says so."""

    def interrupted(*args, watch=None, **settings):
        def interrupt(evaluations, *rest):
            if evaluations >= 5:
                raise KeyboardInterrupt
            return watch(evaluations, *rest)

        return invert(*args, watch=watch and interrupt, **settings)

    monkeypatch.setattr(search, "invert", interrupted)
    report = du.audit(MODEL, BATCH, protocol=du.Protocol(steps=3), budget=300)
    assert not report.complete
    found = {finding.probe: finding for finding in report.findings}
    assert found["gradient matching"].found is not None
    assert found["limit"].verdict == "not reached"
    assert report.best is not None
    assert report.advice == ()


def test_audit_returns_what_there_is_if_interrupted_before_the_search(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "invert", interrupted)
    report = du.audit(MODEL, BATCH, budget=60)
    found = {finding.probe: finding.verdict for finding in report.findings}
    assert not report.complete
    assert found["labels"] == "leak"
    assert found["feature matching"] == "not reached"


def test_audit_without_any_time_says_that_nothing_was_reached():
    report = du.audit(MODEL, BATCH, budget=0)
    assert {finding.verdict for finding in report.findings} == {"not reached"}
    assert report.best is None
    assert report.complete


def test_audit_keeps_to_its_budget():
    report = du.audit(MODEL, BATCH, protocol=du.Protocol(steps=20), budget=3)
    assert report.seconds < 30  # without a bound it takes minutes


def test_audit_takes_no_batch_apart_that_would_have_no_end():
    x = torch.rand(33, 3, 16, 16, generator=torch.Generator())
    secret = client_round(MODEL, du.Batch(x, torch.arange(33) % 4), torch.Generator())
    situation = Situation(MODEL, secret.shared, Clock(60))
    found = look({"separation": separation}, situation, secret)
    assert found[0].verdict == "inapplicable"
    assert "33 images apart takes many minutes" in found[0].told


def test_in_time_stops_a_reading_without_end():
    def endless(_):
        while True:
            torch.zeros(1)

    found, clock = looked(seconds=0.6, endless=in_time(endless, 0.5), labels=labels)
    assert found["endless"].verdict == "not reached"
    assert "Stopped after 0.3 s, its share of the budget" in found["endless"].told
    assert found["labels"].verdict == "leak"
    assert not clock.interrupted


def test_separation_that_was_stopped_is_not_begun_again(monkeypatch):
    calls = []

    def endless(*_):
        calls.append(1)
        while True:
            torch.zeros(1)

    monkeypatch.setattr(situation_module, "separate", endless)
    batch = du.Batch(BATCH.x.expand(2, -1, -1, -1), torch.tensor([1, 2]))
    secret = client_round(MODEL, batch, torch.Generator().manual_seed(0))
    situation = Situation(MODEL, secret.shared, Clock(0.2))
    first, second = look({"separation": separation, "features": features}, situation, secret)
    assert {first.verdict, second.verdict} == {"not reached"}
    assert situation.apart is None
    assert calls == [1]


def test_audit_stops_a_batch_that_does_not_come_apart_in_time():
    """It takes a dozen seconds where nothing else runs."""
    model = models.init_default(models.lenet((3, 16, 16), 20), torch.Generator().manual_seed(0))
    x = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    secret = client_round(model, du.Batch(x, torch.arange(16)), torch.Generator())
    situation = Situation(model, secret.shared, Clock(1.0))
    (found,) = look({"separation": separation}, situation, secret)
    assert found.verdict == "not reached"
    assert found.seconds < 3
