"""Readings behind defences: what is estimated is near, what cannot be read is refused."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlgutils import Batch, Protocol, attacks, invert, models, share
from dlgutils.analytic import closed_form, features, labels, masks, rank_one_fit, separation
from dlgutils.analytic.features_of_one import feature_error, infer_from_features, lowest_features
from dlgutils.federated import defenses
from dlgutils.testing import tiny_round

MODEL, SECRET, SHARED, _ = tiny_round(dropout=0.0)
INPUTS = MODEL.body(SECRET.x).flatten().detach()


def seen_through(*row, seed=0):
    return defenses.defend(SHARED, row, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ([defenses.clip(0.01)], 1e-9),
        ([defenses.half_precision()], 2e-3),
        ([defenses.quantized(10)], 2e-2),
        ([defenses.noise(1e-4)], 2e-3),
        ([defenses.clip(0.05), defenses.noise(1e-5)], 2e-2),
        ([defenses.top_k(0.6)], 1e-9),
        ([defenses.prune_random(0.7)], 1e-9),
        ([defenses.soteria(MODEL, SECRET.x, 0.5)], 1e-9),
    ],
    ids=lambda row: " + ".join(d.name for d in row) if isinstance(row, list) else "",
)
def test_features_are_read_as_well_as_the_defense_allows(row, error):
    """The knowing attacker's features are those of the image; what is not left is NaN."""
    seen = seen_through(*row)
    (found,) = lowest_features(MODEL, seen).values()
    found = found[0].double()
    left = ~found.isnan()
    assert left.double().mean() >= 0.45
    off = (found - INPUTS)[left].norm() / INPUTS[left].norm()
    assert off < error
    assert infer_from_features(MODEL, seen).y.equal(SECRET.y)


def test_what_is_not_left_is_left_out_of_the_comparison():
    """At the true image the features attack has no distance, pruned columns or not."""
    row = [defenses.soteria(MODEL, SECRET.x, 0.5)]
    told = replace(attacks.features, transform=None)
    found = invert(MODEL, seen_through(*row), told, start=SECRET.x[None], steps=1)
    assert found.loss[0, 0] < 1e-20
    naive = replace(seen_through(*row), protocol=Protocol(defenses=(defenses.unknown(),)))
    with pytest.raises(ValueError, match=r"cannot see through .* an unknown change"):
        invert(MODEL, naive, told)


@given(seed=st.integers(0, 200))
def test_most_likely_is_the_label_under_moderate_noise(seed):
    _, secret, shared, _ = tiny_round(seed, dropout=0.0)
    generator = torch.Generator().manual_seed(seed)
    seen = defenses.defend(shared, [defenses.noise(0.03)], generator)
    assert labels.most_likely(seen).equal(secret.y)


@pytest.mark.parametrize(
    "defense",
    [
        defenses.clip(0.01),
        defenses.sign(),
        defenses.quantized(2),
        defenses.top_k(0.2),
        defenses.prune_random(0.8),
        defenses.half_precision(),
    ],
    ids=lambda d: d.name,
)
def test_most_likely_sees_through_what_keeps_signs(defense):
    for seed in range(8):
        _, secret, shared, _ = tiny_round(seed, dropout=0.5)
        generator = torch.Generator().manual_seed(0)
        seen = defenses.defend(shared, [defense], generator)
        assert labels.most_likely(seen).equal(secret.y)


def test_readings_take_the_noise_from_the_protocol():
    model, _, shared, drawn = tiny_round(3, dropout=0.5)
    seen = defenses.defend(shared, [defenses.noise(1e-3)], torch.Generator().manual_seed(0))
    told = masks.read(model, seen)
    repeated = masks.read(model, seen, noise=1e-3)
    assert told.features.equal(repeated.features)
    assert told.masks["dropout.mask"].equal(drawn["dropout.mask"])
    assert closed_form.recover(model, seen).x.equal(closed_form.recover(model, seen, noise=1e-3).x)
    with pytest.raises(ValueError, match="noise"):
        masks.read(model, seen, noise=0.0)


def test_closed_form_reads_the_scale_of_a_clipped_gradient():
    exact = closed_form.recover(MODEL, SHARED)
    found = closed_form.recover(MODEL, seen_through(defenses.clip(0.01)))
    torch.testing.assert_close(found.x, exact.x, rtol=1e-5, atol=1e-5)
    noisy = closed_form.recover(MODEL, seen_through(defenses.clip(0.01), defenses.noise(1e-6)))
    assert (noisy.x - exact.x).square().mean() < 0.05


