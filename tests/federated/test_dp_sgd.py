"""DP-SGD by Opacus: clipped example by example, noised, counted; and what must not be called so."""

import copy
import importlib
import math
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy, linear

from dlgutils import Batch, Protocol, attacks, data, invert, models, share
from dlgutils.analytic import closed_form, masks
from dlgutils.federated import defenses, dp_sgd
from dlgutils.types import Guess

MODEL = models.init_default(models.lenet((1, 8, 8), 4), torch.Generator().manual_seed(0)).double()
X = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1)).double()
BATCH = Batch(X, torch.tensor([0, 1, 2, 3, 3]))
ONE = Batch(X[:1], BATCH.y[:1])
CLIP = 0.3  # shorter than some of these gradients, longer than others


def gradients_of_examples():
    """{name: (batch, ...)} by torch.func alone."""

    def loss(weights, x, y):
        return cross_entropy(functional_call(MODEL, weights, (x[None],)), y[None])

    return vmap(grad(loss), (None, 0, 0))(models.weights(MODEL), *BATCH)


def test_private_round_clips_each_example(seeded):
    each = gradients_of_examples()
    norms = sum(g.flatten(1).square().sum(1) for g in each.values()).sqrt()
    clip = float(norms.median())
    factors = (clip / norms).clamp(max=1)
    assert 0 < (factors < 1).sum() < len(norms)
    shared = dp_sgd.private_round(MODEL, BATCH, seeded(0), max_grad_norm=clip, noise_multiplier=0.0)
    for name, g in each.items():
        expected = torch.einsum("i,i...->...", factors, g) / len(norms)
        torch.testing.assert_close(shared.gradient[name], expected, rtol=1e-4, atol=1e-9)
    assert shared.protocol == Protocol(example_norm=clip)


def test_private_round_is_what_the_protocol_says(seeded):
    """Opacus adds 1e-6 to a length before it divides by it; otherwise the same, with no noise."""
    by_opacus = dp_sgd.private_round(
        MODEL, BATCH, seeded(0), max_grad_norm=CLIP, noise_multiplier=0.0
    )
    ours = share(MODEL, BATCH, protocol=by_opacus.protocol)
    for name, g in ours.gradient.items():
        torch.testing.assert_close(g, by_opacus.gradient[name], rtol=1e-4, atol=1e-12)


def test_private_round_has_noise_of_the_size_that_it_tells(seeded):
    options = {"max_grad_norm": CLIP}
    silent = dp_sgd.private_round(MODEL, BATCH, seeded(0), noise_multiplier=0.0, **options)
    noisy = dp_sgd.private_round(MODEL, BATCH, seeded(0), noise_multiplier=2.0, **options)
    added = [(noisy.gradient[name] - g).flatten() for name, g in silent.gradient.items()]
    assert noisy.protocol.sigma == pytest.approx(2.0 * CLIP / 5)
    assert torch.cat(added).std() == pytest.approx(noisy.protocol.sigma, rel=0.05)


def test_attacker_repeats_the_clipping_of_each_example(seeded):
    """At the true batch the loss is zero, but for Opacus' 1e-6 of a length."""
    seen = dp_sgd.private_round(MODEL, BATCH, seeded(0), max_grad_norm=CLIP, noise_multiplier=0.0)
    told = replace(attacks.dlg, infer=lambda *_: Guess(y=BATCH.y), transform=None)
    found = invert(MODEL, seen, told, seeded(0), start=X[None], steps=1)
    assert found.loss[0, 0] < 1e-9
    assert "each image's gradient was clipped" in found.checked
    naive = replace(seen, protocol=Protocol(defenses=(defenses.unknown(),)))
    assert invert(MODEL, naive, told, seeded(0), start=X[None], steps=1).loss[0, 0] > 1e-3


def test_one_private_image_is_read_through_clip_and_noise(seeded):
    seen = dp_sgd.private_round(MODEL, ONE, seeded(0), max_grad_norm=0.1, noise_multiplier=1e-3)
    reading = masks.read(MODEL, seen)
    honest = masks.read(MODEL, share(MODEL, ONE))
    assert reading.y.equal(honest.y)
    torch.testing.assert_close(reading.features, honest.features, rtol=0.1, atol=0.1)
    torch.testing.assert_close(reading.delta, honest.delta, rtol=0.1, atol=0.02)
    assert closed_form.recover(MODEL, seen).x.isfinite().all()


def test_readings_refuse_a_batch_of_clipped_examples(seeded):
    seen = dp_sgd.private_round(MODEL, BATCH, seeded(0), max_grad_norm=CLIP, noise_multiplier=0.0)
    with pytest.raises(ValueError, match=r"each of the 5 images' gradients was clipped"):
        masks.read(MODEL, seen)


