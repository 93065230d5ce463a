"""Things to touch: films hold the pictures that the attack went through; the lab reruns it, here in the kernel."""

import json
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlgutils import attacks, data, invert, javascript, metrics, models, share, widgets

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
    after = [result.best_loss_so_far[1, k - 1].item() for k in film.evaluations[0][1:]]
    assert film.measure == "matching loss"
    assert film.errors == [[None, *after]]  # at the start none has been computed


def test_a_picture_alone_is_a_film_of_one_frame(result):
    never, only = torch.empty(1, 0), result.run(0).frames[-1:]
    film = widgets.film(
        replace(result.run(0), loss=never, frames=only, frame_steps=torch.tensor([0])), CAT.x
    )
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
    assert (
        first
        == f"iDLG, 0 evaluations, RMSE {metrics.rmse(torch.full_like(CAT.x, 0.5), CAT.x).item():.3f}"
    )
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
    assert (
        [len(c) for c in film.captions]
        == [len(pixels(f, film.shape)) for f in film.frames]
        == [len(result.frames), 2]
    )
    assert film.captions[1][0].startswith("start, 0 evaluations")


def test_each_run_may_have_a_truth_of_its_own(result):
    truth = torch.stack([CAT.x, data.photos("coffee").x])
    assert widgets.film(result, truth, run=1).truth == as_bytes(truth[1, 0])


def test_the_image_of_a_batch_is_chosen(tiny):
    model, batch, shared, *_ = tiny(batch=2)
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


@pytest.mark.parametrize(
    ("where", "there"), [({"run": 2}, "runs 0 … 1"), ({"image": 1}, "images 0 … 0")], ids=str
)
def test_a_picture_that_is_not_there_is_refused(result, where, there):
    with pytest.raises(
        ValueError, match=rf"there is no {next(iter(where))} \d in 'iDLG', which has {there}"
    ):
        widgets.film(result, **where)


def test_scenes_may_lie_on_several_axes(result):
    names = [("grey", "default"), ("noise", "default"), ("grey", "wide")]
    film = widgets.film(dict.fromkeys(names, result), axes=("start", "weights"))
    assert (film.axes, film.scenes) == (["start", "weights"], [list(name) for name in names])
    assert film.captions[1][0].startswith("noise, default, 0 evaluations")


def test_a_scene_has_one_word_for_each_axis(result):
    with pytest.raises(
        ValueError, match=r"each of the axes \('start', 'weights'\), got \('grey',\)"
    ):
        widgets.film({"grey": result}, axes=("start", "weights"))


def test_images_of_different_shapes_make_no_film(result, tiny):
    model, _, shared, *_ = tiny()
    small = invert(model, shared, attacks.idlg, steps=1)
    with pytest.raises(
        ValueError,
        match=r"one shape, got .*'cat': \(3, 32, 32\), 'grey': \(1, 8, 8\).*a film of each",
    ):
        widgets.film({"cat": result, "grey": small})


def test_a_film_carries_its_own_front_end(result):
    assert "render" in widgets.film(result)._esm


# The lab: the engine of the page is tested in a browser, tests/browser/test_lab.py


@pytest.fixture
def lab(monkeypatch):
    """A lab whose messages to the page are kept in `sent`; stopped at the end, whatever happens."""
    lab = widgets.lab()
    lab.sent = []
    monkeypatch.setattr(
        lab, "send", lambda content, buffers=None: lab.sent.append((content, buffers))
    )
    yield lab
    lab._handle_custom_msg({"kind": "stop"}, [])
    lab.wait(30)


def run(shared, attack, *, rate=0.0, steps=5, label=None, mask=None):
    """What the page says when its reader presses Run with a kernel: a message and its buffers."""
    named = {f"weights.{n}": t for n, t in shared.weights.items()} | {
        f"gradient.{n}": t for n, t in shared.gradient.items()
    }
    message = {
        "kind": "run",
        "run": 7,
        "attack": attack,
        "rate": rate,
        "steps": steps,
        "seed": 0,
        "names": list(named),
        "label": label,
    }
    buffers = [memoryview(t.numpy().tobytes()) for t in named.values()]
    return message | ({} if mask is None else {"mask": mask.flatten().tolist()}), buffers


def round_of(rate, seeded):
    model = models.init_default(models.lenet(dropout=rate), seeded(3))
    return model, share(model, CAT, seeded(4))


def test_a_lab_offers_every_photograph_and_attack(lab):
    assert lab.photos == list(data.class_names("photos"))
    assert lab.attacks == ["iDLG", "iDLG, mask read", "DLG", "iDLG, fresh masks"]
    assert pixels(lab.images, (32, 32, 3))[1].tobytes() == as_bytes(CAT.x[0])
    assert (lab.photo, lab.label, lab.weights, lab.rate, lab.engine) == (
        "cat",
        "cat",
        "default",
        0.0,
        "page",
    )


