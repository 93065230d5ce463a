"""The engine's runs do not meet, its film and record are what happened."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from dlgutils import Batch, attacks, invert, models, share
from dlgutils.matching import decode_guess, optimizers
from dlgutils.matching.objectives import relative_squared_error
from dlgutils.types import Guess


class Attention(nn.Module):
    """One attention over the rows of an image, and a classifier."""

    def __init__(self):
        super().__init__()
        self.qkv, self.fc = nn.Linear(8, 24), nn.Linear(64, 4)

    def forward(self, x):
        """Logits."""
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.fc(scaled_dot_product_attention(q, k, v).flatten(1))


@pytest.mark.parametrize("chunk", [2, 1])
def test_invert_a_run_may_start_from_an_image(chunk, tiny, seeded):
    model, rounds = tiny().model, [tiny(k).shared for k in range(2)]
    x = torch.rand(2, 1, 1, 8, 8, generator=seeded(0), dtype=torch.float64)
    result = invert(model, rounds, attacks.dlg, start=x, steps=1, chunk=chunk)
    torch.testing.assert_close(result.frames[0], x)


def test_invert_a_start_of_another_shape_is_refused(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(
        ValueError, match=r"shape \(2, 1, 1, 8, 8\), runs first, got \(1, 1, 8, 8\)"
    ):
        invert(model, [shared] * 2, attacks.idlg, start=torch.zeros(1, 1, 8, 8))


def test_invert_restarts_start_apart(tiny, seeded):
    model, _, shared, *_ = tiny()
    start = invert(model, [shared] * 3, attacks.idlg_reference, seeded(0), steps=1).frames[0]
    assert not start[0].equal(start[1])
    assert not start[1].equal(start[2])


@pytest.mark.parametrize("given", ["seeds", "generator"])
def test_invert_a_run_can_be_repeated_alone_with_its_own_seed(given, tiny, seeded):
    model, _, shared, *_ = tiny()
    source = {"seeds": [5, 6, 7]} if given == "seeds" else {"generator": seeded(0)}
    together = invert(model, [shared] * 3, attacks.idlg_reference, steps=4, **source)
    alone = invert(model, shared, attacks.idlg_reference, seeds=[together.seeds[2]], steps=4)
    assert together.run(2).frames[0].equal(alone.frames[0])
    assert together.run(2).seeds.equal(alone.seeds)
    torch.testing.assert_close(together.run(2).loss, alone.loss)


def test_invert_a_run_that_may_draw_nothing_has_no_seed(tiny):
    model, _, shared, *_ = tiny()
    assert invert(model, [shared] * 2, attacks.idlg, steps=1).seeds.tolist() == [-1, -1]


def test_invert_the_callers_model_keeps_its_dtype(tiny):
    model, _, shared, *_ = tiny()
    model.float()
    assert invert(model, shared, attacks.idlg, steps=1).x.dtype == torch.float64
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_invert_a_recipe_sees_the_attackers_copy_of_the_model(tiny):
    model, _, shared, *_ = tiny()
    seen = []
    curious = replace(
        attacks.idlg,
        infer=lambda model, shared: seen.append(model) or attacks.idlg.infer(model, shared),
        start=lambda model, *given: seen.append(model) or attacks.idlg.start(model, *given),
    )
    invert(model.float(), shared, curious, steps=1)
    assert all(m is not model and m.fc.weight.dtype == torch.float64 for m in seen)
    assert len(seen) == 2


def test_invert_one_round_and_a_list_of_one_are_the_same(tiny):
    model, _, shared, *_ = tiny()
    single, listed = (invert(model, given, attacks.idlg, steps=5) for given in (shared, [shared]))
    assert single.loss.equal(listed.loss)


@pytest.mark.parametrize("attack", [attacks.idlg, attacks.idlg_reference], ids=lambda a: a.name)
def test_invert_a_run_that_meets_nan_stays_where_it_is_and_the_others_go_on(attack, tiny, seeded):
    rounds = [next(r for r in map(tiny, range(50)) if r.secret.y == y) for y in (0, 1, 2)]

    def poisoned(guess, target):
        return attack.distance(guess, target).where(target["fc.bias"].argmin() != 1, torch.nan)

    model, shared = rounds[0].model, [r.shared for r in rounds]
    calm = invert(model, shared, attack, seeded(0), steps=8)
    result = invert(model, shared, replace(attack, distance=poisoned), seeded(0), steps=8)
    assert result.loss[[0, 2]].equal(calm.loss[[0, 2]])
    assert result.loss[1].isnan().all()
    assert result.best_loss[1] == torch.inf
    assert result.frames[:, 1].equal(calm.frames[:1, 1].expand_as(result.frames[:, 1]))


def test_invert_a_run_that_has_stopped_is_recorded_as_nan_and_keeps_its_best(tiny, seeded):
    """A distance that is NaN at the third evaluation of one run, and marvellous ever after."""
    rounds = [next(r for r in map(tiny, range(50)) if r.secret.y == y) for y in (0, 1)]
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


def test_invert_an_attack_ends_when_every_run_has_stopped(tiny):
    model, _, shared, *_ = tiny()
    hopeless = replace(
        attacks.idlg,
        distance=lambda guess, target: 0 * relative_squared_error(guess, target) + torch.nan,
    )
    result = invert(model, shared, hopeless, steps=500)
    assert result.loss.shape[1] < 20
    assert result.complete
    assert (result.x == 0.5).all()


def test_invert_a_prior_is_added_to_the_distance(tiny):
    model, _, shared, *_ = tiny()
    plain, with_prior = (
        invert(model, shared, attack, steps=1).loss
        for attack in (attacks.idlg, replace(attacks.idlg, prior=lambda guess: guess.x.sum()))
    )
    assert (with_prior - plain).item() == pytest.approx(32)  # 64 pixels of mid-grey


def test_invert_the_image_returned_is_the_best_one_evaluated(tiny, seeded):
    model = models.init_uniform(
        tiny(5).model, seeded(5)
    )  # a reference loop that goes up as well as down
    shared = share(model, tiny(5).secret)
    result = invert(model, shared, attacks.idlg_reference, seeded(5), steps=30)
    assert result.loss[0, -1] > result.best_loss
    start_there = replace(attacks.idlg_reference, start=lambda *_: Guess(result.x[0]))
    assert (
        invert(model, shared, start_there, steps=1)
        .loss[0, 0]
        .isclose(result.best_loss[0], rtol=1e-9)
    )


def test_invert_the_film_begins_with_the_start_and_holds_what_the_watch_saw(tiny):
    model, _, shared, *_ = tiny()
    seen = [torch.full((1, 1, 1, 8, 8), 0.5).double()]
    result = invert(
        model, shared, attacks.idlg, steps=6, frames=9, watch=lambda *state: seen.append(state[2])
    )
    assert len(result.frames) >= 6
    for picture, step in zip(result.frames, result.frame_steps, strict=True):
        assert picture.equal(seen[step])


def test_invert_the_film_has_more_pictures_where_more_happens(tiny):
    model, _, shared, *_ = tiny()
    steps = invert(model, shared, attacks.idlg, steps=60, frames=8).frame_steps.tolist()
    assert len(steps) >= 7
    assert sum(step <= 30 for step in steps) > len(steps) / 2


def test_invert_progress_is_shown_only_if_asked_for(tiny, capsys):
    model, _, shared, *_ = tiny()
    invert(model, shared, attacks.idlg, steps=2)
    assert capsys.readouterr() == ("", "")
    invert(model, shared, attacks.idlg, steps=2, progress=True)
    shown = capsys.readouterr().err
    assert "iDLG" in shown
    assert "best=" in shown


def test_invert_a_shape_may_be_a_list_as_from_a_file(tiny):
    model, _, shared, *_ = tiny()
    listed = invert(model, [shared, replace(shared, x_shape=[1, 1, 8, 8])], attacks.dlg, steps=2)
    assert listed.loss[0].equal(listed.loss[1])


def test_invert_parameters_and_graphs_in_what_was_shared_are_cut_off(tiny):
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


def test_invert_attention_needs_its_plain_form(seeded):
    gen = seeded(0)
    model = models.init_default(Attention(), gen)
    shared = share(model, Batch(torch.rand(1, 1, 8, 8, generator=gen), torch.tensor([2])))
    with sdpa_kernel(SDPBackend.MATH):
        result = invert(model, shared, attacks.idlg, steps=20)
    assert result.best_loss < 0.1 * result.loss[0, 0]


def test_decode_guess_leaves_an_inferred_image_in_pixels(tiny):
    """The transform is that of the optimised image."""
    model, (x, y), *_ = tiny()
    optimised = Guess(torch.zeros_like(x))
    assert decode_guess(model, attacks.idlg, optimised, Guess(x, y)).x.equal(x)
    assert (decode_guess(model, attacks.idlg, optimised, Guess(y=y)).x == 0.5).all()
