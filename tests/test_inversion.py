"""The engine: photographs come back, runs do not meet, and bad input is named."""

from dataclasses import replace

import pytest
import torch

from dlgutils import attacks, data, invert, metrics, models, share
from dlgutils.matching import relative_squared_error

NAMES = data.class_names("photos")


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


@pytest.mark.parametrize("attack", [attacks.idlg, attacks.idlg_fresh_masks], ids=["eval mode", "fresh masks"])
def test_dropout_stops_who_does_not_know_the_mask(attack, seeded):
    names = ("cat", "coffee", "rocket", "flower")
    model, rounds, truth = rounds_of(names, seeded, dropout=0.5)
    result = invert(model, rounds, attack, seeded(0), steps=60)
    mean_image = metrics.mean_image(truth[:, 0], data.photos().x)[:, None]
    ratio = metrics.rmse(result.x, truth) / mean_image
    assert ratio.median() > 1.1
    assert (ratio > 1).all()


def test_fresh_masks_are_no_straw_man(seeded):
    """Without dropout the attacker whose masks stop nobody finds the image too; measured: 4e-3."""
    model, rounds, truth = rounds_of(["cat"], seeded)
    result = invert(model, rounds, attacks.idlg_fresh_masks, seeded(0), steps=100)
    assert metrics.mse(result.x, truth) < 1e-2


# Runs


def test_restarts_start_apart(tiny, seeded):
    model, _, shared = tiny()
    start = invert(model, [shared] * 3, attacks.idlg_reference, seeded(0), steps=1).frames[0]
    assert not start[0].equal(start[1])
    assert not start[1].equal(start[2])


def test_the_callers_model_keeps_its_dtype(tiny):
    model, _, shared = tiny()
    model.float()
    assert invert(model, shared, attacks.idlg, steps=1).x.dtype == torch.float64
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_one_round_and_a_list_of_one_are_the_same(tiny):
    model, _, shared = tiny()
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


def test_an_attack_ends_when_every_run_has_stopped(tiny):
    model, _, shared = tiny()
    hopeless = replace(attacks.idlg, distance=lambda guess, target: 0 * relative_squared_error(guess, target) + torch.nan)
    result = invert(model, shared, hopeless, steps=500)
    assert result.loss.shape[1] < 10
    assert result.complete
    assert (result.x == 0.5).all()


def test_a_prior_is_added_to_the_distance(tiny):
    model, _, shared = tiny()
    plain, with_prior = (
        invert(model, shared, attack, steps=1).loss for attack in (attacks.idlg, replace(attacks.idlg, prior=torch.sum))
    )
    assert (with_prior - plain).item() == pytest.approx(32)  # 64 pixels of mid-grey


def test_the_image_returned_is_the_best_one_evaluated(tiny, seeded):
    model = models.init_uniform(tiny(5).model, seeded(5))  # a reference loop that goes up as well as down
    shared = share(model, tiny(5).batch)
    result = invert(model, shared, attacks.idlg_reference, seeded(5), steps=30)
    assert result.loss[0, -1] > result.lowest
    start_there = replace(attacks.idlg_reference, start=lambda *_: {"x": result.x[0]})
    assert invert(model, shared, start_there, steps=1).loss[0, 0].isclose(result.lowest[0], rtol=1e-9)


def test_the_film_begins_with_the_start_and_holds_what_the_watch_saw(tiny):
    model, _, shared = tiny()
    seen = [torch.full((1, 1, 1, 8, 8), 0.5).double()]
    result = invert(model, shared, attacks.idlg, steps=6, frames=9, watch=lambda *state: seen.append(state[2]))
    assert len(result.frames) >= 6
    for picture, step in zip(result.frames, result.frame_steps, strict=True):
        assert picture.equal(seen[step])


def test_the_film_has_more_pictures_where_more_happens(tiny):
    model, _, shared = tiny()
    steps = invert(model, shared, attacks.idlg, steps=60, frames=8).frame_steps.tolist()
    assert len(steps) >= 7
    assert sum(step <= 30 for step in steps) > len(steps) / 2


def test_progress_is_shown_only_if_asked_for(tiny, capsys):
    model, _, shared = tiny()
    invert(model, shared, attacks.idlg, steps=2)
    assert capsys.readouterr() == ("", "")
    invert(model, shared, attacks.idlg, steps=2, progress=True)
    shown = capsys.readouterr().err
    assert "iDLG" in shown
    assert "best=" in shown


# Bad input


@pytest.mark.parametrize("option", [{"steps": 0}, {"steps": -5}, {"frames": 0}], ids=str)
def test_numbers_below_one_are_refused(tiny, option):
    model, _, shared = tiny()
    ((name, number),) = option.items()
    with pytest.raises(ValueError, match=rf"at least 1 of {name}, got {number}"):
        invert(model, shared, attacks.idlg, **option)


def test_an_empty_list_is_refused(tiny):
    with pytest.raises(ValueError, match=r"at least 1 of rounds, got 0"):
        invert(tiny().model, [], attacks.idlg)


def test_rounds_of_different_shapes_are_refused(tiny):
    model, _, shared = tiny()
    with pytest.raises(ValueError, match=r"different shapes, \[\(1, 1, 8, 8\), \(2, 1, 8, 8\)\].*one by one"):
        invert(model, [shared, tiny(batch=2).shared], attacks.dlg)


def test_a_model_of_another_architecture_is_refused(tiny):
    with pytest.raises(ValueError, match=r"weights of another model: .* attack with the model that the client trained"):
        invert(models.mlp((1, 8, 8), classes=4), tiny().shared, attacks.idlg)


def test_gradients_of_another_shape_are_refused(tiny):
    model, _, shared = tiny()
    flat = {name: g.flatten() for name, g in shared.gradient.items()}
    with pytest.raises(ValueError, match=r"gradient of another model: body\.0\.weight is \(300,\) there.*\(12, 1, 5, 5\)"):
        invert(model, replace(shared, gradient=flat), attacks.idlg)


def test_a_zero_gradient_is_refused(tiny):
    model, _, shared = tiny()
    with pytest.raises(ValueError, match=r"zero everywhere"):
        invert(model, replace(shared, gradient={n: 0 * g for n, g in shared.gradient.items()}), attacks.dlg)


@pytest.mark.parametrize("field", ["weights", "gradient"])
def test_weights_and_gradient_of_different_dtypes_are_refused(tiny, field):
    model, _, shared = tiny()
    single = {name: t.float() for name, t in getattr(shared, field).items()}
    with pytest.raises(ValueError, match=r"float32.*float64|float64.*float32"):
        invert(model, replace(shared, **{field: single}), attacks.idlg, steps=1)


def test_rounds_of_different_dtypes_are_refused(tiny):
    rounds = [tiny(dtype=dtype) for dtype in (torch.float32, torch.float64)]
    with pytest.raises(ValueError, match=r"float32.*float64|float64.*float32"):
        invert(rounds[0].model, [r.shared for r in rounds], attacks.idlg, steps=1)


def test_images_of_a_shape_that_the_model_does_not_take_are_refused(tiny):
    model, _, shared = tiny()
    with pytest.raises(ValueError, match=r"got images of shape \(3, 8, 8\), this network was built for \(1, 8, 8\)"):
        invert(model, replace(shared, x_shape=(1, 3, 8, 8)), attacks.idlg)


def test_a_model_with_hidden_randomness_is_refused(tiny):
    model, _, shared = tiny()
    model.extra = torch.nn.Dropout(0.5)
    with pytest.raises(ValueError, match=r"extra is an active Dropout"):
        invert(model, shared, attacks.idlg)