@pytest.mark.parametrize("classes", [2, 3, 12])
@pytest.mark.parametrize(
    ("row", "error"),
    [
        ([defenses.clip(0.01)], 1e-4),
        ([defenses.clip(1e-6)], 1e-4),
        ([defenses.clip(0.1), defenses.half_precision()], 2e-2),
    ],
)
def test_delta_has_its_own_length_however_short_it_was_clipped(classes, row, error, seeded):
    """Of two classes, too, where every product δ [u, 1]ᵀ has a scale that fits."""
    model = models.init_default(models.mlp((1, 4, 4), (8,), classes), seeded(3))
    secret = Batch(torch.rand(1, 1, 4, 4, generator=seeded(3)), torch.tensor([1]))
    exact = masks.read(model, share(model, secret)).delta
    seen = share(model, secret, defenses=row)
    for found in (masks.read(model, seen), features.read(model, seen)):
        assert (found.delta - exact).norm() < error * exact.norm()


def test_a_scale_before_the_defenses_is_taken_out():
    row = [defenses.noise(3e-4)]
    seen = share(
        MODEL,
        SECRET,
        torch.Generator().manual_seed(0),
        protocol=Protocol(scale=3.0, weight_decay=0.01),
        defenses=row,
    )
    found = masks.read(MODEL, seen)
    torch.testing.assert_close(found.features[0], INPUTS, rtol=0.05, atol=0.01)


READINGS = [masks.read, closed_form.recover, features.read, lowest_features]


@pytest.mark.parametrize("read", READINGS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("defense", [defenses.sign(), defenses.unknown()], ids=lambda d: d.name)
def test_readings_refuse_what_they_cannot_see_through(read, defense):
    with pytest.raises(ValueError, match=r"cannot see through a defence of this round, .*idlg"):
        read(MODEL, seen_through(defense))


@pytest.mark.parametrize("read", READINGS[:3], ids=lambda f: f.__name__)
def test_certain_readings_refuse_pruned_gradients(read):
    with pytest.raises(ValueError, match=r"largest 0.5 kept: some numbers are zero"):
        read(MODEL, seen_through(defenses.top_k(0.5)))


def test_separation_refuses_noise_and_takes_a_clipped_batch_apart():
    """The scale of a batch that comes apart is read, too: it is what the clip did."""
    model, secret, shared, _ = tiny_round(batch=2, dropout=0.0)
    generator = torch.Generator().manual_seed(0)
    noisy = defenses.defend(shared, [defenses.noise(1e-3)], generator)
    with pytest.raises(ValueError, match=r"every number has noise"):
        separation.separate(model, noisy)
    clipped = defenses.defend(shared, [defenses.clip(0.01)], generator)
    found = separation.separate(model, clipped)
    length = sum(g.square().sum() for g in shared.gradient.values()).sqrt()
    assert found.scale == pytest.approx(0.01 / float(length), rel=1e-5)
    inputs = model.body(secret.x).flatten(1).detach()
    distances = torch.cdist(found.reading.features, inputs).min(1).values
    assert (distances < 1e-5 * inputs.norm(dim=1)).all()


def test_estimated_features_refuse_where_noise_covers_them():
    with pytest.raises(ValueError, match=r"too little of the gradient of .* is left"):
        lowest_features(MODEL, seen_through(defenses.noise(1.0)))


def test_estimated_features_refuse_a_mask_behind_pruning():
    model, _, shared, _ = tiny_round(dropout=0.5)
    pruned = defenses.defend(shared, [defenses.top_k(0.9)])
    with pytest.raises(ValueError, match=r"a defence of this round makes zeros, too"):
        lowest_features(model, pruned)


def test_feature_error_is_what_noise_leaves():
    """Averaged over many rounds: the features are off by the error that is told."""
    off, told = [], []
    for seed in range(20):
        seen = seen_through(defenses.noise(1e-3), seed=seed)
        (found,) = lowest_features(MODEL, seen).values()
        off.append((found[0] - INPUTS).square().mean())
        told.append(feature_error(MODEL, seen))
    spread = float(torch.stack(off).mean().sqrt())
    assert 0.7 * spread < sum(told) / len(told) < 1.1 * spread
    rounded = seen_through(defenses.quantized(8))
    (found,) = lowest_features(MODEL, rounded).values()
    off = float((found[0] - INPUTS).square().mean().sqrt())
    assert 0.5 * off < feature_error(MODEL, rounded) < 2 * off
    assert feature_error(MODEL, SHARED) == 0


@given(seed=st.integers(0, 50), share_kept=st.floats(0.4, 1.0))
def test_fit_finds_the_product_behind_any_pruning_that_leaves_enough(seed, share_kept):
    generator = torch.Generator().manual_seed(seed)
    row = [defenses.prune_random(share_kept)]
    seen = defenses.defend(SHARED, row, generator)
    found = rank_one_fit.fit(seen, *seen.classifier)
    left = ~found.inputs.isnan()
    torch.testing.assert_close(found.inputs[left], INPUTS[left], rtol=1e-6, atol=1e-8)


def test_readings_refuse_noise_that_was_clipped():
    """Its standard deviation is not the one in the protocol, which would be taken for it."""
    seen = seen_through(defenses.noise(1e-5), defenses.clip(0.01))
    for read in (closed_form.recover, masks.read, lowest_features):
        with pytest.raises(ValueError, match=r"noise of this round was clipped"):
            read(MODEL, seen)
