"""One contract for every recipe: whatever is added to `attacks` must keep it."""

from dataclasses import replace

import pytest
import torch

from dlgutils import Attack, attacks, invert, testing
from dlgutils.federated import gradient
from dlgutils.matching import starts, weighing_noise
from dlgutils.types import Guess

RECIPES = [recipe for recipe in vars(attacks).values() if isinstance(recipe, Attack)]
RECIPES.append(weighing_noise(attacks.idlg, 1e-3))
FOR_BATCHES = [attacks.dlg, attacks.dlg_reference]
DRAW_MASKS = [attacks.idlg_fresh_masks, attacks.idlg_mean_over_masks]

recipes = pytest.mark.parametrize("attack", RECIPES, ids=lambda a: a.name)


@recipes
@pytest.mark.parametrize("clause", testing.CLAUSES, ids=lambda c: c.__name__)
def test_attack_keeps_the_clause(attack, clause):
    clause(attack)


@pytest.mark.parametrize("attack", FOR_BATCHES, ids=lambda a: a.name)
def test_attack_takes_a_batch(attack):
    testing.clauses.takes_a_batch(attack)


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


def test_attacks_have_names_of_their_own():
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES) >= 5


@pytest.mark.parametrize(
    "attack",
    [
        attacks.dlg_reference,
        attacks.idlg_reference,
        attacks.idlg_fresh_masks,
        attacks.idlg_mean_over_masks,
    ],
    ids=lambda a: a.name,
)
def test_attack_draws_differ_from_run_to_run_and_seed_to_seed(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    one, other = (run(attack, model, [shared] * 2, seed).loss[:, 0] for seed in (0, 1))
    assert len({*one.tolist(), *other.tolist()}) == 4


def test_attack_on_a_cpu_takes_one_thread(tiny, two_threads):
    model, _, shared, *_ = tiny()
    seen = []
    run(attacks.idlg, model, shared, steps=3, watch=lambda *_: seen.append(torch.get_num_threads()))
    assert seen == [1, 1, 1]


@pytest.mark.parametrize("after", [0, 2])
def test_attack_interrupted_within_an_evaluation_keeps_those_before(tiny, after):
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


def test_attack_does_not_swallow_an_error_within_an_evaluation(tiny, two_threads):
    def distance(guess, target):
        raise RuntimeError("out of memory")

    model, _, shared, *_ = tiny()
    with pytest.raises(RuntimeError, match="out of memory"):
        run(replace(attacks.idlg, distance=distance), model, shared)
    assert torch.get_num_threads() == 2


@recipes
def test_attack_refuses_a_gradient_that_is_not_finite(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    spoilt = {name: g * torch.nan for name, g in shared.gradient.items()}
    with pytest.raises(ValueError, match="NaN or inf"):
        run(attack, model, [shared, replace(shared, gradient=spoilt)])


@pytest.mark.parametrize(
    "attack", [a for a in RECIPES if a not in FOR_BATCHES], ids=lambda a: a.name
)
def test_attack_that_reads_the_label_refuses_a_batch(attack, tiny):
    model, _, shared, *_ = tiny(batch=2)
    with pytest.raises(ValueError, match=r"needs one image, got a batch of 2"):
        run(attack, model, shared)


@pytest.mark.parametrize(
    "attack", [attacks.dlg_reference, attacks.idlg_reference], ids=lambda a: a.name
)
def test_attack_from_noise_needs_a_generator(attack, tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(ValueError, match=r"noise is drawn from a generator; pass torch\.Generator"):
        invert(model, shared, attack)


def test_dlg_needs_a_generator_for_a_batch(tiny):
    model, _, shared, *_ = tiny(batch=2)
    with pytest.raises(
        ValueError,
        match=r"guesses of a batch must differ, .*; pass torch\.Generator\(\)\.manual_seed\(0\)",
    ):
        invert(model, shared, attacks.dlg)


@pytest.mark.parametrize("attack", DRAW_MASKS, ids=lambda a: a.name)
def test_attack_that_draws_masks_needs_a_generator(attack, tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    with pytest.raises(ValueError, match=r"dropout\.mask: .*none came; pass torch\.Generator"):
        invert(model, shared, attack)


@pytest.mark.parametrize("attack", DRAW_MASKS, ids=lambda a: a.name)
def test_attack_that_draws_masks_is_in_eval_mode_without_dropout(attack, tiny):
    model, _, shared, *_ = tiny()
    eval_mode = replace(attacks.idlg, optimizer=attack.optimizer)
    assert run(attack, model, shared).loss.equal(run(eval_mode, model, shared).loss)


def test_idlg_mean_over_masks_matches_the_mean_of_the_gradients(tiny):
    model, secret, shared, *_ = tiny(dropout=0.5)
    masks = attacks.twenty_masks(model, shared, torch.Generator().manual_seed(0)).masks
    guess = attacks.label_for_each_mask(model, Guess(secret.x, secret.y, masks))
    mean = gradient(shared.weights, model, *guess)
    each = [
        gradient(shared.weights, model, *secret, {"dropout.mask": mask[None]})
        for mask in masks["dropout.mask"]
    ]
    assert len(each) == 20
    for name, value in mean.items():
        torch.testing.assert_close(value, torch.stack([one[name] for one in each]).mean(0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@recipes
def test_attack_on_a_gpu_starts_where_the_cpu_starts(attack, tiny):
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


def test_scale_masks_leaves_a_mask_that_is_missing_all_ones(tiny):
    """Without masks among its unknowns, DIA is Inverting Gradients with another name."""
    model, _, shared, *_ = tiny(dropout=0.5)
    maskless = replace(attacks.dia, start=starts.uniform)
    assert run(maskless, model, shared).loss.equal(run(attacks.inverting, model, shared).loss)
    fresh = replace(maskless, draw=attacks.fresh_masks)
    assert run(fresh, model, shared).loss.isfinite().all()


def test_scale_masks_scales_a_mask_by_the_rate_of_its_layer(tiny):
    model, *_ = tiny(dropout=0.5)
    scaled = attacks.scale_masks(model, Guess(masks={"dropout.mask": torch.ones(1, 48)}))
    assert (scaled.masks["dropout.mask"] == 2).all()