def test_a_lab_opens_with_what_is_chosen():
    lab = widgets.lab("coffee", rate=0.5, attack="iDLG, mask read", weights="wide")
    assert (lab.photo, lab.label, lab.rate, lab.attack, lab.weights, lab.steps) == (
        *("coffee", "coffee", 0.5),
        *("iDLG, mask read", "wide", 300),
    )


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"photo": "dog"}, "no photo 'dog'; choose one of astronaut, cat"),
        ({"attack": "magic"}, "no attack 'magic'; choose one of iDLG, iDLG, mask read"),
        ({"weights": "small"}, "no weights 'small'; choose one of default, wide"),
        ({"rate": 0.25}, "no rate 0.25; choose one of 0.0, 0.1, "),
        ({"steps": 0}, "from 1 to 5000 steps, got 0; du.invert takes more"),
    ],
    ids=str,
)
def test_what_there_is_not_to_choose_is_refused(choice, said):
    with pytest.raises(ValueError, match=said):
        widgets.lab(**choice)


@pytest.mark.parametrize("attack", ["iDLG", "iDLG, mask read", "DLG"])
def test_the_kernel_runs_what_the_library_runs(lab, seeded, attack):
    recipe = {recipe.name: recipe for recipe in javascript.ATTACKS}[attack]
    model, shared = round_of(0.5, seeded)
    read = recipe.read(model, shared)
    label = int(read["y"]) if "y" in read else None
    lab._handle_custom_msg(
        *run(shared, attack, rate=0.5, label=label, mask=read.get("dropout.mask"))
    )
    lab.wait(60)
    by_hand = invert(model, shared, recipe, seeded(0), steps=5)
    torch.testing.assert_close(lab.result.loss, by_hand.loss)
    told, (x,) = lab.sent[-1]
    assert (told["kind"], told["run"], told["evaluation"], told["loss"]) == (
        "done",
        7,
        5,
        float(lab.result.lowest),
    )
    assert x == lab.result.x[0].numpy().tobytes()


def test_stop_ends_the_run_early(lab, seeded):
    lab._handle_custom_msg(*run(round_of(0.0, seeded)[1], "iDLG", steps=5000, label=1))
    while not lab.sent:
        assert lab._thread.is_alive()
        time.sleep(0.05)
    lab._handle_custom_msg({"kind": "stop"}, [])
    lab.wait(60)
    assert not lab.result.complete
    assert 0 < lab.result.loss.shape[1] < 5000


def test_a_new_run_ends_the_one_before(lab, seeded):
    _, shared = round_of(0.0, seeded)
    lab._handle_custom_msg(*run(shared, "iDLG", steps=5000, label=1))
    lab._handle_custom_msg(*run(shared, "iDLG", steps=4, label=1))
    lab.wait(60)
    assert (lab.result.complete, lab.result.loss.shape) == (True, (1, 4))


def test_a_run_that_cannot_be_is_explained_and_the_lab_stays_usable(lab, seeded):
    _, shared = round_of(0.0, seeded)
    lab._handle_custom_msg(*run(shared, "iDLG", steps=0, label=1))
    lab.wait(60)
    ((told, _),) = lab.sent
    assert told["kind"] == "failed"
    assert "at least 1 of steps, got 0" in told["message"]
    lab._handle_custom_msg(*run(shared, "iDLG", steps=2, label=1))
    lab.wait(60)
    assert lab.result.complete


def test_the_page_learns_of_the_kernel(lab):
    lab._handle_custom_msg({"kind": "hello"}, [])
    assert lab.sent == [({"kind": "kernel"}, None)]


# The question


FRUIT = {"a tomato": "A botanist would say so.", "a rocket": "It is a leaf, or it flies."}


@pytest.mark.parametrize("right", FRUIT)
def test_a_question_has_its_answers_in_order_and_knows_the_right_one(right):
    question = widgets.question("Which is a fruit?", FRUIT, right=right)
    assert question.text == "Which is a fruit?"
    assert question.answers == [list(pair) for pair in FRUIT.items()]
    assert question.answers[question.right][0] == right


def test_a_question_carries_its_own_front_end():
    assert "fieldset" in widgets.question("Which is a fruit?", FRUIT, right="a tomato")._esm


@pytest.mark.parametrize("answers", [{}, {"a tomato": "What else?"}], ids=len)
def test_a_question_without_a_choice_is_refused(answers):
    with pytest.raises(ValueError, match=r"needs at least two answers to choose from, got \["):
        widgets.question("Which is a fruit?", answers, right="a tomato")


def test_a_right_answer_that_cannot_be_chosen_is_refused():
    with pytest.raises(
        ValueError, match=r"the right answer is one of \['a tomato', 'a rocket'\], got 'a pea'"
    ):
        widgets.question("Which is a fruit?", FRUIT, right="a pea")
