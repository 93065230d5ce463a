"""The engine: photographs come back, runs do not meet, and bad input is named."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from dlgutils import Batch, attacks, data, invert, metrics, models, share
from dlgutils.matching import optimizers
from dlgutils.matching.objectives import relative_squared_error

NAMES = data.class_names("photos")


class Attention(nn.Module):
    """One attention over the rows of an image, and a classifier."""

    def __init__(self):
        super().__init__()
        self.qkv, self.fc = nn.Linear(8, 24), nn.Linear(64, 4)

    def forward(self, x):
        """Logits."""
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.fc(scaled_dot_product_attention(q, k, v).flatten(1))


def rounds_of(names, seeded, **net):
    """A LeNet, and one round for each photograph, with weights of its own; the truth as (runs, 1, 3, 32, 32)."""
    model, shared = models.lenet(**net), []
    for seed, name in enumerate(names):
        gen = seeded(seed)
        shared.append(share(models.init_default(model, gen), data.photos(name), gen))
    return model, shared, data.photos(*names).x[:, None]


# Does it attack?


def test_idlg_recovers_the_photographs_within_100_evaluations(seeded):
    """Slow (about 8 s) since it is what the library is for; measured: 12 of 12."""
    model, rounds, truth = rounds_of(NAMES, seeded)
    result = invert(model, rounds, attacks.idlg, steps=100)
    assert result.y[:, 0].tolist() == list(range(12))
    assert (metrics.mse(result.x, truth) < 1e-2).sum() >= 11
    assert metrics.ssim(result.x, truth).median() > 0.8


def test_dlg_recovers_photograph_and_label(seeded):
    model, rounds, truth = rounds_of(NAMES[:3], seeded)
    result = invert(model, rounds, attacks.dlg, steps=200)
    assert result.y[:, 0].tolist() == [0, 1, 2]
    assert metrics.mse(result.x, truth).median() < 1e-2


def test_rounded_corners_recover_photographs_from_relu(seeded):
    """Slow (about 5 s). Measured: rounded 4 of 4, and none or one of 4 by who takes ReLU as it is."""
    model, rounds, truth = rounds_of(NAMES[:4], seeded, activation=nn.ReLU)
    plain, rounded = (
        invert(m, rounds, attacks.idlg, steps=100) for m in (model, models.smooth_relu(model))
    )
    assert metrics.mse(rounded.x, truth).median() < 0.5 * metrics.mse(plain.x, truth).median()
    sharper = invert(models.smooth_relu(model, 64), rounds, attacks.idlg, start=rounded.x, steps=60)
    assert metrics.mse(sharper.x, truth).median() < metrics.mse(rounded.x, truth).median() < 1e-2


def test_dlg_recovers_two_photographs_of_one_batch_in_some_order(seeded):
    """Measured: both MSE below 8e-3 for seeds 0 to 2."""
    gen, pair = seeded(0), data.photos("cat", "coffee")
    model = models.init_default(models.lenet(), gen)
    result = invert(model, share(model, pair), attacks.dlg, gen, steps=300)
    assert sorted(result.y[0].tolist()) == [1, 2]
    scores = torch.stack([metrics.mse(result.x, pair.x), metrics.mse(result.x, pair.x.flip(0))])
    assert scores.amax((1, 2)).min() < 2e-2


def test_equal_guesses_of_a_batch_would_stay_equal(tiny, seeded):
    model, _, shared, *_ = tiny(batch=2)
    grey = {"x": torch.full((2, 1, 8, 8), 0.5).double(), "logits": torch.zeros(2, 4).double()}
    together = invert(model, shared, replace(attacks.dlg, start=lambda *_: grey), steps=20).x[0]
    apart = invert(model, shared, attacks.dlg, seeded(0), steps=100).x[0]
    assert together[0].allclose(together[1], rtol=0, atol=1e-6)
    assert (apart[0] - apart[1]).abs().max() > 0.1


@pytest.mark.parametrize(
    "attack", [attacks.idlg, attacks.idlg_fresh_masks], ids=["eval mode", "fresh masks"]
)
def test_dropout_stops_who_does_not_know_the_mask(attack, seeded):
    names = ("cat", "coffee", "rocket", "flower")
    model, rounds, truth = rounds_of(names, seeded, dropout=0.5)
    result = invert(model, rounds, attack, seeded(0), steps=60)
    mean_image = metrics.mean_image(truth[:, 0], data.photos().x)[:, None]
    ratio = metrics.rmse(result.x, truth) / mean_image
    assert ratio.median() > 1.1
    assert (ratio > 0.9).all()


def test_fresh_masks_are_no_straw_man(seeded):
    """Without dropout the attacker whose masks stop nobody finds the image too; measured: 4e-3."""
    model, rounds, truth = rounds_of(["cat"], seeded)
    result = invert(model, rounds, attacks.idlg_fresh_masks, seeded(0), steps=100)
    assert metrics.mse(result.x, truth) < 1e-2


# Runs


@pytest.mark.parametrize("chunk", [2, 1])
def test_a_run_may_start_from_an_image(chunk, tiny, seeded):
    model, rounds = tiny().model, [tiny(k).shared for k in range(2)]
    x = torch.rand(2, 1, 1, 8, 8, generator=seeded(0), dtype=torch.float64)
    result = invert(model, rounds, attacks.dlg, start=x, steps=1, chunk=chunk)
    torch.testing.assert_close(result.frames[0], x)


def test_a_start_of_another_shape_is_refused(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(
        ValueError, match=r"shape \(2, 1, 1, 8, 8\), runs first, got \(1, 1, 8, 8\)"
    ):
        invert(model, [shared] * 2, attacks.idlg, start=torch.zeros(1, 1, 8, 8))


def test_restarts_start_apart(tiny, seeded):
    model, _, shared, *_ = tiny()
    start = invert(model, [shared] * 3, attacks.idlg_reference, seeded(0), steps=1).frames[0]
    assert not start[0].equal(start[1])
    assert not start[1].equal(start[2])


@pytest.mark.parametrize(
    "given", [[5, 6, 7], torch.Generator().manual_seed(0)], ids=["seeds", "generator"]
)
def test_a_run_can_be_repeated_alone_with_its_own_seed(given, tiny):
    model, _, shared, *_ = tiny()
    together = invert(model, [shared] * 3, attacks.idlg_reference, given, steps=4)
    alone = invert(model, shared, attacks.idlg_reference, [together.seeds[2]], steps=4)
    assert together.run(2).frames[0].equal(alone.frames[0])
    assert together.run(2).seeds.equal(alone.seeds)
    torch.testing.assert_close(together.run(2).loss, alone.loss)


def test_a_run_that_may_draw_nothing_has_no_seed(tiny):
    model, _, shared, *_ = tiny()
    assert invert(model, [shared] * 2, attacks.idlg, steps=1).seeds.tolist() == [-1, -1]


def test_the_callers_model_keeps_its_dtype(tiny):
    model, _, shared, *_ = tiny()
    model.float()
    assert invert(model, shared, attacks.idlg, steps=1).x.dtype == torch.float64
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_recipe_sees_the_attackers_copy_of_the_model(tiny):
    model, _, shared, *_ = tiny()
    seen = []
    curious = replace(
        attacks.idlg,
        read=lambda model, shared: seen.append(model) or attacks.idlg.read(model, shared),
        start=lambda model, *given: seen.append(model) or attacks.idlg.start(model, *given),
    )
    invert(model.float(), shared, curious, steps=1)
    assert all(m is not model and m.fc.weight.dtype == torch.float64 for m in seen)
    assert len(seen) == 2


def test_one_round_and_a_list_of_one_are_the_same(tiny):
    model, _, shared, *_ = tiny()
    single, listed = (invert(model, given, attacks.idlg, steps=5) for given in (shared, [shared]))
    assert single.loss.equal(listed.loss)


@pytest.mark.parametrize("attack", [attacks.idlg, attacks.idlg_reference], ids=lambda a: a.name)
def test_a_run_that_meets_nan_stays_where_it_is_and_the_others_go_on(attack, tiny, seeded):
    rounds = [next(r for r in map(tiny, range(50)) if r.batch.y == y) for y in (0, 1, 2)]

    def poisoned(guess, target):
        return attack.distance(guess, target).where(target["fc.bias"].argmin() != 1, torch.nan)

    model, shared = rounds[0].model, [r.shared for r in rounds]
    calm = invert(model, shared, attack, seeded(0), steps=8)
    result = invert(model, shared, replace(attack, distance=poisoned), seeded(0), steps=8)
    assert result.loss[[0, 2]].equal(calm.loss[[0, 2]])
    assert result.loss[1].isnan().all()
    assert result.lowest[1] == torch.inf
    assert result.frames[:, 1].equal(calm.frames[:1, 1].expand_as(result.frames[:, 1]))


def test_a_run_that_has_stopped_is_recorded_as_nan_and_keeps_its_best(tiny, seeded):
    """A distance that is NaN at the third evaluation of one run, and marvellous ever after."""
    rounds = [next(r for r in map(tiny, range(50)) if r.batch.y == y) for y in (0, 1)]
    model, shared = rounds[0].model, [r.shared for r in rounds]
    attack, calls = replace(attacks.idlg, optimizer=optimizers.adam()), []

    def distance(guess, target):
        calls.append(1)
        spoilt = torch.nan if len(calls) == 3 else -1.0
        return attack.distance(guess, target).where(
            (target["fc.bias"].argmin() != 1) | (len(calls) < 3), spoilt
        )

    calm = invert(model, shared, attack, steps=2)
    result = invert(model, shared, replace(attack, distance=distance), steps=6)
    assert result.loss[0].isfinite().all()
    assert result.loss[1, :2].equal(calm.loss[1])
    assert result.loss[1, 2:].isnan().all()
    assert result.x[1].equal(calm.x[1])


def test_an_attack_ends_when_every_run_has_stopped(tiny):
    model, _, shared, *_ = tiny()
    hopeless = replace(
        attacks.idlg,
        distance=lambda guess, target: 0 * relative_squared_error(guess, target) + torch.nan,
    )
    result = invert(model, shared, hopeless, steps=500)
    assert result.loss.shape[1] < 20
    assert result.complete
    assert (result.x == 0.5).all()


def test_a_prior_is_added_to_the_distance(tiny):
    model, _, shared, *_ = tiny()
    plain, with_prior = (
        invert(model, shared, attack, steps=1).loss
        for attack in (
            attacks.idlg,
            replace(attacks.idlg, prior=lambda candidate: candidate.x.sum()),
        )
    )
    assert (with_prior - plain).item() == pytest.approx(32)  # 64 pixels of mid-grey


def test_the_image_returned_is_the_best_one_evaluated(tiny, seeded):
    model = models.init_uniform(
        tiny(5).model, seeded(5)
    )  # a reference loop that goes up as well as down
    shared = share(model, tiny(5).batch)
    result = invert(model, shared, attacks.idlg_reference, seeded(5), steps=30)
    assert result.loss[0, -1] > result.lowest
    start_there = replace(attacks.idlg_reference, start=lambda *_: {"x": result.x[0]})
    assert (
        invert(model, shared, start_there, steps=1).loss[0, 0].isclose(result.lowest[0], rtol=1e-9)
    )


def test_the_film_begins_with_the_start_and_holds_what_the_watch_saw(tiny):
    model, _, shared, *_ = tiny()
    seen = [torch.full((1, 1, 1, 8, 8), 0.5).double()]
    result = invert(
        model, shared, attacks.idlg, steps=6, frames=9, watch=lambda *state: seen.append(state[2])
    )
    assert len(result.frames) >= 6
    for picture, step in zip(result.frames, result.frame_steps, strict=True):
        assert picture.equal(seen[step])


def test_the_film_has_more_pictures_where_more_happens(tiny):
    model, _, shared, *_ = tiny()
    steps = invert(model, shared, attacks.idlg, steps=60, frames=8).frame_steps.tolist()
    assert len(steps) >= 7
    assert sum(step <= 30 for step in steps) > len(steps) / 2


def test_progress_is_shown_only_if_asked_for(tiny, capsys):
    model, _, shared, *_ = tiny()
    invert(model, shared, attacks.idlg, steps=2)
    assert capsys.readouterr() == ("", "")
    invert(model, shared, attacks.idlg, steps=2, progress=True)
    shown = capsys.readouterr().err
    assert "iDLG" in shown
    assert "best=" in shown


def test_a_shape_may_be_a_list_as_from_a_file(tiny):
    model, _, shared, *_ = tiny()
    listed = invert(model, [shared, replace(shared, x_shape=[1, 1, 8, 8])], attacks.dlg, steps=2)
    assert listed.loss[0].equal(listed.loss[1])


def test_parameters_and_graphs_in_what_was_shared_are_cut_off(tiny):
    model, _, shared, *_ = tiny()
    gradient = {name: g.clone().requires_grad_() * 1 for name, g in shared.gradient.items()}
    result = invert(
        model,
        replace(shared, weights=dict(model.named_parameters()), gradient=gradient),
        attacks.idlg,
        steps=3,
    )
    assert not any(t.requires_grad for t in (result.x, result.loss, result.frames))
    assert result.loss.equal(invert(model, shared, attacks.idlg, steps=3).loss)


def test_attention_needs_its_plain_form(seeded):
    gen = seeded(0)
    model = models.init_default(Attention(), gen)
    shared = share(model, Batch(torch.rand(1, 1, 8, 8, generator=gen), torch.tensor([2])))
    with sdpa_kernel(SDPBackend.MATH):
        result = invert(model, shared, attacks.idlg, steps=20)
    assert result.lowest < 0.1 * result.loss[0, 0]


# Chunks, traces, and runs that leave


@pytest.mark.parametrize(
    "attack", [attacks.dlg, attacks.idlg_reference, attacks.idlg_fresh_masks], ids=lambda a: a.name
)
def test_chunks_change_nothing(attack, tiny, seeded):
    model = tiny(dropout=0.5).model
    rounds = [tiny(k, dropout=0.5).shared for k in range(5)]
    whole, parts = (
        invert(model, rounds, attack, seeded(0), steps=6, chunk=chunk) for chunk in (5, 2)
    )
    assert parts.frame_steps.equal(whole.frame_steps)
    assert parts.seeds.equal(whole.seeds)
    for name in ("x", "y", "loss", "frames"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-8, atol=1e-8)


def test_a_chunk_that_ends_early_keeps_its_last_picture(tiny):
    model, rounds = tiny().model, [tiny(k).shared for k in range(2)]
    first = rounds[0].gradient["fc.bias"]

    def poisoned(guess, target):
        return relative_squared_error(guess, target).where(
            (target["fc.bias"] != first).any(), torch.nan
        )

    result = invert(model, rounds, replace(attacks.idlg, distance=poisoned), steps=40, chunk=1)
    assert result.loss.shape == (2, 40)
    assert result.loss[0].isnan().all()
    assert result.loss[1].isfinite().all()
    assert (result.frames[:, 0] == 0.5).all()
    assert result.frame_steps[-1] == 40
    assert result.complete


def test_an_interrupted_attack_returns_all_runs_and_what_they_have(tiny):
    model, rounds = tiny().model, [tiny(k).shared for k in range(3)]
    seen = []
    result = invert(
        model,
        rounds,
        attacks.idlg,
        steps=9,
        chunk=1,
        watch=lambda *_: seen.append(1) or len(seen) == 13,
    )
    assert not result.complete
    assert result.loss.isfinite().sum(1).tolist() == [9, 4, 0]
    assert (result.x[2] == 0.5).all()
    assert result.lowest[2] == torch.inf


def starved(most):
    """iDLG whose memory suffices for `most` runs: with more, an allocation that really fails."""
    lbfgs = optimizers.lbfgs()

    def init(z):
        return lbfgs.init(z if len(z) <= most else z.new_empty(2**50))

    return replace(attacks.idlg, optimizer=lbfgs._replace(init=init))


def test_out_of_memory_halves_the_chunk_and_says_so(tiny):
    model, rounds = tiny().model, [tiny(k).shared for k in range(5)]
    with pytest.warns(UserWarning, match="out of memory with 4 runs at once; going on with 2"):
        result = invert(model, rounds, starved(3), steps=3, chunk=4)
    assert result.loss.allclose(invert(model, rounds, attacks.idlg, steps=3).loss)


def test_out_of_memory_with_one_run_names_the_way_out(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(
        MemoryError, match=r"one run alone does not fit .* optimizers\.lbfgs\(history=20\)"
    ):
        invert(model, shared, starved(0), chunk=1)


def test_an_error_of_the_users_model_is_not_taken_for_a_lack_of_memory(tiny):
    model, _, shared, *_ = tiny()
    broken = replace(
        attacks.idlg, distance=lambda guess, target: guess["fc.bias"] @ target["fc.weight"]
    )
    with pytest.raises(RuntimeError, match="return a scalar Tensor, got tensor with 1 dims"):
        invert(model, shared, broken)


@pytest.mark.parametrize("attack", [attacks.dlg, attacks.idlg_fresh_masks], ids=lambda a: a.name)
def test_a_traced_attack_is_the_same_attack(attack, tiny, seeded, monkeypatch):
    model, rounds = tiny(dropout=0.5).model, [tiny(k, dropout=0.5).shared for k in range(2)]
    plain = invert(model, rounds, attack, seeded(0), steps=8)
    monkeypatch.setattr(engine, "_TRACE_PAYS", 0)
    traced = invert(model, rounds, attack, seeded(0), steps=8)
    torch.testing.assert_close(traced.loss, plain.loss, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(traced.x, plain.x, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.Conv2d(1, 4, (3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1), bias=False),
        nn.Conv2d(1, 4, 3, padding="same"),
        nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=2)),
    ],
    ids=["strided", "dilated, no bias", "same", "groups"],
)
def test_convolutions_of_every_kind_survive_the_trace(layer, seeded, monkeypatch):
    gen, size = seeded(0), layer(torch.rand(1, 1, 8, 8)).numel()
    model = models.init_default(
        nn.Sequential(layer, nn.Sigmoid(), nn.Flatten(), nn.Linear(size, 3)).double(), gen
    )
    shared = share(
        model, Batch(torch.rand(1, 1, 8, 8, generator=gen, dtype=torch.float64), torch.tensor([2]))
    )
    plain = invert(model, shared, attacks.idlg, steps=4)
    monkeypatch.setattr(engine, "_TRACE_PAYS", 0)
    torch.testing.assert_close(
        invert(model, shared, attacks.idlg, steps=4).loss, plain.loss, rtol=1e-9, atol=1e-12
    )


def test_runs_that_have_stopped_leave_and_the_others_do_not_notice(tiny):
    """Two of three runs meet NaN; the optimiser sees one run only after the first look, and its path is what it was."""
    rounds = [next(r for r in map(tiny, range(50)) if r.batch.y == y) for y in (0, 1, 2)]
    model, shared, sizes = rounds[0].model, [r.shared for r in rounds], []
    lbfgs = optimizers.lbfgs()

    def spied(state, value, slope):
        sizes.append(len(value))
        return lbfgs.update(state, value, slope)

    def poisoned(guess, target):
        return relative_squared_error(guess, target).where(
            target["fc.bias"].argmin() == 1, torch.nan
        )

    attack = replace(attacks.idlg, distance=poisoned, optimizer=lbfgs._replace(update=spied))
    result = invert(model, shared, attack, steps=40, frames=40)
    alone = invert(model, shared[1], attacks.idlg, steps=40, frames=40)
    assert set(sizes) == {3, 1}
    assert sizes[-1] == 1
    torch.testing.assert_close(result.run(1).loss, alone.loss, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(result.frames[:, 1], alone.frames[:, 0], rtol=1e-5, atol=1e-5)
    assert result.loss[[0, 2]].isnan().all()
    assert (result.frames[:, [0, 2]] == 0.5).all()


# Bad input


@pytest.mark.parametrize("generator", [0, [0.5], "0"], ids=str)
def test_what_is_no_generator_of_the_cpu_is_refused(tiny, generator):
    model, _, shared, *_ = tiny()
    with pytest.raises(
        ValueError,
        match=rf"generator on the CPU, got {re.escape(repr(generator))}; .* or a list of seeds",
    ):
        invert(model, shared, attacks.idlg, generator)


def test_there_is_one_seed_for_each_run(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(
        ValueError, match=r"2 seeds came for 3 runs; pass one for each, or a generator for them all"
    ):
        invert(model, [shared] * 3, attacks.idlg, [0, 1])


def test_runs_with_different_tensors_are_refused(tiny):
    model, _, shared, *_ = tiny()
    strange = replace(attacks.idlg, read=lambda _, shared: shared.masks)
    with pytest.raises(
        ValueError, match=r"the same tensors, got \['y'\] and \['z'\]; invert them one by one"
    ):
        invert(model, [replace(shared, masks={name: torch.ones(1)}) for name in "yz"], strange)


def test_a_shape_that_a_users_model_does_not_take_is_named(seeded):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Sigmoid(), nn.Linear(5, 4))
    shared = share(model, Batch(torch.rand(1, 1, 8, 8, generator=seeded(0)), torch.tensor([2])))
    with pytest.raises(
        ValueError,
        match=r"model does not take images of shape \(3, 8, 8\): .*; resize them or build",
    ):
        invert(model, replace(shared, x_shape=(1, 3, 8, 8)), attacks.idlg)


@pytest.mark.parametrize(
    "option", [{"steps": 0}, {"steps": -5}, {"frames": 0}, {"chunk": 0}], ids=str
)
def test_numbers_below_one_are_refused(tiny, option):
    model, _, shared, *_ = tiny()
    ((name, number),) = option.items()
    with pytest.raises(ValueError, match=rf"at least 1 of {name}, got {number}"):
        invert(model, shared, attacks.idlg, **option)


def test_an_empty_list_is_refused(tiny):
    with pytest.raises(ValueError, match=r"at least 1 of rounds, got 0"):
        invert(tiny().model, [], attacks.idlg)


def test_rounds_of_different_shapes_are_refused(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(
        ValueError, match=r"different shapes, \[\(1, 1, 8, 8\), \(2, 1, 8, 8\)\].*one by one"
    ):
        invert(model, [shared, tiny(batch=2).shared], attacks.dlg)


def test_a_model_of_another_architecture_is_refused(tiny):
    with pytest.raises(
        ValueError,
        match=r"weights of another model: .* attack with the model that the client trained",
    ):
        invert(models.mlp((1, 8, 8), classes=4), tiny().shared, attacks.idlg)


def test_gradients_of_another_shape_are_refused(tiny):
    model, _, shared, *_ = tiny()
    flat = {name: g.flatten() for name, g in shared.gradient.items()}
    with pytest.raises(
        ValueError,
        match=r"gradient of another model: body\.0\.weight is \(300,\) there.*\(12, 1, 5, 5\)",
    ):
        invert(model, replace(shared, gradient=flat), attacks.idlg)


def test_a_zero_gradient_is_refused(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(ValueError, match=r"zero everywhere"):
        invert(
            model,
            replace(shared, gradient={n: 0 * g for n, g in shared.gradient.items()}),
            attacks.dlg,
        )


@pytest.mark.parametrize("field", ["weights", "gradient"])
def test_weights_and_gradient_of_different_dtypes_are_refused(tiny, field):
    model, _, shared, *_ = tiny()
    single = {name: t.float() for name, t in getattr(shared, field).items()}
    with pytest.raises(ValueError, match=r"float32.*float64|float64.*float32"):
        invert(model, replace(shared, **{field: single}), attacks.idlg, steps=1)


def test_rounds_of_different_dtypes_are_refused(tiny):
    rounds = [tiny(dtype=dtype) for dtype in (torch.float32, torch.float64)]
    with pytest.raises(ValueError, match=r"float32.*float64|float64.*float32"):
        invert(rounds[0].model, [r.shared for r in rounds], attacks.idlg, steps=1)


def test_images_of_a_shape_that_the_model_does_not_take_are_refused(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(
        ValueError, match=r"got images of shape \(3, 8, 8\), this network was built for \(1, 8, 8\)"
    ):
        invert(model, replace(shared, x_shape=(1, 3, 8, 8)), attacks.idlg)


def test_a_model_with_hidden_randomness_is_refused(tiny):
    model, _, shared, *_ = tiny()
    model.extra = torch.nn.Dropout(0.5)
    with pytest.raises(ValueError, match=r"extra is an active Dropout"):
        invert(model, shared, attacks.idlg)
