"""One contract for every recipe: whatever is added to `attacks` must keep it."""

from dataclasses import replace

import pytest
import torch

from dlgutils import Attack, Shared, attacks, invert
from dlgutils.types import nothing

RECIPES = [recipe for recipe in vars(attacks).values() if isinstance(recipe, Attack)]
FOR_BATCHES = [attacks.dlg, attacks.dlg_reference]

recipes = pytest.mark.parametrize("attack", RECIPES, ids=lambda a: a.name)


@pytest.fixture
def two_threads():
    """A caller who set two threads."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def run(attack, model, rounds, seed=0, **options):
    """A short attack with a new generator."""
    return invert(
        model, rounds, attack, torch.Generator().manual_seed(seed), **{"steps": 8, **options}
    )


def test_the_recipes_have_names_of_their_own():
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES) >= 5


@recipes
def test_shapes(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    result = run(attack, model, [shared] * 3, frames=4)
    assert result.x.shape == (3, 1, 1, 8, 8)
    assert result.y.shape == (3, 1)
    assert result.loss.shape == (3, 8)
    assert result.frames.shape == (len(result.frame_steps), 3, 1, 1, 8, 8)
    assert (result.attack, result.complete) == (attack.name, True)


@pytest.mark.parametrize("attack", FOR_BATCHES, ids=lambda a: a.name)
def test_shapes_of_a_batch(attack, tiny):
    model, _, shared, *_ = tiny(batch=3)
    result = run(attack, model, shared, steps=2)
    assert (result.x.shape, result.y.shape) == ((1, 3, 1, 8, 8), (1, 3))


@recipes
def test_the_film_goes_from_the_start_to_the_end(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    steps = run(attack, model, shared, steps=9, frames=4).frame_steps
    assert (steps[0], steps[-1]) == (0, 9)
    assert (steps.diff() > 0).all()
    assert len(steps) <= 4 + 1  # the start comes on top


@recipes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_that_of_the_gradients(attack, tiny, dtype):
    model, _, shared, *_ = tiny(dropout=0.5, dtype=dtype)
    result = run(attack, model, shared)
    assert result.x.dtype == result.loss.dtype == result.frames.dtype == dtype


@recipes
def test_labels_are_class_ids(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    y = run(attack, model, [shared] * 2).y
    assert y.dtype == torch.int64
    assert ((y >= 0) & (y < 4)).all()


@recipes
def test_alone_equals_in_company(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    alone = run(attack, model, shared)
    company = run(
        attack, model, [shared, *(tiny(seed, dropout=0.5).shared for seed in (1, 2))]
    ).run(0)
    assert (company.loss - alone.loss).abs().max() <= 1e-10 * alone.loss[0, 0]
    torch.testing.assert_close(company.x, alone.x, rtol=1e-8, atol=1e-8)
    assert company.y.equal(alone.y)


@recipes
def test_the_generator_decides(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    first, second = (run(attack, model, [shared] * 2) for _ in range(2))
    assert first.loss.equal(second.loss)
    assert first.frames.equal(second.frames)


@pytest.mark.parametrize(
    "attack",
    [attacks.dlg_reference, attacks.idlg_reference, attacks.idlg_fresh_masks],
    ids=lambda a: a.name,
)
def test_what_is_drawn_differs_from_run_to_run_and_seed_to_seed(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    one, other = (run(attack, model, [shared] * 2, seed).loss[:, 0] for seed in (0, 1))
    assert len({*one.tolist(), *other.tolist()}) == 4


@recipes
def test_nothing_global_is_touched(attack, tiny, two_threads):
    model, _, shared, *_ = tiny(dropout=0.5)
    state = torch.get_rng_state()
    run(attack, model, shared)
    assert torch.get_rng_state().equal(state)
    assert torch.get_num_threads() == 2


@recipes
def test_neither_the_round_nor_the_model_is_changed(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    things = [
        *shared.weights.values(),
        *shared.gradient.values(),
        *shared.masks.values(),
        *model.state_dict().values(),
    ]
    before = [t.clone() for t in things]
    run(attack, model, shared)
    assert all(t.equal(b) for t, b in zip(things, before, strict=True))


@recipes
def test_the_weights_attacked_are_those_shared(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    retrained = tiny(9, dropout=0.5).model
    assert run(attack, retrained, shared).loss.equal(run(attack, model, shared).loss)


@recipes
def test_the_masks_that_an_oracle_revealed_are_not_read(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    assert run(attack, model, replace(shared, masks=None)).loss.equal(
        run(attack, model, shared).loss
    )


@recipes
def test_a_wrong_mask_that_is_read_changes_the_loss(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    wrong = {"dropout.mask": 2 * (torch.arange(48.0).double()[None] % 2)}
    maskless = replace(attack, draw=nothing)
    misled = replace(maskless, read=lambda model, shared: {**attack.read(model, shared), **wrong})
    losses = [run(a, model, shared, steps=1).loss for a in (maskless, misled)]
    assert not losses[0].isclose(losses[1], rtol=1e-3)


def test_an_attack_on_a_cpu_takes_one_thread(tiny, two_threads):
    model, _, shared, *_ = tiny()
    seen = []
    run(attacks.idlg, model, shared, steps=3, watch=lambda *_: seen.append(torch.get_num_threads()))
    assert seen == [1, 1, 1]


@recipes
def test_a_watch_that_answers_true_stops_the_attack(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    whole = run(attack, model, [shared] * 2)
    seen = []

    def watch(evaluation, lowest, x):
        seen.append((evaluation, lowest.shape, x.shape))
        return evaluation == 3

    result = run(attack, model, [shared] * 2, watch=watch)
    assert seen == [(k, (2,), (2, 1, 1, 8, 8)) for k in (1, 2, 3)]
    assert not result.complete
    assert result.loss.equal(whole.loss[:, :3])
    assert result.frame_steps[-1] == 3


@recipes
def test_ctrl_c_returns_what_was_found_so_far(attack, tiny, two_threads):
    def interrupt(evaluation, *_):
        if evaluation == 4:
            raise KeyboardInterrupt

    model, _, shared, *_ = tiny(dropout=0.5)
    result = run(attack, model, shared, watch=interrupt)
    assert not result.complete
    assert result.loss.equal(run(attack, model, shared).loss[:, :4])
    assert result.best().x.isfinite().all()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("after", [0, 2])
def test_ctrl_c_within_an_evaluation_leaves_the_ones_before(tiny, after):
    calls = []

    def distance(guess, target):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return attacks.idlg.distance(guess, target)

    model, _, shared, *_ = tiny()
    result = run(replace(attacks.idlg, distance=distance), model, shared)
    assert result.loss.shape == (1, after)
    assert not result.complete
    assert result.best().x.shape == (1, 1, 1, 8, 8)


def test_an_error_within_an_evaluation_is_not_swallowed(tiny, two_threads):
    def distance(guess, target):
        raise RuntimeError("out of memory")

    model, _, shared, *_ = tiny()
    with pytest.raises(RuntimeError, match="out of memory"):
        run(replace(attacks.idlg, distance=distance), model, shared)
    assert torch.get_num_threads() == 2


@recipes
def test_a_gradient_that_is_not_finite_is_refused(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    spoilt = {name: g * torch.nan for name, g in shared.gradient.items()}
    with pytest.raises(ValueError, match="NaN or inf"):
        run(attack, model, [shared, replace(shared, gradient=spoilt)])


@pytest.mark.parametrize(
    "attack", [a for a in RECIPES if a not in FOR_BATCHES], ids=lambda a: a.name
)
def test_recipes_that_read_the_label_refuse_a_batch(attack, tiny):
    model, _, shared, *_ = tiny(batch=2)
    with pytest.raises(ValueError, match=r"needs one image, got a batch of 2"):
        run(attack, model, shared)


@pytest.mark.parametrize(
    "attack", [attacks.dlg_reference, attacks.idlg_reference], ids=lambda a: a.name
)
def test_a_start_of_noise_needs_a_generator(attack, tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(ValueError, match=r"noise is drawn from a generator; pass torch\.Generator"):
        invert(model, shared, attack)


def test_the_guesses_of_a_batch_need_a_generator(tiny):
    model, _, shared, *_ = tiny(batch=2)
    with pytest.raises(
        ValueError,
        match=r"guesses of a batch must differ, .*; pass torch\.Generator\(\)\.manual_seed\(0\)",
    ):
        invert(model, shared, attacks.dlg)


def test_fresh_masks_need_a_generator(tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    with pytest.raises(ValueError, match=r"dropout\.mask: .*none came; pass torch\.Generator"):
        invert(model, shared, attacks.idlg_fresh_masks)


def test_without_dropout_fresh_masks_change_nothing(tiny):
    model, _, shared, *_ = tiny()
    eval_mode = replace(attacks.idlg, optimizer=attacks.idlg_fresh_masks.optimizer)
    assert run(attacks.idlg_fresh_masks, model, shared).loss.equal(
        run(eval_mode, model, shared).loss
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@recipes
def test_a_gpu_starts_where_the_cpu_starts(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    on_gpu = replace(
        shared,
        **{
            k: {n: t.cuda() for n, t in getattr(shared, k).items()} for k in ("weights", "gradient")
        },
    )
    cpu, gpu = run(attack, model, [shared] * 2), run(attack, model, [on_gpu] * 2)
    assert {t.device.type for t in (gpu.x, gpu.y, gpu.loss, gpu.frames)} == {"cuda"}
    assert gpu.frames[0].cpu().equal(cpu.frames[0])
    torch.testing.assert_close(gpu.loss[:, :4].cpu(), cpu.loss[:, :4], rtol=1e-6, atol=1e-12)


# Starts


@pytest.mark.parametrize(
    "start", [starts.uniform, starts.noise, starts.pink], ids=lambda s: s.__name__
)
def test_random_starts_need_a_generator_and_follow_it(start, tiny, seeded):
    model, _, shared, *_ = tiny()
    one, again, other = (start(model, shared, seeded(seed))["x"] for seed in (0, 0, 1))
    assert one.equal(again)
    assert not one.equal(other)
    assert (one.shape, one.dtype) == (shared.x_shape, torch.float64)
    with pytest.raises(ValueError, match=r"drawn from a generator; pass torch\.Generator\(\)"):
        start(model, shared, None)


def test_pink_noise_is_smoother_than_noise_and_lies_about_grey(seeded):
    shared = replace(_large(), x_shape=(1, 3, 32, 32))
    for start, smooth in ((starts.pink, True), (starts.noise, False)):
        x = start(None, shared, seeded(0))["x"]
        steps = (x[..., 1:] - x[..., :-1]).std() / x.std()
        assert (steps < 1) == smooth
    assert 0.1 < starts.pink(None, shared, seeded(0))["x"].std() < 0.3


def _large():
    return Shared({}, {"fc.bias": torch.zeros(12)}, ())


def test_undecided_gives_every_class_the_same_chance(tiny, seeded):
    model, _, shared, *_ = tiny()
    guess = starts.with_logits(starts.pink)(model, shared, seeded(0))
    assert (guess["logits"] == 0).all()
    assert guess["logits"].shape == (1, 4)
    assert guess["x"].equal(starts.pink(model, shared, seeded(0))["x"])