def test_clipping_of_each_example_goes_with_masks_steps_and_sums(seeded):
    model = models.lenet((1, 8, 8), 4, dropout=0.5).double()
    model = models.init_default(model, seeded(0))
    summed = partial(cross_entropy, reduction="sum")
    protocol = Protocol(example_norm=CLIP, loss=summed, steps=2, batch_size=3)
    drawn = models.draw_masks(model, protocol.visits(5), seeded(1))
    seen = share(model, BATCH, masks=drawn, protocol=protocol)
    told = replace(attacks.dlg, infer=lambda *_: Guess(y=BATCH.y, masks=drawn), transform=None)
    assert invert(model, seen, told, seeded(0), start=X[None], steps=1).loss[0, 0] < 1e-24


@pytest.fixture(scope="module")
def trained():
    """A small network after two private epochs on 1 000 fruits, with ε = 8."""
    x, y = data.fruits()
    batch = Batch(x[:1000, :, ::4, ::4].contiguous(), y[:1000])
    model = models.init_default(
        models.mlp((3, 8, 8), (32,), 14, activation=nn.ReLU), torch.Generator().manual_seed(0)
    )
    options = {"delta": 1e-4, "sample_rate": 0.1, "steps": 20}
    noise = dp_sgd.noise_multiplier_for(8.0, **options)
    train = partial(dp_sgd.train, model, batch, epochs=2, batch_size=100, noise_multiplier=noise)
    return model, batch, train, options


def test_train_counts_as_the_accountant_does(trained, seeded):
    model, batch, train, options = trained
    before = {name: w.clone() for name, w in model.state_dict().items()}
    private = train(generator=seeded(0), delta=options["delta"])
    assert (private.sample_rate, private.steps) == (options["sample_rate"], options["steps"])
    spent = dp_sgd.epsilon(private.noise_multiplier, **options)
    assert private.epsilon == pytest.approx(spent, rel=1e-6)
    assert 7.9 < private.epsilon <= 8
    assert all(w.equal(before[name]) for name, w in model.state_dict().items())
    assert private.model.state_dict().keys() == before.keys()
    accuracy = (private.model(batch.x).argmax(1) == batch.y).float().mean()
    assert accuracy > 0.2  # the largest class has 13 % of them


def test_train_follows_its_generator(trained, seeded):
    _, _, train, _ = trained
    state = torch.get_rng_state()
    first, second, other = (train(generator=seeded(k)).model.state_dict() for k in (0, 0, 1))
    assert all(w.equal(second[name]) for name, w in first.items())
    assert not all(w.equal(other[name]) for name, w in first.items())
    assert state.equal(torch.get_rng_state())


def test_train_without_noise_promises_nothing(seeded):
    found = dp_sgd.train(
        MODEL, BATCH, seeded(0), epochs=1, batch_size=2, noise_multiplier=0.0, max_grad_norm=1e3
    )
    assert math.isinf(found.epsilon)


@pytest.mark.parametrize("epsilon", [0.5, 8.0, 100.0, 1000.0])
def test_noise_multiplier_for_reaches_every_epsilon(epsilon):
    options = {"delta": 1e-5, "sample_rate": 0.05, "steps": 400}
    noise = dp_sgd.noise_multiplier_for(epsilon, **options)
    assert 0.98 * epsilon < dp_sgd.epsilon(noise, **options) <= epsilon


def test_noise_multiplier_for_says_that_an_epsilon_cannot_be_reached():
    with pytest.raises(ValueError, match=r"no noise reaches ε = 1e-09 .*allow a larger ε"):
        dp_sgd.noise_multiplier_for(1e-9, delta=1e-12, sample_rate=1.0, steps=10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delta", 1.0),
        ("delta", 0.0),
        ("sample_rate", 1.5),
        ("steps", 0),
        ("steps", 2.5),
        ("noise_multiplier", -1.0),
        ("noise_multiplier", math.nan),
    ],
)
def test_epsilon_refuses_numbers_out_of_range(name, value):
    numbers = {"noise_multiplier": 1.0, "delta": 1e-5, "sample_rate": 0.1, "steps": 10}
    with pytest.raises(ValueError, match=rf"{name} is .*, got {value}"):
        dp_sgd.epsilon(**{**numbers, name: value})


def test_epsilon_of_one_gaussian_release():
    """z = 1, one step, no sampling: ε(δ = 1e-5) of the Gaussian mechanism is 4.4 (Rényi: 5.3)."""
    assert 4.3 < dp_sgd.epsilon(1.0, delta=1e-5, sample_rate=1.0, steps=1) < 5.4
    assert math.isinf(dp_sgd.epsilon(0.0, delta=1e-5, sample_rate=1.0, steps=1))


