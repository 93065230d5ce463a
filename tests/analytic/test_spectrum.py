"""The spectrum of image -> update has known answers, and says what it did not compute."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlgutils import Batch, federated, models, share
from dlgutils.analytic import jacobian
from dlgutils.analytic.jacobian import information_root, linearise
from dlgutils.analytic.spectrum import spectrum
from dlgutils.federated import defenses
from dlgutils.protocol import Protocol
from dlgutils.types import Guess

PIXELS = 16  # of a grey image of 4×4


def one_image(seed=0, batch=1):
    """Random grey images of 4×4 pixels in float64, of three classes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, 1, 4, 4, generator=generator, dtype=torch.float64)
    return Batch(x, torch.randint(3, (batch,), generator=generator))


def linear(seed=0, *before):
    """A linear classifier of three classes, with these layers before it."""
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(seed)
        model = nn.Sequential(*before, nn.Flatten(), nn.LazyLinear(3))
        model(torch.zeros(1, 1, 4, 4))
    return model.double()


def by_hand(model, batch):
    """JᵀJ of one linear layer: (1 + ‖x‖²) WᵀS²W + ‖δ‖² I + WᵀSδ xᵀ + x δᵀSW, S = diag(p) − ppᵀ."""
    weight, bias = (p.detach() for p in model.parameters())
    x = batch.x.flatten()
    p = (weight @ x + bias).softmax(0)
    delta = p - nn.functional.one_hot(batch.y[0], 3)
    moved = (p.diag() - p.outer(p)) @ weight
    cross = (moved.T @ delta).outer(x)
    own = delta.dot(delta) * torch.eye(PIXELS, dtype=torch.float64)
    return (1 + x.dot(x)) * moved.T @ moved + own + cross + cross.T


@given(st.integers(0, 10**6))
def test_spectrum_of_a_linear_layer_is_the_one_computed_by_hand(seed):
    model, batch = linear(seed), one_image(seed)
    found = spectrum(model, batch)
    information = by_hand(model, batch)
    torch.testing.assert_close(found.root.T @ found.root, information)
    expected = torch.linalg.eigvalsh(information).flip(0).sqrt()
    torch.testing.assert_close(found.singular_values, expected)
    assert found.complete
    assert (found.rank, found.nullity, found.numbers) == (PIXELS, 0, 3 * PIXELS + 3)


def test_spectrum_of_weights_of_zero_is_flat():
    model, batch = linear(), one_image()
    nn.init.zeros_(model[-1].weight)
    delta = model[-1].bias.softmax(0) - nn.functional.one_hot(batch.y[0], 3)
    expected = delta.detach().norm().expand(PIXELS)
    torch.testing.assert_close(spectrum(model, batch).singular_values, expected)


def test_spectrum_finds_what_is_averaged_away():
    model, batch = linear(0, nn.AvgPool2d(2)), one_image()
    found = spectrum(model, batch)
    assert (found.rank, found.nullity) == (4, 12)
    assert len(found.singular_values) == PIXELS
    unseen = nn.functional.avg_pool2d(found.directions[4:, 0], 2)
    torch.testing.assert_close(unseen, torch.zeros_like(unseen))
    flat = found.directions.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(PIXELS, dtype=torch.float64))
    assert "12 of them 0" in repr(found)


@pytest.mark.parametrize("steps", [1, 2])
def test_linearise_is_the_derivative_of_the_update(tiny, seeded, steps):
    generator = seeded(0)
    model, secret, shared, _ = tiny(batch=2, dropout=0.5)
    protocol = Protocol(steps=steps, scale=2.0)
    masks = models.draw_masks(model, protocol.visits(2), generator)
    found = linearise(model, secret, masks, protocol)
    v = torch.randn(found.pixels, generator=generator, dtype=torch.float64)
    w = torch.randn(found.numbers, generator=generator, dtype=torch.float64)

    def update(x):
        made = federated.update(shared.weights, model, Guess(x, secret.y, masks), protocol)
        return 2.0 * torch.cat([tensor.flatten() for tensor in made.values()])

    away = 1e-5 * v.view_as(secret.x)
    slope = (update(secret.x + away) - update(secret.x - away)) / 2e-5
    torch.testing.assert_close(found.push(v), slope, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.pull(w) @ v, w @ found.push(v))


def test_information_root_is_that_of_the_spectrum(tiny):
    model, secret, _, _ = tiny(batch=2)
    root = information_root(model, secret)
    expected = spectrum(model, secret).root
    torch.testing.assert_close(root.T @ root, expected.T @ expected)


