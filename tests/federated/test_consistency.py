"""Updates that are what their protocol says, and updates that are not."""

import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, mse_loss

from dlgutils import Protocol, attacks, invert, models, share
from dlgutils.federated import consistency
from dlgutils.federated.consistency import settle
from dlgutils.federated.defenses import defend, noise, unknown
from dlgutils.federated.readable import require_gradient
from dlgutils.types import Batch

X = torch.rand(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
Y = torch.tensor([2, 0, 1, 2])
ONE = Batch(X[:1], Y[:1])


def network(dtype=torch.float64):
    torch.manual_seed(1)
    return models.mlp((3, 8, 8), (20,), 10).to(dtype)


def times(shared, factor):
    return replace(shared, gradient={name: factor * g for name, g in shared.gradient.items()})


@given(scale=st.floats(1e-4, 1e4), sign=st.sampled_from([1, -1]))
def test_settle_reads_an_unknown_scale(scale, sign):
    honest = share(network(), ONE)
    unknown = replace(times(honest, sign * scale), protocol=Protocol(scale=None))
    known = settle(network(), unknown)
    assert known.protocol == Protocol()
    assert f"multiplied by {sign * scale:.4g}" in known.checked
    for name, g in known.gradient.items():
        torch.testing.assert_close(g, honest.gradient[name])


def test_settle_takes_out_a_known_scale_and_decay():
    model = network()
    honest = share(model, ONE)
    protocol = Protocol(scale=3.0, weight_decay=0.1, momentum=0.9)
    known = settle(network(), share(model, ONE, protocol=protocol))
    assert known.checked == settle(network(), honest).checked
    assert "one step of cross-entropy, as its protocol says" in known.checked
    for name, g in known.gradient.items():
        torch.testing.assert_close(g, honest.gradient[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [0.5, 1.01, -1.0, 32.0])
def test_settle_refuses_another_scale(factor, dtype):
    batch = Batch(ONE.x.to(dtype), ONE.y)
    wrong = times(share(network(dtype), batch), factor)
    with pytest.raises(ValueError, match=rf"{factor:.4g} times what its own features"):
        settle(network(), wrong)


def test_settle_refuses_several_steps_passed_as_one():
    shared = share(network(), ONE, protocol=Protocol(steps=5, lr=0.02))
    with pytest.raises(ValueError, match=r"no single step on one image .* rank [45].*steps=5"):
        settle(network(), replace(shared, protocol=Protocol()))


def test_settle_refuses_more_images_than_were_named():
    shared = share(network(), Batch(X, Y))
    assert settle(network(), shared).checked.startswith(
        "nothing contradicts one step on at most 4 images"
    )
    with pytest.raises(ValueError, match=r"on 3 images makes this gradient: .* rank 4"):
        settle(network(), replace(shared, x_shape=(3, 3, 8, 8)))


@pytest.mark.parametrize("sigma", [1e-4, 1e-2, 1.0])
def test_settle_takes_noise_for_noise(sigma, seeded):
    for batch in (ONE, Batch(X, Y)):
        shared = share(network(), batch)
        noisy = replace(shared, gradient=noise(sigma)(shared.gradient, seeded(0)))
        assert "noise" in settle(network(), noisy).checked
        told = defend(shared, [noise(sigma)], seeded(0))
        assert "changed on its way" in settle(network(), told).checked


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        (Protocol(steps=2), "2 local steps add up"),
        (Protocol(loss=partial(cross_entropy, label_smoothing=0.1)), "not plain cross-entropy"),
        (Protocol(sent=("body.0.weight",)), "was not shared"),
    ],
)
def test_settle_says_what_it_cannot_check(protocol, reason):
    shared = share(network(), ONE, protocol=protocol)
    assert reason in settle(network(), shared).checked


def test_invert_says_what_was_checked_and_matches_at_the_scale_that_was_read():
    model = network(torch.float32)
    batch = Batch(ONE.x.float(), ONE.y)
    honest = share(model, batch)
    unknown = replace(times(honest, 7.0), protocol=Protocol(scale=None))
    found = invert(model, [unknown, unknown], attacks.idlg, steps=5)
    assert found.checked.startswith("one image and one step of cross-entropy, multiplied by 7;")
    torch.testing.assert_close(found.loss, invert(model, [honest] * 2, attacks.idlg, steps=5).loss)


def test_invert_fits_a_scale_that_cannot_be_read(seeded):
    """Of a batch, the matching loss at the truth is zero whatever the scale."""
    model = network()
    unknown = replace(times(share(model, Batch(X, Y)), 7.0), protocol=Protocol(scale=None))
    told = replace(attacks.dlg, infer=lambda *_: attacks.Guess(y=Y))
    found = invert(model, unknown, told, seeded(0), start=X[None], steps=1)
    assert found.best_loss < 1e-20


