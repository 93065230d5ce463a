"""Things to touch: films hold the pictures that the attack went through; a panel really reruns it."""

import json
import threading
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlgutils import attacks, data, invert, metrics, models, share, widgets

CAT = data.photos("cat")


def as_bytes(x):
    """One picture (channels, height, width) as the front end reads it."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy().tobytes()


def pixels(frames, shape):
    return np.frombuffer(zlib.decompress(frames), dtype=np.uint8).reshape(-1, *shape)


@pytest.fixture(scope="module")
def result():
    """A short attack on the cat, two runs."""
    model = models.init_default(models.lenet(), torch.Generator().manual_seed(0))
    return invert(model, [share(model, CAT)] * 2, attacks.idlg, steps=6, frames=4)


@pytest.fixture
def panel():
    """A panel that is stopped at the end, whatever happens."""
    panel = widgets.panel()
    yield panel
    panel.stop()
    panel.wait(30)


# The film


def test_a_film_holds_the_pictures(result):
    film = widgets.film(result, CAT.x, run=1)
    pictures = pixels(film.frames[0], film.shape)
    assert film.shape == [32, 32, 3]
    assert len(pictures) == len(result.frames)
    assert [p.tobytes() for p in pictures] == [as_bytes(x) for x in result.frames[:, 1, 0]]
    assert film.truth == as_bytes(CAT.x[0])


def test_a_film_opens_at_its_last_frame(result):
    film = widgets.film(result)
    assert film.frame == len(result.frames) - 1 == len(film.captions[0]) - 1
    assert film.scene == 0


def test_a_film_that_plays_by_itself_opens_at_its_first_frame(result):
    film = widgets.film(result, play=True)
    assert (film.play, film.frame) == (True, 0)
    assert not widgets.film(result).play


def test_the_curve_is_that_of_the_pictures_rmse(result):
    film = widgets.film({"first": result.run(0), "second": result.run(1)}, CAT.x)
    assert film.measure == "RMSE"
    assert film.evaluations == [result.frame_steps.tolist()] * 2
    expected = metrics.rmse(result.frames[:, :, 0], CAT.x)  # (frames, runs)
    torch.testing.assert_close(torch.tensor(film.errors), expected.T)


def test_without_the_truth_the_curve_is_that_of_the_lowest_matching_loss(result):
    film = widgets.film(result, run=1)
    after = [result.lowest_so_far[1, k - 1].item() for k in film.evaluations[0][1:]]
    assert film.measure == "matching loss"
    assert film.errors == [[None, *after]]  # at the start none has been computed


def test_a_picture_alone_is_a_film_of_one_frame(result):
    never, only = torch.empty(1, 0), result.run(0).frames[-1:]
    film = widgets.film(replace(result.run(0), loss=never, frames=only, frame_steps=torch.tensor([0])), CAT.x)
    assert (film.frame, film.evaluations) == (0, [[0]])
    assert film.errors == [[pytest.approx(metrics.rmse(only, CAT.x).item())]]


def test_a_film_says_in_words_what_it_would_show(result):
    film = widgets.film({"cat": result, "again": result}, CAT.x)
    assert repr(film) == f"Film of 2 scene(s), now at: {film.captions[0][-1]}"
    film.scene, film.frame = 1, 0
    assert repr(film).endswith(film.captions[1][0])


def test_captions_say_what_the_picture_shows(result):
    film = widgets.film(result, CAT.x)
    first, last = film.captions[0][0], film.captions[0][-1]
    assert first == f"iDLG, 0 evaluations, RMSE {metrics.rmse(torch.full_like(CAT.x, 0.5), CAT.x).item():.3f}"
    rmse = metrics.rmse(result.frames[-1, 0], CAT.x).item()
    assert last == f"iDLG, 6 evaluations, matching loss {result.lowest[0]:.1e}, RMSE {rmse:.3f}"


def test_without_the_truth_a_film_says_nothing_of_it(result):
    film = widgets.film(result)
    assert film.truth == b""
    assert not any("RMSE" in caption for caption in film.captions[0])


def test_two_results_are_two_scenes_of_their_own_length(result):
    start = replace(result, frames=result.frames[:2], frame_steps=result.frame_steps[:2])
    film = widgets.film({"all": result, "start": start})
    assert film.scenes == [["all"], ["start"]]
    assert [len(c) for c in film.captions] == [len(pixels(f, film.shape)) for f in film.frames] == [len(result.frames), 2]
    assert film.captions[1][0].startswith("start, 0 evaluations")


def test_each_run_may_have_a_truth_of_its_own(result):
    truth = torch.stack([CAT.x, data.photos("coffee").x])
    assert widgets.film(result, truth, run=1).truth == as_bytes(truth[1, 0])


def test_the_image_of_a_batch_is_chosen(tiny):
    model, batch, shared = tiny(batch=2)
    result = invert(model, shared, attacks.dlg, torch.Generator().manual_seed(0), steps=3)
    film = widgets.film(result, batch.x, image=1)
    assert film.shape == [8, 8, 1]
    assert film.truth == as_bytes(batch.x[1])
    assert pixels(film.frames[0], film.shape)[-1].tobytes() == as_bytes(result.frames[-1, 0, 1])


def test_pixels_that_are_not_finite_or_out_of_range_still_make_a_picture(result):
    wild = result.frames.clone()
    wild[0, 0, 0, 0, 0, :3] = torch.tensor([torch.nan, -5.0, 7.0])
    film = widgets.film(replace(result, frames=wild))
    assert pixels(film.frames[0], film.shape)[0, 0, :3, 0].tolist() == [0, 0, 255]


def test_a_run_that_stopped_has_captions_to_the_end(result):
    loss = result.loss.clone()
    loss[0] = torch.nan
    film = widgets.film(replace(result, loss=loss))
    assert film.captions[0][-1] == "iDLG, 6 evaluations, matching loss inf"
    assert film.errors == [[None] * len(result.frames)]


@pytest.mark.parametrize("pixel", [torch.nan, torch.inf])
def test_an_error_that_is_not_finite_is_none_since_a_page_has_no_word_for_it(result, pixel):
    wild = result.frames.clone()
    wild[1, 0, 0, 0, 0, 0] = pixel
    film = widgets.film(replace(result, frames=wild), CAT.x)
    assert [error is None for error in film.errors[0]] == [k == 1 for k in range(len(wild))]
    json.dumps(film.errors, allow_nan=False)


def test_a_film_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"needs a result, got none; pass one of invert"):
        widgets.film({})


@pytest.mark.parametrize(("where", "there"), [({"run": 2}, "runs 0 … 1"), ({"image": 1}, "images 0 … 0")], ids=str)
def test_a_picture_that_is_not_there_is_refused(result, where, there):
    with pytest.raises(ValueError, match=rf"there is no {next(iter(where))} \d in 'iDLG', which has {there}"):
        widgets.film(result, **where)


def test_scenes_may_lie_on_several_axes(result):
    names = [("grey", "default"), ("noise", "default"), ("grey", "wide")]
    film = widgets.film(dict.fromkeys(names, result), axes=("start", "weights"))
    assert (film.axes, film.scenes) == (["start", "weights"], [list(name) for name in names])
    assert film.captions[1][0].startswith("noise, default, 0 evaluations")


def test_a_scene_has_one_word_for_each_axis(result):
    with pytest.raises(ValueError, match=r"each of the axes \('start', 'weights'\), got \('grey',\)"):
        widgets.film({"grey": result}, axes=("start", "weights"))


def test_images_of_different_shapes_make_no_film(result, tiny):
    model, _, shared = tiny()
    small = invert(model, shared, attacks.idlg, steps=1)
    with pytest.raises(ValueError, match=r"one shape, got .*'cat': \(3, 32, 32\), 'grey': \(1, 8, 8\).*a film of each"):
        widgets.film({"cat": result, "grey": small})


def test_a_film_carries_its_own_front_end(result):
    assert "render" in widgets.film(result)._esm


# The panel


def test_a_panel_offers_every_photograph_and_recipe(panel):
    assert panel.photos == list(data.class_names("photos"))
    assert panel.attacks == ["iDLG", "DLG", "iDLG, fresh masks"]
    assert panel.truth == as_bytes(CAT.x[0])
    assert (panel.running, panel.result) == (False, None)


def test_the_truth_follows_the_photograph(panel):
    panel.photo = "coffee"
    assert panel.truth == as_bytes(data.photos("coffee").x[0])


@pytest.mark.parametrize("attack", ["iDLG", "DLG", "iDLG, fresh masks"])
def test_a_panel_really_runs_the_attack(panel, attack):
    panel.set_trait("attack", attack)
    panel.photo, panel.steps, panel.rate, panel.seed = "rocket", 5, 0.3, 2
    panel.start()
    panel.wait(60)
    assert panel.result.loss.shape == (1, 5)
    assert (panel.result.attack, panel.result.complete, panel.running) == (attack, True, False)
    assert (panel.evaluation, panel.picture) == (5, as_bytes(panel.result.x[0, 0]))
    assert panel.caption.startswith(f"{attack}, 5 evaluations, matching loss ")


def test_a_panel_runs_what_the_library_runs(panel, seeded):
    panel.steps, panel.rate, panel.seed = 5, 0.5, 3
    panel.start()
    panel.wait(60)
    gen = seeded(3)
    model = models.init_default(models.lenet(dropout=0.5), gen)
    by_hand = invert(model, share(model, CAT, gen), attacks.idlg, gen, steps=5)
    torch.testing.assert_close(panel.result.loss, by_hand.loss)


def test_stop_ends_the_attack_early(panel):
    panel.steps = 5000
    shown = threading.Event()
    panel.observe(lambda _: shown.set(), "picture")
    panel.start()
    assert shown.wait(60)
    panel.stop()
    panel.wait(60)
    assert not panel.running
    assert not panel.result.complete
    assert 0 < panel.result.loss.shape[1] < 5000


def test_a_second_start_does_not_disturb_the_first(panel):
    panel.steps = 30
    panel.start()
    first = panel._thread
    panel.start()
    assert panel._thread is first
    panel.wait(60)
    assert panel.result.complete


def test_a_panel_can_run_again_after_a_stop(panel):
    panel.steps = 5000
    panel.start()
    panel.stop()
    panel.wait(60)
    panel.steps = 4
    panel.start()
    panel.wait(60)
    assert (panel.result.complete, panel.result.loss.shape) == (True, (1, 4))


@pytest.mark.parametrize(
    ("choice", "said"), [({"steps": 0}, "at least 1 of steps, got 0"), ({"rate": 1.0}, r"rate in [0, 1), got 1.0")], ids=str
)
def test_an_impossible_choice_is_explained_and_the_panel_stays_usable(panel, choice, said):
    panel.set_trait(*next(iter(choice.items())))
    panel.start()
    panel.wait(60)
    assert panel.caption.startswith("This attack cannot run: ")
    assert said in panel.caption
    assert (panel.running, panel.result) == (False, None)

    panel.rate, panel.steps = 0.0, 2
    panel.start()
    panel.wait(60)
    assert panel.result.complete


@pytest.mark.parametrize(
    ("field", "error"),
    [
        ("start", ValueError("this recipe needs a batch of two; use another")),
        ("distance", RuntimeError("not enough memory")),
    ],
)
def test_an_attack_that_raises_is_explained_and_a_panel_is_not_stuck(field, error):
    def fail(*_):
        raise error

    panel = widgets.panel([replace(attacks.idlg, **{field: fail})])
    panel.start()
    panel.wait(60)
    assert panel.caption == f"This attack cannot run: {error}"
    assert not panel.running


def test_a_caption_names_the_attack_that_ran_whatever_is_chosen_meanwhile(panel):
    panel.steps = 2
    panel.observe(lambda _: panel.set_trait("attack", "DLG"), "picture")
    panel.start()
    panel.wait(60)
    assert (panel.attack, panel.result.attack) == ("DLG", "iDLG")
    assert panel.caption.startswith("iDLG, 2 evaluations")


def test_the_front_end_starts_stops_and_learns_of_the_kernel(panel, monkeypatch):
    sent = []
    monkeypatch.setattr(panel, "send", sent.append)
    panel.steps = 5000
    panel._handle_custom_msg("hello", [])
    panel._handle_custom_msg("run", [])
    panel._handle_custom_msg("stop", [])
    panel.wait(60)
    assert sent == ["kernel"]
    assert not panel.result.complete