def test_client_level_is_told_from_the_row_of_defenses():
    row = [defenses.top_k(0.5), defenses.clip(2.0), defenses.noise(6.0), defenses.quantized(8)]
    once = {"delta": 1e-5, "sample_rate": 0.1}
    of_sum = dp_sgd.epsilon_of_sum(row, rounds=10, **once)
    assert of_sum == pytest.approx(dp_sgd.epsilon(3.0, steps=10, **once))
    alone = dp_sgd.epsilon_of_client(row, delta=1e-5)
    assert alone == pytest.approx(dp_sgd.epsilon(1.5, delta=1e-5, sample_rate=1.0, steps=1))
    twice = [defenses.clip(2.0), defenses.noise(3.6), defenses.noise(4.8)]
    assert dp_sgd.epsilon_of_client(twice, delta=1e-5) == pytest.approx(alone)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([defenses.noise(1.0)], r"no clip before it: .* not differential privacy; clip first"),
        ([defenses.noise(1.0), defenses.clip(1.0)], r"no clip before it"),
        ([defenses.clip(1.0), defenses.sign(), defenses.noise(1.0)], r"no clip before it"),
        ([defenses.clip(1.0), defenses.laplace(1.0)], r"is not Gaussian"),
        ([defenses.clip(1.0)], r"no noise among these defences"),
        ([], r"no noise among these defences"),
        ([defenses.clip(1.0), defenses.noise(1.0), defenses.unknown()], r"comes after the noise"),
    ],
)
def test_what_is_not_differentially_private_has_no_epsilon(row, reason):
    with pytest.raises(ValueError, match=reason):
        dp_sgd.epsilon_of_client(row, delta=1e-5)
    with pytest.raises(ValueError, match=reason):
        dp_sgd.epsilon_of_sum(row, delta=1e-5, sample_rate=0.1, rounds=3)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.BatchNorm2d(1), r"0 is a BatchNorm2d, which mixes .*ModuleValidator\.fix"),
        (nn.Dropout(0.5), r"0 is dropout, whose masks are not drawn here"),
        (models.Dropout(0.5, (1, 8, 8)), r"0 is dropout"),
        (
            nn.InstanceNorm2d(1, affine=True, track_running_stats=True),
            r"0 is InstanceNorm2d with track_running_stats: .* track_running_stats=False",
        ),
        (nn.InstanceNorm2d(1, track_running_stats=True), r"with track_running_stats"),
    ],
)
def test_dp_sgd_refuses_a_model_that_it_cannot_train(layer, reason, seeded):
    model = nn.Sequential(layer, MODEL)
    with pytest.raises(ValueError, match=reason):
        dp_sgd.train(model, BATCH, seeded(0), epochs=1, batch_size=2, noise_multiplier=1.0)
    with pytest.raises(ValueError, match=reason):
        dp_sgd.private_round(model, BATCH, seeded(0), max_grad_norm=1.0, noise_multiplier=1.0)


class ByHand(nn.Module):
    """A linear layer whose weight is used, but which is not called; and one that is not used."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 4)
        self.other = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, x):
        """Logits."""
        return linear(x.flatten(1), self.fc.weight, self.fc.bias)


def test_dp_sgd_refuses_layers_that_are_not_called(seeded):
    model = ByHand().double()
    message = r"the layer of fc\.weight, fc\.bias is not called .*self\.layer\(x\)"
    with pytest.raises(ValueError, match=message):
        dp_sgd.train(model, BATCH, seeded(0), epochs=1, batch_size=2, noise_multiplier=1.0)
    with pytest.raises(ValueError, match=message):
        dp_sgd.private_round(model, BATCH, seeded(0), max_grad_norm=1.0, noise_multiplier=1.0)
    assert not any(layer._forward_pre_hooks for layer in model.modules())


class Own(nn.Module):
    """A linear layer of one's own, whose parameters belong to the model."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 64, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        """Logits."""
        return linear(x.flatten(1), self.weight)


CLIPPED = {
    "weight of one's own": Own,
    "instances": lambda: nn.Sequential(
        nn.InstanceNorm2d(1, affine=True), nn.Flatten(), nn.Linear(64, 4)
    ),
    "in place": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(inplace=True)),
}


@pytest.mark.parametrize("make", CLIPPED.values(), ids=CLIPPED)
def test_private_round_is_what_the_protocol_says_of_other_models(seeded, make):
    model = make().double()
    found = dp_sgd.private_round(model, BATCH, seeded(0), max_grad_norm=CLIP, noise_multiplier=0.0)
    wanted = share(model, BATCH, protocol=Protocol(example_norm=CLIP))
    torch.testing.assert_close(found.gradient, wanted.gradient)


def test_what_opacus_does_not_take_is_refused_with_its_reasons(monkeypatch, seeded):
    def refuse(_):
        raise NotImplementedError("no such layer")

    monkeypatch.setattr(dp_sgd.training, "GradSampleModule", refuse)
    with pytest.raises(
        ValueError, match=r"Opacus cannot train .*: no such layer; use other layers"
    ):
        dp_sgd.private_round(MODEL, BATCH, seeded(0), max_grad_norm=1.0, noise_multiplier=1.0)


