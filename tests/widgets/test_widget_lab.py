"""The lab as the kernel runs it; the engine of the page is tested in a browser."""

import time
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from dlgutils import data, invert, javascript, models, widgets
from dlgutils.federated import defenses, honest
from dlgutils.javascript import page_defenses, page_functions
from dlgutils.matching import weighing_noise
from dlgutils.protocol import Protocol
from dlgutils.types import Guess
from dlgutils.widgets.trained import trained_networks

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


def run(shared, attack, *, labels=None, mask=None, **settings):
    """What the page sends when its reader presses Run with a kernel: a message and its buffers."""
    arrays = {f"weights.{name}": t for name, t in shared.weights.items()}
    arrays |= {f"gradient.{name}": t for name, t in shared.gradient.items()}
    message = {
        "kind": "run",
        "run": 7,
        "attack": attack,
        "batch": shared.x_shape[0],
        "activation": "sigmoid",
        "rate": 0.0,
        "defense": "none",
        "knows": False,
        "steps": 5,
        "seed": 0,
        **settings,
        "names": list(arrays),
        "labels": labels,
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
    assert lab.photos[:12] == list(data.class_names("photos"))
    assert lab.photos[12:] == list(trained_networks().names)
    assert len(pictures) == 24 * 3 * 32 * 32
    assert lab.attacks == ["iDLG", "iDLG, mask read", "DLG", "iDLG, fresh masks", "Features"]
    assert (cat == (CAT.x[0] * 255).round().byte().permute(1, 2, 0).numpy()).all()
    assert (lab.photo, lab.label) == ("cat", "cat")
    assert (lab.weights, lab.rate, lab.engine) == ("default", 0.0, "page")
    assert (lab.batch, lab.activation) == (1, "sigmoid")
    assert lab.defenses == ["none", *page_defenses.DEFENSES]
    assert (lab.defense, lab.knows) == ("none", False)


def test_lab_carries_trained_networks_that_know_fruits_they_have_not_seen(lab):
    names, images, weights = trained_networks()
    sent = np.frombuffer(zlib.decompress(lab.trained), "<f4").reshape(2, -1)
    for numbers, (activation, tensors) in zip(sent, weights.items(), strict=True):
        flat = torch.cat([t.flatten() for t in tensors.values()])
        assert (torch.from_numpy(numbers.copy()) == flat).all()
        model = models.lenet(activation=page_functions.ACTIVATIONS[activation])
        right = functional_call(model, tensors, (images,)).argmax(1) == torch.arange(12)
        assert right.sum() >= 6
    assert len(names) == 12


def test_lab_opens_with_what_is_chosen():
    lab = widgets.lab("coffee", rate=0.5, attack="iDLG, mask read", weights="wide")
    assert (lab.photo, lab.label, lab.rate) == ("coffee", "coffee", 0.5)
    assert (lab.attack, lab.weights, lab.steps) == ("iDLG, mask read", "wide", 300)
    defended = widgets.lab(defense="signs only", knows=True)
    assert (defended.defense, defended.knows) == ("signs only", True)


def test_lab_reports_a_class_that_the_network_knows():
    lab = widgets.lab("orange", batch=4, activation="relu", weights="trained")
    assert (lab.label, lab.batch, lab.activation) == ("orange", 4, "relu")
    place = trained_networks().names.index("orange")
    assert widgets.lab("orange").label == data.class_names("photos")[place]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"photo": "dog"}, "no photo 'dog'; choose one of astronaut, cat"),
        ({"attack": "magic"}, "no attack 'magic'; choose one of iDLG, iDLG, mask read"),
        ({"weights": "small"}, "no weights 'small'; choose one of default, wide, trained"),
        ({"batch": 3}, "no batch 3; choose one of 1, 2, 4"),
        ({"activation": "tanh"}, "no activation 'tanh'; choose one of sigmoid, relu"),
        ({"rate": 0.25}, "no rate 0.25; choose one of 0.0, 0.1, "),
        ({"defense": "prayer"}, "no defense 'prayer'; choose one of none, clipped to length 1"),
        ({"knows": "yes"}, "knows is True or False, got 'yes'"),
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
    labels = None if read.y is None else read.y.tolist()
    mask = read.masks.get("dropout.mask")
    lab._handle_custom_msg(*run(shared, attack, rate=0.5, labels=labels, mask=mask))
    lab.wait(60)
    by_hand = invert(model, shared, recipe, seeded(0), steps=5)
    torch.testing.assert_close(lab.result.loss, by_hand.loss)
    report, (x,) = lab.sent[-1]
    assert (report["kind"], report["run"], report["evaluation"]) == ("done", 7, 5)
    assert report["loss"] == float(lab.result.best_loss)
    assert x == lab.result.x[0].numpy().tobytes()


