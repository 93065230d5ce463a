"""The film: it holds the pictures that an attack went through, their errors, and both in words."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlgutils import attacks, data, invert, metrics, widgets
from tests.helpers.results import attack_on_the_cat

CAT = data.photos("cat")


def as_bytes(x):
    """One picture (channels, height, width) as the front end reads it."""
    pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(1, 2, 0).numpy().tobytes()


def pixels(frames, shape):
    """The compressed pictures of a scene, (n, *shape) bytes."""
    content = zlib.decompress(frames)
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, *shape)


@pytest.fixture(scope="module")
def result():
    """A short attack on the cat, two runs."""
    return attack_on_the_cat(runs=2, steps=6, frames=4)


def test_film_holds_the_pictures(result):
    film = widgets.film(result, CAT.x, run=1)
    pictures = pixels(film.frames[0], film.shape)
    assert film.shape == [32, 32, 3]
    assert len(pictures) == len(result.frames)
    assert [p.tobytes() for p in pictures] == [as_bytes(x) for x in result.frames[:, 1, 0]]
    assert film.truth == as_bytes(CAT.x[0])


def test_film_opens_at_its_last_frame(result):
    film = widgets.film(result)
    assert film.frame == len(result.frames) - 1 == len(film.captions[0]) - 1
    assert film.scene == 0


def test_film_that_plays_by_itself_opens_at_its_first_frame(result):
    film = widgets.film(result, play=True)
    assert (film.play, film.frame) == (True, 0)
    assert not widgets.film(result).play


def test_film_has_the_curve_of_its_pictures_rmse(result):
    film = widgets.film({"first": result.run(0), "second": result.run(1)}, CAT.x)
    assert film.measure == "RMSE"
    assert film.evaluations == [result.frame_steps.tolist()] * 2
    expected = metrics.rmse(result.frames[:, :, 0], CAT.x)  # (frames, runs)
    torch.testing.assert_close(torch.tensor(film.errors), expected.T)


def test_film_without_the_truth_has_the_curve_of_the_lowest_matching_loss(result):
    film = widgets.film(result, run=1)
    lowest = result.best_loss_so_far[1]
    after = [lowest[k - 1].item() for k in film.evaluations[0][1:]]
    assert film.measure == "matching loss"
    assert film.errors == [[None, *after]]  # at the start none has been computed


def test_film_of_a_picture_alone_has_one_frame(result):
    only = result.run(0).frames[-1:]
    picture = replace(
        result.run(0), loss=torch.empty(1, 0), frames=only, frame_steps=torch.tensor([0])
    )
    film = widgets.film(picture, CAT.x)
    assert (film.frame, film.evaluations) == (0, [[0]])
    assert film.errors == [[pytest.approx(metrics.rmse(only, CAT.x).item())]]


def test_film_prints_in_words_what_it_would_show(result):
    film = widgets.film({"cat": result, "again": result}, CAT.x)
    assert repr(film) == f"Film of 2 scene(s), now at: {film.captions[0][-1]}"
    film.scene = 1
    film.frame = 0
    assert repr(film).endswith(film.captions[1][0])


def test_film_captions_describe_the_picture(result):
    film = widgets.film(result, CAT.x)
    first, *_, last = film.captions[0]
    grey = torch.full_like(CAT.x, 0.5)
    start = metrics.rmse(grey, CAT.x).item()
    end = metrics.rmse(result.frames[-1, 0], CAT.x).item()
    assert first == f"iDLG, 0 evaluations, RMSE {start:.3f}"
    loss = result.best_loss[0]
    assert last == f"iDLG, 6 evaluations, matching loss {loss:.1e}, RMSE {end:.3f}"


def test_film_without_the_truth_does_not_mention_it(result):
    film = widgets.film(result)
    assert film.truth == b""
    assert not any("RMSE" in caption for caption in film.captions[0])


def test_film_of_two_results_has_two_scenes_of_their_own_length(result):
    start = replace(result, frames=result.frames[:2], frame_steps=result.frame_steps[:2])
    film = widgets.film({"all": result, "start": start})
    lengths = [len(result.frames), 2]
    assert film.scenes == [["all"], ["start"]]
    assert [len(captions) for captions in film.captions] == lengths
    assert [len(pixels(frames, film.shape)) for frames in film.frames] == lengths
    assert film.captions[1][0].startswith("start, 0 evaluations")


def test_film_takes_a_truth_for_each_run(result):
    truth = torch.stack([CAT.x, data.photos("coffee").x])
    assert widgets.film(result, truth, run=1).truth == as_bytes(truth[1, 0])


def test_film_shows_the_image_of_a_batch_that_is_chosen(tiny):
    model, batch, shared, *_ = tiny(batch=2)
    generator = torch.Generator().manual_seed(0)
    result = invert(model, shared, attacks.dlg, generator, steps=3)
    film = widgets.film(result, batch.x, image=1)
    last = pixels(film.frames[0], film.shape)[-1]
    assert film.shape == [8, 8, 1]
    assert film.truth == as_bytes(batch.x[1])
    assert last.tobytes() == as_bytes(result.frames[-1, 0, 1])


def test_film_makes_a_picture_of_pixels_that_are_not_finite_or_out_of_range(result):
    wild = result.frames.clone()
    wild[0, 0, 0, 0, 0, :3] = torch.tensor([torch.nan, -5.0, 7.0])
    film = widgets.film(replace(result, frames=wild))
    assert pixels(film.frames[0], film.shape)[0, 0, :3, 0].tolist() == [0, 0, 255]


def test_film_of_a_run_that_stopped_has_captions_to_the_end(result):
    loss = result.loss.clone()
    loss[0] = torch.nan
    film = widgets.film(replace(result, loss=loss))
    assert film.captions[0][-1] == "iDLG, 6 evaluations, matching loss inf"
    assert film.errors == [[None] * len(result.frames)]


@pytest.mark.parametrize("pixel", [torch.nan, torch.inf])
def test_film_has_none_for_an_error_that_is_not_finite(result, pixel):
    """A page has no word for it."""
    wild = result.frames.clone()
    wild[1, 0, 0, 0, 0, 0] = pixel
    film = widgets.film(replace(result, frames=wild), CAT.x)
    assert [error is None for error in film.errors[0]] == [k == 1 for k in range(len(wild))]
    json.dumps(film.errors, allow_nan=False)


def test_film_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"needs a result, got none; pass what invert returns"):
        widgets.film({})


@pytest.mark.parametrize(
    ("where", "there"), [({"run": 2}, "runs 0 … 1"), ({"image": 1}, "images 0 … 0")], ids=str
)
def test_film_of_a_picture_that_is_not_there_is_refused(result, where, there):
    [what] = where
    message = rf"there is no {what} \d in 'iDLG', which has {there}"
    with pytest.raises(ValueError, match=message):
        widgets.film(result, **where)


def test_film_has_scenes_on_several_axes(result):
    names = [("grey", "default"), ("noise", "default"), ("grey", "wide")]
    film = widgets.film(dict.fromkeys(names, result), axes=("start", "weights"))
    assert film.axes == ["start", "weights"]
    assert film.scenes == [list(name) for name in names]
    assert film.captions[1][0].startswith("noise, default, 0 evaluations")


def test_film_wants_one_word_for_each_axis(result):
    message = r"each of the axes \('start', 'weights'\), got \('grey',\)"
    with pytest.raises(ValueError, match=message):
        widgets.film({"grey": result}, axes=("start", "weights"))


def test_film_of_images_of_different_shapes_is_refused(result, tiny):
    model, _, shared, *_ = tiny()
    small = invert(model, shared, attacks.idlg, steps=1)
    message = r"one shape, got .*'cat': \(3, 32, 32\), 'grey': \(1, 8, 8\).*a film of each"
    with pytest.raises(ValueError, match=message):
        widgets.film({"cat": result, "grey": small})


def test_film_carries_its_own_front_end(result):
    assert "render" in widgets.film(result)._esm