def test_the_way_out_of_batch_norm_works(seeded):
    from opacus.validators import ModuleValidator

    model = nn.Sequential(nn.BatchNorm2d(1), copy.deepcopy(MODEL)).float()
    fixed = ModuleValidator.fix(model)
    batch = Batch(X.float(), BATCH.y)
    seen = dp_sgd.private_round(fixed, batch, seeded(0), max_grad_norm=1.0, noise_multiplier=1.0)
    assert all(g.isfinite().all() for g in seen.gradient.values())


def test_absent_opacus_is_an_error_that_names_the_extra(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("dlgutils.federated.dp_sgd")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(ImportError, match=r'install the extra: pip install "dlgutils\[dp\]"'):
        importlib.import_module("dlgutils.federated.dp_sgd")


def test_train_survives_steps_without_examples(seeded):
    """Poisson sampling of one of five on average: a third of all steps get none."""
    found = dp_sgd.train(MODEL, BATCH, seeded(0), epochs=4, batch_size=1, noise_multiplier=1.0)
    assert found.steps == 20
    assert all(w.isfinite().all() for w in found.model.state_dict().values())


def test_private_round_leaves_the_model_and_global_noise_alone(seeded):
    before = {name: w.clone() for name, w in MODEL.state_dict().items()}
    state = torch.get_rng_state()
    shared = dp_sgd.private_round(MODEL, BATCH, seeded(0), max_grad_norm=CLIP, noise_multiplier=1.0)
    again = dp_sgd.private_round(MODEL, BATCH, seeded(0), max_grad_norm=CLIP, noise_multiplier=1.0)
    assert all(g.equal(again.gradient[name]) for name, g in shared.gradient.items())
    assert all(w.equal(before[name]) for name, w in MODEL.state_dict().items())
    assert all(p.grad is None for p in MODEL.parameters())
    assert state.equal(torch.get_rng_state())


def test_private_round_tells_of_soft_targets(seeded):
    soft = Batch(X, torch.full((5, 4), 0.25, dtype=torch.float64))
    seen = dp_sgd.private_round(MODEL, soft, seeded(0), max_grad_norm=CLIP, noise_multiplier=1.0)
    assert seen.protocol.soft_targets
    assert not seen.protocol.is_cross_entropy


@pytest.mark.parametrize("generator", [None, 0])
def test_private_training_asks_for_a_generator(generator):
    with pytest.raises(ValueError, match=r"from a generator and .* came"):
        dp_sgd.private_round(MODEL, BATCH, generator, max_grad_norm=1.0, noise_multiplier=1.0)
    with pytest.raises(ValueError, match=r"from a generator and .* came"):
        dp_sgd.train(MODEL, BATCH, generator, epochs=1, batch_size=2, noise_multiplier=1.0)


def test_private_round_refuses_what_it_cannot_clip(seeded):
    options = {"max_grad_norm": 1.0, "noise_multiplier": 1.0}
    frozen = copy.deepcopy(MODEL).requires_grad_(False)
    with pytest.raises(ValueError, match=r"no parameter of this model is trained"):
        dp_sgd.private_round(frozen, BATCH, seeded(0), **options)
    with pytest.raises(ValueError, match=r"images are a tensor"):
        dp_sgd.private_round(MODEL, Batch(X.tolist(), BATCH.y), seeded(0), **options)


def test_epsilon_is_not_negative():
    """The bound of Rényi's accountant is, where δ is large."""
    assert dp_sgd.epsilon(1.0, delta=0.5, sample_rate=0.1, steps=1) == 0.0
    assert dp_sgd.epsilon(10.0, delta=0.15, sample_rate=0.5, steps=2) == 0.0


class MixesByHand(nn.Module):
    """A network that takes the mean image off each image."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 4)

    def forward(self, x):
        x = x.flatten(1)
        return self.fc(x - x.mean(0))


def test_a_model_that_mixes_its_images_by_hand_has_no_private_round(seeded):
    batch = Batch(torch.rand(4, 1, 8, 8, generator=seeded(0)), torch.arange(4))
    with pytest.raises(ValueError, match="when another one is beside it"):
        dp_sgd.private_round(
            MixesByHand(), batch, seeded(0), max_grad_norm=1.0, noise_multiplier=1.0
        )


def test_a_delta_that_lets_one_example_out_is_refused(seeded):
    options = {"epochs": 1, "batch_size": 2, "noise_multiplier": 10.0, "delta": 0.5}
    with pytest.raises(ValueError, match=r"below one over the number of examples, 1/\d+, got 0\.5"):
        dp_sgd.train(MODEL, BATCH, seeded(0), **options)