def test_lab_runs_a_batch_in_the_kernel_with_a_smooth_copy_of_relu(lab, seeded):
    photos = data.photos("cat", "coffee")
    model, _, shared, _ = honest(models.lenet(activation=nn.ReLU), photos, seeded(3))
    lab._handle_custom_msg(*run(shared, "iDLG", activation="relu", labels=photos.y.tolist()))
    lab.wait(60)
    told = replace(RECIPES["iDLG"], infer=lambda *_: Guess(y=photos.y))
    by_hand = invert(models.smooth_relu(model), shared, told, seeded(0), steps=5)
    torch.testing.assert_close(lab.result.loss, by_hand.loss)
    assert lab.result.x.shape == (1, 2, 3, 32, 32)


DEFENDED = ["largest 10 % kept", "noise, σ = 10⁻⁴"]


@pytest.mark.parametrize("name", DEFENDED)
@pytest.mark.parametrize("knows", [False, True])
def test_lab_runs_in_the_kernel_an_attacker_who_knows_the_defense_or_not(
    lab, shared, seeded, name, knows
):
    defense = page_defenses.DEFENSES[name]
    sent = replace(shared, gradient=defense(shared.gradient, seeded(4)))
    message = run(sent, "iDLG", labels=[1], defense=name, knows=knows)
    lab._handle_custom_msg(*message)
    lab.wait(60)
    told = replace(RECIPES["iDLG"], infer=lambda *_: Guess(y=torch.tensor([1])))
    protocol = Protocol(defenses=(defense if knows else defenses.unknown(),))
    if knows and defense.sigma:
        told = weighing_noise(told, defense.sigma)
    model = models.lenet()
    by_hand = invert(model, replace(sent, protocol=protocol), told, seeded(0), steps=5)
    torch.testing.assert_close(lab.result.loss, by_hand.loss)


def test_lab_ends_a_run_early_at_stop(lab, shared):
    lab._handle_custom_msg(*run(shared, "iDLG", steps=5000, labels=[1]))
    while not lab.sent:
        assert lab._thread.is_alive()
        time.sleep(0.05)
    lab._handle_custom_msg({"kind": "stop"}, [])
    lab.wait(60)
    assert not lab.result.complete
    assert 0 < lab.result.loss.shape[1] < 5000


def test_lab_ends_a_run_when_a_new_one_begins(lab, shared):
    lab._handle_custom_msg(*run(shared, "iDLG", steps=5000, labels=[1]))
    lab._handle_custom_msg(*run(shared, "iDLG", steps=4, labels=[1]))
    lab.wait(60)
    assert lab.result.complete
    assert lab.result.loss.shape == (1, 4)


def test_lab_explains_a_run_that_cannot_be_and_stays_usable(lab, shared):
    lab._handle_custom_msg(*run(shared, "iDLG", steps=0, labels=[1]))
    lab.wait(60)
    ((report, _),) = lab.sent
    assert report["kind"] == "failed"
    assert "at least 1 of steps, got 0" in report["message"]
    lab._handle_custom_msg(*run(shared, "iDLG", steps=2, labels=[1]))
    lab.wait(60)
    assert lab.result.complete


def test_lab_lets_the_page_know_of_the_kernel(lab):
    lab._handle_custom_msg({"kind": "hello"}, [])
    assert lab.sent == [({"kind": "kernel"}, None)]