def test_spectrum_does_not_depend_on_the_order_of_the_numbers(tiny):
    model, secret, shared, _ = tiny()
    names = list(shared.gradient)
    expected = spectrum(model, secret).singular_values
    backwards = spectrum(model, secret, protocol=Protocol(sent=tuple(reversed(names))))
    torch.testing.assert_close(backwards.singular_values, expected)
    part = spectrum(model, secret, protocol=Protocol(sent=tuple(names[:2])))
    assert (part.singular_values <= expected + 1e-12).all()
    assert part.numbers < len(names) * max(g.numel() for g in shared.gradient.values())


def test_spectrum_works_in_float64_whatever_the_model(tiny):
    single = tiny(dtype=torch.float32)
    found = spectrum(single.model, single.secret)
    double = Batch(single.secret.x.double(), single.secret.y)
    assert found.singular_values.equal(spectrum(single.model.double(), double).singular_values)


def test_spectrum_of_the_largest_is_the_beginning_of_all(tiny):
    model, secret, _, _ = tiny()
    whole, part = spectrum(model, secret), spectrum(model, secret, largest=5)
    torch.testing.assert_close(part.singular_values, whole.singular_values[:5])
    overlap = (part.directions * whole.directions[:5]).flatten(1).sum(1)
    torch.testing.assert_close(overlap.abs(), torch.ones(5, dtype=torch.float64))
    assert not part.complete
    assert "others are not larger, and were not computed" in repr(part)
    with pytest.raises(ValueError, match="only the 5 largest of 64"):
        _ = part.nullity


def test_spectrum_of_the_largest_has_a_limit_that_still_holds(tiny):
    model, secret, _, _ = tiny()
    sigma = torch.tensor([1e-5, 1e-3, 1e-1, 10])
    exact = spectrum(model, secret).limit(sigma)
    few = spectrum(model, secret, largest=5).limit(sigma)
    more = spectrum(model, secret, largest=50).limit(sigma)
    assert (few <= more).all()
    assert (more <= exact).all()
    torch.testing.assert_close(few[-1], exact[-1], rtol=1e-3, atol=0)


@pytest.mark.parametrize("largest", [0, 64, 2.0, True])
def test_spectrum_refuses_a_number_that_it_cannot_find(tiny, largest):
    with pytest.raises(ValueError, match="from 1 to 63 for this Jacobian"):
        spectrum(tiny().model, tiny().secret, largest=largest)


def test_spectrum_refuses_a_jacobian_that_is_too_large(tiny, monkeypatch):
    monkeypatch.setattr(jacobian, "LARGEST", 1000)
    with pytest.raises(ValueError, match="largest=20"):
        spectrum(tiny().model, tiny().secret)


def test_spectrum_of_a_clipped_gradient_does_not_see_its_length():
    model, batch = linear(), one_image()
    plain = linearise(model, batch)
    clipped = linearise(model, batch, protocol=Protocol(defenses=(defenses.clip(0.1),)))
    made = torch.cat([g.flatten() for g in share(model, batch).gradient.values()])
    unit = made / made.norm()
    v = torch.linspace(-1, 1, PIXELS, dtype=torch.float64)
    moved = plain.push(v)
    expected = 0.1 / made.norm() * (moved - unit * unit.dot(moved))
    torch.testing.assert_close(clipped.push(v), expected)


def test_spectrum_of_a_pruned_gradient_has_the_rows_that_are_left(seeded):
    model, batch = linear(), one_image()
    pruning = defenses.prune_random(0.5)
    protocol = Protocol(defenses=(pruning, defenses.noise(1.0)))
    found = linearise(model, batch, None, protocol, seeded(0))
    kept = pruning(share(model, batch).gradient, seeded(0))
    mask = torch.cat([g.flatten() for g in kept.values()]) != 0
    v = torch.linspace(-1, 1, PIXELS, dtype=torch.float64)
    torch.testing.assert_close(found.push(v), mask * linearise(model, batch).push(v))
    with pytest.raises(ValueError, match="drawn from a generator"):
        spectrum(model, batch, protocol=protocol)


@pytest.mark.parametrize("stepped", [defenses.sign(), defenses.quantized(4), defenses.unknown()])
def test_spectrum_refuses_defences_that_cannot_be_differentiated(stepped):
    with pytest.raises(ValueError, match="cannot be differentiated: "):
        spectrum(linear(), one_image(), protocol=Protocol(defenses=(stepped,)))


def test_spectrum_checks_its_batch(tiny):
    model, secret, _, _ = tiny()
    with pytest.raises(ValueError, match="labels lie in"):
        spectrum(model, secret._replace(y=torch.tensor([9])))
    with pytest.raises(ValueError, match="no mask is called"):
        spectrum(model, secret, masks={"other.mask": torch.ones(1, 3)})
    outside = secret._replace(x=3 * secret.x)
    assert spectrum(model, outside, largest=1).singular_values > 0
