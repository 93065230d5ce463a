"""Defences take a gradient and give one: noise of the size that was asked for, in order."""

import math
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlgutils import Batch, Protocol, Shared, models, share
from dlgutils.federated import defenses, honest

GRADIENT = {"weight": torch.ones(50, 40), "bias": torch.zeros(50)}
SHARED = Shared({name: g + 1 for name, g in GRADIENT.items()}, GRADIENT, (1, 1, 8, 8))


def double(gradient, _):
    """A defence that is none: every number twice."""
    return {name: 2 * g for name, g in gradient.items()}


def test_noise_has_its_standard_deviation_in_every_tensor(seeded):
    noisy = defenses.noise(0.1)(GRADIENT, seeded(0))
    assert list(noisy) == list(GRADIENT)
    for name, g in noisy.items():
        added = g - GRADIENT[name]
        assert 0.08 < added.std() < 0.12
        assert added.mean().abs() < 0.05


def test_noise_is_new_at_each_call_and_follows_the_generator(seeded):
    generator, add = seeded(0), defenses.noise(0.1)
    first, second = add(GRADIENT, generator), add(GRADIENT, generator)
    assert not first["weight"].equal(second["weight"])
    assert first["weight"].equal(add(GRADIENT, seeded(0))["weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_noise_keeps_the_dtype(seeded, dtype):
    g = {"bias": torch.zeros(3, dtype=dtype)}
    assert defenses.noise(1.0)(g, seeded(0))["bias"].dtype == dtype


@pytest.mark.parametrize("sigma", [-1.0, float("inf"), float("nan")])
def test_noise_refuses_what_is_not_a_standard_deviation(sigma):
    with pytest.raises(ValueError, match=rf"noise has a standard deviation, got {sigma}"):
        defenses.noise(sigma)


NO_NUMBERS = [True, [0.1], {}, "0.1", None, torch.tensor(0.1)]
MAKERS = [
    defenses.noise,
    defenses.laplace,
    defenses.clip,
    defenses.top_k,
    defenses.prune_random,
    defenses.quantized,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("number", NO_NUMBERS, ids=str)
def test_defenses_refuse_what_is_no_number(make, number):
    """Also one that equals a number that was asked for before."""
    make(8 if make is defenses.quantized else 1)
    with pytest.raises(ValueError, match=r", got (True|\[0.1\]|\{\}|'0.1'|None|tensor)"):
        make(number)


def test_soteria_refuses_a_batch_instead_of_its_images(tiny):
    with pytest.raises(ValueError, match="got a Batch; of a Batch, take its x"):
        defenses.soteria(tiny().model, tiny().secret, 0.5)


def test_defend_refuses_several_rounds():
    with pytest.raises(ValueError, match="one round, a Shared, got a list; of several"):
        defenses.defend([SHARED], [defenses.clip(1.0)])


def test_imitate_refuses_a_defense_by_itself():
    with pytest.raises(ValueError, match="defences come in a row"):
        defenses.imitate(defenses.clip(1.0), GRADIENT, GRADIENT)


def test_defend_applies_its_defenses_in_order_and_leaves_the_round_alone(seeded):
    noise = defenses.noise(1.0)
    twice = defenses.Defense("twice", double)
    found = defenses.defend(SHARED, [noise, twice], seeded(0))
    assert found.protocol.defenses == (noise, twice)
    expected = double(noise(GRADIENT, seeded(0)), None)
    for name, g in found.gradient.items():
        assert g.equal(expected[name])
        assert SHARED.gradient[name].equal(GRADIENT[name])
    assert found.weights is SHARED.weights
    assert found.x_shape == SHARED.x_shape


def test_defend_without_defenses_changes_nothing(seeded):
    assert defenses.defend(SHARED, [], seeded(0)).gradient == GRADIENT


# Known answers and properties of each


def numbers(seed, size=1.0):
    """A gradient of two tensors, in float64."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    bias = torch.randn(6, generator=generator, dtype=torch.float64)
    return {"weight": size * weight, "bias": size * bias / 10}


def length(gradient):
    return torch.cat([g.flatten() for g in gradient.values()]).norm()


seeds = st.integers(0, 999)
shares = st.floats(0.01, 1.0)


@given(seed=seeds, max_norm=st.floats(1e-3, 1e3))
def test_clip_shortens_what_is_longer_and_keeps_the_direction(seed, max_norm):
    g = numbers(seed)
    clipped = defenses.clip(max_norm)(g)
    torch.testing.assert_close(length(clipped), length(g).clamp(max=max_norm))
    for name, kept in clipped.items():
        torch.testing.assert_close(kept * length(g), g[name] * length(clipped))


@given(seed=seeds, share=shares)
def test_top_k_keeps_the_largest_of_each_tensor(seed, share):
    g = numbers(seed)
    for name, kept in defenses.top_k(share)(g).items():
        count = int((kept != 0).sum())
        assert count == max(1, math.ceil(share * kept.numel() - 1e-6))
        assert kept[kept != 0].abs().min() >= g[name][kept == 0].abs().sort().values[-1:].sum()
        assert kept[kept != 0].equal(g[name][kept != 0])


def test_top_k_keeps_everything_of_equal_size():
    g = {"bias": torch.tensor([2.0, -2.0, 1.0, 2.0])}
    assert defenses.top_k(0.25)(g)["bias"].tolist() == [2, -2, 0, 2]


@given(seed=seeds, share=shares)
def test_prune_random_keeps_about_its_share_and_never_nothing(seed, share, seeded):
    g = {"weight": torch.ones(100, 100), "bias": torch.ones(2)}
    kept = defenses.prune_random(share)(g, seeded(seed))
    assert float(kept["weight"].mean()) == pytest.approx(share, abs=0.03)
    assert kept["bias"].any()
    assert set(kept["weight"].unique().tolist()) <= {0.0, 1.0}


@given(seed=seeds, bits=st.integers(2, 16))
def test_quantized_is_at_most_half_a_step_off(seed, bits):
    g = numbers(seed)
    for name, rounded in defenses.quantized(bits)(g).items():
        levels = 2 ** (bits - 1) - 1
        step = g[name].abs().max() / levels
        assert (rounded - g[name]).abs().max() <= step / 2 * (1 + 1e-9)
        multiples = rounded / step
        assert (multiples - multiples.round()).abs().max() < 1e-6
        assert multiples.abs().max().round() == levels


def test_quantized_keeps_a_tensor_of_zeros():
    assert not defenses.quantized(8)({"bias": torch.zeros(3)})["bias"].any()


def test_half_precision_is_the_dtype_that_readings_know():
    g = {"bias": torch.tensor([1 / 3, 1e-9, -2.0])}
    sent = defenses.half_precision()(g)["bias"]
    assert sent.dtype == torch.float16
    assert sent.equal(g["bias"].half())
    with pytest.raises(ValueError, match=r"float16 ends at 65504, .* up to 1e\+05; clip it first"):
        defenses.half_precision()({"bias": torch.tensor([1e5])})


def test_sign_leaves_three_numbers():
    g = {"bias": torch.tensor([0.1, -5.0, 0.0])}
    assert defenses.sign()(g)["bias"].tolist() == [1, -1, 0]


def test_laplace_has_the_deviation_that_it_tells(seeded):
    defense = defenses.laplace(0.1)
    added = defense({"weight": torch.zeros(300, 300)}, seeded(0))["weight"]
    assert float(added.std()) == pytest.approx(defense.sigma, rel=0.02)
    assert float(added.abs().mean()) == pytest.approx(0.1, rel=0.02)


def test_soteria_takes_the_telling_columns_of_the_classifier(tiny):
    """Of features that are linear in the image, those of large size and small slope."""
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)
    ).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.diag(torch.ones(4))[:3] * torch.tensor([[1.0], [1.0], [9.0]]))
        model[1].bias.copy_(torch.tensor([0.0, 5.0, 0.0]))
    x = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    shared = share(model, Batch(x, torch.tensor([0])))
    kept = defenses.soteria(model, x, 0.6)(shared.gradient)
    assert kept["2.weight"].any(0).tolist() == [True, False, True]
    others = [name for name in kept if name != "2.weight"]
    assert all(kept[name].equal(shared.gradient[name]) for name in others)


def test_soteria_adds_up_over_a_batch_and_leaves_units_that_are_off(tiny):
    model, secret, shared, _ = tiny(batch=3)
    kept = defenses.soteria(model, secret.x, 0.25)(shared.gradient)
    assert int(kept["fc.weight"].any(0).sum()) == 12
    part = {"fc.bias": shared.gradient["fc.bias"]}
    assert defenses.soteria(model, secret.x, 0.25)(part) == part


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.9])
def test_soteria_counts_features_that_are_on(tiny, seeded, batch, share):
    """Through ReLU, of those that are zero anyway none is kept or taken out."""
    fresh = models.lenet((1, 8, 8), 4, activation=torch.nn.ReLU).double()
    model, secret, shared, _ = honest(fresh, tiny(batch=batch).secret, seeded(0))
    on = shared.gradient["fc.weight"].any(0)
    assert 0 < on.sum() < len(on)
    left = defenses.soteria(model, secret.x, share)(shared.gradient)["fc.weight"].any(0)
    assert not (left & ~on).any()
    assert int(left.sum()) == math.ceil(share * int(on.sum()))


def test_soteria_refuses_images_that_leave_every_feature_at_zero():
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)
    )
    torch.nn.init.constant_(model[1].bias, -9.0)
    with pytest.raises(ValueError, match="every feature is zero for these images"):
        defenses.soteria(model, torch.rand(1, 1, 2, 2), 0.5)


def test_soteria_needs_a_linear_layer():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten())
    with pytest.raises(ValueError, match="has no linear layer"):
        defenses.soteria(model, torch.zeros(1, 1, 3, 3), 0.5)


def test_equal_defenses_are_the_same_so_that_rounds_run_together():
    assert defenses.noise(0.1) == defenses.noise(0.1) != defenses.noise(0.2)
    assert {defenses.clip(1.0), defenses.clip(1.0), defenses.sign()} == {
        defenses.clip(1.0),
        defenses.sign(),
    }


# Bad input


@pytest.mark.parametrize("share", [0, 0.0, -0.5, 1.1, float("nan"), "half"])
@pytest.mark.parametrize("make", [defenses.top_k, defenses.prune_random])
def test_pruning_refuses_a_share_that_keeps_nothing_or_too_much(make, share):
    with pytest.raises(ValueError, match=r"keeps a share .*keeps nothing sends nothing"):
        make(share)


def test_soteria_refuses_a_share_that_keeps_nothing(tiny):
    model, secret, *_ = tiny()
    with pytest.raises(ValueError, match="keeps a share"):
        defenses.soteria(model, secret.x, 0.0)


@pytest.mark.parametrize("max_norm", [0, -1.0, float("nan"), float("inf"), "1"])
def test_clip_refuses_what_is_not_a_length(max_norm):
    with pytest.raises(ValueError, match=r"clipped to a length above zero, got .*clip\(1.0\)"):
        defenses.clip(max_norm)


@pytest.mark.parametrize("bits", [1, 0, -8, 17, 8.0, True])
def test_quantized_refuses_bits_that_leave_no_steps(bits):
    with pytest.raises(ValueError, match=r"whole number of bits from 2 to 16, .*use sign\(\)"):
        defenses.quantized(bits)


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_laplace_refuses_what_is_not_a_scale(scale):
    with pytest.raises(ValueError, match="Laplacian noise has a standard deviation"):
        defenses.laplace(scale)


@pytest.mark.parametrize(
    "defense", [defenses.noise(1.0), defenses.laplace(1.0), defenses.prune_random(0.5)]
)
def test_defenses_that_draw_need_a_generator(defense, tiny):
    model, secret, *_ = tiny()
    with pytest.raises(ValueError, match=r"none came; pass torch\.Generator"):
        share(model, secret, defenses=[defense])


@pytest.mark.parametrize("row", [[defenses.noise(1.0)], (double,), "noise", None])
def test_protocol_refuses_what_is_not_a_tuple_of_defenses(row):
    with pytest.raises(ValueError, match="defenses are a tuple of defences"):
        Protocol(defenses=row)


@pytest.mark.parametrize("norm", [0.0, -1.0, float("nan"), "1"])
def test_protocol_refuses_an_example_norm_that_is_no_length(norm):
    with pytest.raises(ValueError, match="example_norm is a positive number"):
        Protocol(example_norm=norm)


def test_share_draws_masks_first_and_defenses_after_them(tiny, seeded):
    model, secret, *_ = tiny(dropout=0.5)
    generator = seeded(4)
    masks = models.draw_masks(model, 1, generator)
    row = [defenses.noise(0.1)]
    apart = share(model, secret, generator, masks=masks, defenses=row)
    together = share(model, secret, seeded(4), defenses=row)
    assert all(g.equal(apart.gradient[name]) for name, g in together.gradient.items())


def test_share_puts_its_defenses_after_those_of_the_protocol(tiny):
    model, secret, *_ = tiny()
    first, second = defenses.top_k(0.5), defenses.clip(0.01)
    seen = share(model, secret, protocol=Protocol(defenses=(first,)), defenses=[second])
    assert seen.protocol.defenses == (first, second)
    assert not seen.protocol.exact
    assert Protocol().exact


def test_a_defense_alone_is_named_in_the_error():
    batch = Batch(torch.rand(1, 1, 8, 8), torch.tensor([0]))
    alone = defenses.noise(1e-3)
    with pytest.raises(ValueError, match=r"got 'noise, σ = 0.001' alone; put brackets around it"):
        share(models.lenet((1, 8, 8), 4), batch, defenses=alone)
    with pytest.raises(ValueError, match=r"got 'noise, σ = 0.001' alone; put brackets around it"):
        honest(models.lenet((1, 8, 8), 4), batch, torch.Generator(), init=None, defenses=alone)
    with pytest.raises(ValueError, match=r"got 'noise, σ = 0.001' alone; make them with"):
        Protocol(defenses=alone)
    with pytest.raises(ValueError, match="got a list; make them with"):
        Protocol(defenses=[alone])


@pytest.mark.parametrize("row", [defenses.noise(1e-3), [defenses.noise], "noise", None])
def test_what_is_no_row_of_defenses_is_refused(seeded, row):
    model = models.lenet((1, 8, 8), 4)
    batch = Batch(torch.rand(1, 1, 8, 8), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"defences come in a row.*\[defenses\.clip"):
        share(model, batch, seeded(0), defenses=row)
    with pytest.raises(ValueError, match=r"defences come in a row"):
        defenses.defend(SHARED, row, seeded(0))


def test_a_seed_is_no_generator():
    with pytest.raises(ValueError, match=r"from a generator and 3 came; pass torch\.Generator"):
        defenses.noise(1e-3)(GRADIENT, 3)


def test_protocol_knows_of_noise_that_was_clipped():
    noise, clip = defenses.noise(1e-3), defenses.clip(1.0)
    assert Protocol(defenses=(noise, defenses.sign(), clip)).clips_noise
    assert not Protocol(defenses=(clip, noise)).clips_noise
    assert not Protocol(defenses=(defenses.noise(0.0), clip)).clips_noise


@pytest.mark.parametrize("size", [1e-4, 100.0])
def test_clip_shortens_in_half_precision(size):
    """The squares of such numbers are nothing, or infinite, in float16."""
    g = {"weight": torch.full((200, 200), size, dtype=torch.float16)}
    clipped = defenses.clip(0.01)(g)["weight"]
    assert clipped.dtype == torch.float16
    assert clipped.double().norm() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("defense", [defenses.quantized(8), defenses.top_k(0.5)])
def test_what_is_not_finite_stays_so(defense):
    """A client whose training diverged sends no zeros in its place."""
    g = {"weight": torch.tensor([math.nan, 1.0, 2.0, 3.0])}
    assert defense(g)["weight"].isnan().any()


@pytest.mark.parametrize(
    "defense",
    [
        defenses.noise(1e-3),
        defenses.clip(max_norm=1.0),
        defenses.top_k(0.1),
        defenses.quantized(8),
        defenses.sign(),
        defenses.unknown(),
    ],
    ids=lambda defense: defense.name,
)
def test_pickle_gives_the_same_defense(defense):
    protocol = Protocol(defenses=(defense,))
    assert pickle.loads(pickle.dumps(protocol)) == protocol


def test_changed_copy_of_a_defense_is_not_pickled_as_the_first():
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(replace(defenses.noise(1e-3), name="another"))


def test_numbers_by_name_or_place_make_the_same_defense():
    assert defenses.noise(sigma=0.1) == defenses.noise(0.1)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(0, 1, 8, 8), r"a batch has at least one image, got the shape \(0, 1, 8, 8\)"),
        (torch.rand(1, 8, 8), r"try x\[None\]"),
        (torch.rand(1, 1, 8, 8).double(), r"move one to the other"),
    ],
)
def test_soteria_refuses_images_that_its_model_does_not_take(x, message):
    with pytest.raises(ValueError, match=message):
        defenses.soteria(models.lenet((1, 8, 8), 4), x, 0.5)


def test_soteria_refuses_a_model_that_changes_in_its_forward_pass():
    layers = (torch.nn.BatchNorm2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 4))
    with pytest.raises(ValueError, match="BatchNorm2d in train mode"):
        defenses.soteria(torch.nn.Sequential(*layers), torch.rand(1, 1, 8, 8), 0.5)


# Rows --------------------------------------------------------------------------------------------

ROUNDINGS = [
    defenses.quantized(2),
    defenses.quantized(4),
    defenses.quantized(8),
    defenses.half_precision(),
    defenses.sign(),
]
CHANGES = [
    [defenses.clip(0.05)],
    [defenses.top_k(0.3)],
    [defenses.prune_random(0.3)],
    [defenses.clip(0.05), defenses.prune_random(0.3)],
    [defenses.prune_random(0.3), defenses.clip(0.05)],
]


@pytest.mark.parametrize("changes", CHANGES, ids=lambda row: ", ".join(each.name for each in row))
@pytest.mark.parametrize("rounding", ROUNDINGS, ids=lambda rounding: rounding.name)
@pytest.mark.parametrize("seed", range(3))
def test_imitate_finds_the_honest_gradient_right_where_it_was_rounded_first(
    tiny, seeded, rounding, changes, seed
):
    _, _, shared, _ = tiny(seed, dtype=torch.float32)
    row = [rounding, *changes]
    sent = defenses.defend(shared, row, seeded(seed)).gradient
    moved = defenses.imitate(row, shared.gradient, sent)
    for name, g in sent.items():
        away = (moved[name] - g).norm()
        assert away <= 1e-6 * g.float().norm()


@pytest.mark.parametrize(
    "row", [[defenses.quantized(4), defenses.clip(0.05)]], ids=["4 bits, clip"]
)
def test_imitate_does_not_take_another_gradient_for_right(tiny, row):
    sent = defenses.defend(tiny(0).shared, row).gradient
    moved = defenses.imitate(row, tiny(1).shared.gradient, sent)
    assert (moved["fc.weight"] - sent["fc.weight"]).norm() > 0.1 * sent["fc.weight"].norm()


PRUNED = {
    "largest": lambda _: defenses.top_k(0.2),
    "random": lambda _: defenses.prune_random(0.3),
    "Soteria": lambda one: defenses.soteria(one.model, one.secret.x, 0.4),
}


@pytest.mark.parametrize("kind", PRUNED)
@pytest.mark.parametrize("sigma", [1e-6, 1e-4, 1e-3])
@pytest.mark.parametrize("seed", range(3))
def test_imitate_finds_what_was_pruned_under_noise(tiny, seeded, kind, sigma, seed):
    """The honest gradient is about as far away as the noise is long, and no other one is near."""
    one = tiny(seed)
    row = [PRUNED[kind](one), defenses.noise(sigma)]
    sent = defenses.defend(one.shared, row, seeded(seed)).gradient
    moved = defenses.imitate(row, one.shared.gradient, sent)
    numbers = sum(g.numel() for g in sent.values())
    away = math.hypot(*(float((moved[name] - g).norm()) for name, g in sent.items()))
    assert away < 1.5 * sigma * math.sqrt(numbers)


def test_imitate_leaves_pruning_alone_where_noise_was_clipped(tiny, seeded):
    """How large the noise is left is not known then."""
    row = [defenses.prune_random(0.3), defenses.noise(1e-3), defenses.clip(0.01)]
    honest_one = tiny().shared.gradient
    sent = defenses.defend(tiny().shared, row, seeded(0)).gradient
    moved = defenses.imitate(row, honest_one, sent)
    torch.testing.assert_close(moved, row[-1](honest_one))
