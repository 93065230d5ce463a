"""The lab as the kernel runs it; the engine of the page is tested in a browser."""

import time
import zlib

import numpy as np
import pytest
import torch

from dlgutils import data, invert, javascript, models, widgets
from dlgutils.federated import honest

CAT = data.photos("cat")
RECIPES = {recipe.name: recipe for recipe in javascript.ATTACKS}


@pytest.fixture
def lab(monkeypatch):
    """A lab whose messages to the page are kept in `sent`; stopped at the end, whatever happens."""
    lab = widgets.lab()
    lab.sent = []

    def send(content, buffers=None):
        lab.sent.append((content, buffers))

    monkeypatch.setattr(lab, "send", send)
    yield lab
    lab._handle_custom_msg({"kind": "stop"}, [])
    lab.wait(30)


def run(shared, attack, *, rate=0.0, steps=5, label=None, mask=None):
    """What the page sends when its reader presses Run with a kernel: a message and its buffers."""
    arrays = {f"weights.{name}": t for name, t in shared.weights.items()}
    arrays |= {f"gradient.{name}": t for name, t in shared.gradient.items()}
    message = {
        "kind": "run",
        "run": 7,
        "attack": attack,
        "rate": rate,
        "steps": steps,
        "seed": 0,
        "names": list(arrays),
        "label": label,
    }
    if mask is not None:
        message["mask"] = mask.flatten().tolist()
    return message, [memoryview(t.numpy().tobytes()) for t in arrays.values()]


@pytest.fixture
def shared(seeded):
    """What a client shares of the cat, without dropout."""
    return honest(models.lenet(), CAT, seeded(3)).shared


def test_lab_offers_every_photograph_and_attack(lab):
    pictures = zlib.decompress(lab.images)
    cat = np.frombuffer(pictures, np.uint8).reshape(-1, 32, 32, 3)[1]
    assert lab.photos == list(data.class_names("photos"))
    assert lab.attacks == ["iDLG", "iDLG, mask read", "DLG", "iDLG, fresh masks"]
    assert (cat == (CAT.x[0] * 255).round().byte().permute(1, 2, 0).numpy()).all()
    assert (lab.photo, lab.label) == ("cat", "cat")
    assert (lab.weights, lab.rate, lab.engine) == ("default", 0.0, "page")


def test_lab_opens_with_what_is_chosen():
    lab = widgets.lab("coffee", rate=0.5, attack="iDLG, mask read", weights="wide")
    assert (lab.photo, lab.label, lab.rate) == ("coffee", "coffee", 0.5)
    assert (lab.attack, lab.weights, lab.steps) == ("iDLG, mask read", "wide", 300)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"photo": "dog"}, "no photo 'dog'; choose one of astronaut, cat"),
        ({"attack": "magic"}, "no attack 'magic'; choose one of iDLG, iDLG, mask read"),
        ({"weights": "small"}, "no weights 'small'; choose one of default, wide"),
        ({"rate": 0.25}, "no rate 0.25; choose one of 0.0, 0.1, "),
        ({"steps": 0}, "from 1 to 5000 steps, got 0; du.invert takes more"),
    ],
    ids=str,
)
def test_lab_refuses_what_cannot_be_chosen(choice, message):
    with pytest.raises(ValueError, match=message):
        widgets.lab(**choice)


@pytest.mark.parametrize("attack", ["iDLG", "iDLG, mask read", "DLG"])
def test_lab_runs_in_the_kernel_what_the_library_runs(lab, seeded, attack):
    recipe = RECIPES[attack]
    model, _, shared, _ = honest(models.lenet(dropout=0.5), CAT, seeded(3))
    read = recipe.infer(model, shared)
    label = None if read.y is None else int(read.y)
    mask = read.masks.get("dropout.mask")
    lab._handle_custom_msg(*run(shared, attack, rate=0.5, label=label, mask=mask))
    lab.wait(60)
    by_hand = invert(model, shared, recipe, seeded(0), steps=5)
    torch.testing.assert_close(lab.result.loss, by_hand.loss)
    report, (x,) = lab.sent[-1]
    assert (report["kind"], report["run"], report["evaluation"]) == ("done", 7, 5)
    assert report["loss"] == float(lab.result.best_loss)
    assert x == lab.result.x[0].numpy().tobytes()


def test_lab_ends_a_run_early_at_stop(lab, shared):
    lab._handle_custom_msg(*run(shared, "iDLG", steps=5000, label=1))
    while not lab.sent:
        assert lab._thread.is_alive()
        time.sleep(0.05)
    lab._handle_custom_msg({"kind": "stop"}, [])
    lab.wait(60)
    assert not lab.result.complete
    assert 0 < lab.result.loss.shape[1] < 5000


def test_lab_ends_a_run_when_a_new_one_begins(lab, shared):
    lab._handle_custom_msg(*run(shared, "iDLG", steps=5000, label=1))
    lab._handle_custom_msg(*run(shared, "iDLG", steps=4, label=1))
    lab.wait(60)
    assert lab.result.complete
    assert lab.result.loss.shape == (1, 4)


def test_lab_explains_a_run_that_cannot_be_and_stays_usable(lab, shared):
    lab._handle_custom_msg(*run(shared, "iDLG", steps=0, label=1))
    lab.wait(60)
    ((report, _),) = lab.sent
    assert report["kind"] == "failed"
    assert "at least 1 of steps, got 0" in report["message"]
    lab._handle_custom_msg(*run(shared, "iDLG", steps=2, label=1))
    lab.wait(60)
    assert lab.result.complete


def test_lab_lets_the_page_know_of_the_kernel(lab):
    lab._handle_custom_msg({"kind": "hello"}, [])
    assert lab.sent == [({"kind": "kernel"}, None)]