def test_require_gradient_is_for_one_step_of_cross_entropy():
    model = network()
    with pytest.raises(ValueError, match=r"the client of this round took 3; attack it"):
        require_gradient(model, share(model, ONE, protocol=Protocol(steps=3)))
    regression = Batch(ONE.x, torch.zeros(1, 10, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"is for cross-entropy"):
        require_gradient(model, share(model, regression, protocol=Protocol(loss=mse_loss)))


def test_settle_refuses_steps_that_hardly_change_the_rank():
    """In single precision, three short steps leave one product but for 1e-5 of its length."""
    model = network(torch.float32)
    batch = Batch(ONE.x.float(), ONE.y)
    shared = share(model, batch, protocol=Protocol(steps=3, lr=0.04))
    with pytest.raises(ValueError, match=r"no single step of cross-entropy on one image"):
        settle(model, replace(shared, protocol=Protocol()))


def test_settle_refuses_smoothed_labels_that_were_not_announced():
    smoothed = Protocol(loss=partial(cross_entropy, label_smoothing=0.1))
    shared = share(network(), ONE, protocol=smoothed)
    with pytest.raises(ValueError, match=r"smoothed labels"):
        settle(network(), replace(shared, protocol=Protocol()))


@pytest.mark.parametrize("with_biases", [True, False])
def test_settle_does_not_judge_what_comes_after_the_last_layer(with_biases):
    class Sharpened(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return 3 * self.inner(x)

    model = Sharpened()
    if not with_biases:  # then an image of zeros has zeros as logits, times three or not
        model.inner = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
        torch.nn.init.zeros_(model.double().inner[1].bias)
    last = "fc" if with_biases else "1"
    assert f"does not end with inner.{last}" in settle(model, share(model, ONE)).checked


@pytest.mark.parametrize(("bias", "ahead"), [(20, 1.0), (40, 0.25), (40, 5.0), (40, 8.0)])
def test_settle_takes_the_positive_scale_where_two_classes_count(bias, ahead):
    """δ is (−a, a) then, a negative multiple of the δ of the other label too."""
    model = network(torch.float32)
    with torch.no_grad():
        model.fc.bias[0], model.fc.bias[1] = bias, bias + ahead
    honest = share(model, Batch(X[:1].float(), torch.tensor([0])))
    assert "one step of cross-entropy, as its protocol says" in settle(model, honest).checked
    unknown = replace(times(honest, 0.5), protocol=Protocol(scale=None))
    assert "multiplied by 0.5" in settle(model, unknown).checked


def test_settle_takes_soft_targets_for_what_they_are():
    """A soft target and several steps leave the same kind of δ: only the protocol tells them."""
    target = torch.tensor([[0.7, 0.3] + [0.0] * 8], dtype=torch.float64)
    shared = share(network(), Batch(ONE.x, target))
    assert shared.protocol.soft_targets
    assert "class ids" in settle(network(), shared).checked
    assert invert(network(), shared, attacks.dlg, steps=2).loss.isfinite().all()
    with pytest.raises(ValueError, match=r"soft_targets=True"):
        settle(network(), replace(shared, protocol=Protocol()))


def test_settle_wants_a_word_of_features_that_were_removed(seeded):
    shared = share(network(), ONE)
    kept = (torch.rand(20, generator=seeded(0)) > 0.5).double()
    pruned = {**shared.gradient, "fc.weight": shared.gradient["fc.weight"] * kept}
    with pytest.raises(ValueError, match=r"Protocol\(defenses=\(\.\.\.,\)\) if defences"):
        settle(network(), replace(shared, gradient=pruned))
    told = replace(shared, gradient=pruned, protocol=Protocol(defenses=(unknown(),)))
    assert "changed on its way" in settle(network(), told).checked


def test_settle_returns_a_settled_round_and_settles_every_changed_copy():
    shared = share(network(), ONE)
    once = settle(network(), shared)
    assert settle(network(), once) is once
    assert (shared.checked, replace(once, sent_as=torch.float32).checked) == ("", "")
    with pytest.raises(ValueError, match=r"0\.5 times what its own features"):
        settle(network(), times(once, 0.5))


@pytest.mark.parametrize("attack", [attacks.mask_reading, attacks.features], ids=lambda a: a.name)
def test_invert_settles_each_round_once(attack, monkeypatch):
    """Its readings, and restarts on the same round, take what was settled before."""
    looked_at = []
    why_not = consistency._why_not_checked

    def counted(model, shared):
        looked_at.append(shared)
        return why_not(model, shared)

    monkeypatch.setattr(consistency, "_why_not_checked", counted)
    model = network()
    invert(model, [share(model, ONE)] * 3, attack, steps=1)
    assert len(looked_at) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("decay", [1e-4, 5e-4, 1e-2, 1.0])
@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("client", [{}, {"steps": 5}, {"steps": 5, "momentum": 0.9}])
def test_settle_names_weight_decay_that_the_protocol_does_not(client, images, decay, dtype):
    told = Protocol(**client, lr=0.01, weight_decay=decay)
    batch = Batch(X[:images].to(dtype), Y[:images])
    shared = share(network(dtype), batch, protocol=told)
    assert settle(network(dtype), shared).checked
    silent = replace(shared, protocol=replace(told, weight_decay=0.0))
    with pytest.raises(ValueError, match=r"has weight decay in it") as error:
        settle(network(dtype), silent)
    named = float(re.search(r"weight_decay=([\d.e-]+)", str(error.value))[1])
    assert named == pytest.approx(decay, rel=0.03 + 0.1 * decay)


def test_settle_names_the_whole_decay_where_a_part_was_declared():
    shared = share(network(), ONE, protocol=Protocol(weight_decay=0.03))
    with pytest.raises(ValueError, match=r"weight_decay=0\.03\), or another scale"):
        settle(network(), replace(shared, protocol=Protocol(weight_decay=0.01)))


@pytest.mark.parametrize("seed", range(8))
def test_settle_does_not_take_noise_for_decay(seed, seeded):
    shared = share(network(torch.float32), Batch(X.float(), Y))
    gradient = noise(1e-3)(shared.gradient, seeded(seed))
    assert "noise" in settle(network(torch.float32), replace(shared, gradient=gradient)).checked
