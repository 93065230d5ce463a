"""The engine names bad input: what came, what was wanted, and the way out."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from dlgutils import Batch, Protocol, attacks, invert, models, share
from dlgutils.types import Guess, nothing


@pytest.mark.parametrize("generator", [0, [5], "0"], ids=str)
def test_invert_refuses_what_is_not_a_generator_of_the_cpu(tiny, generator):
    model, _, shared, *_ = tiny()
    message = rf"generator on the CPU, got {re.escape(repr(generator))}; .* or seeds=\[\.\.\.\]"
    with pytest.raises(ValueError, match=message):
        invert(model, shared, attacks.idlg, generator)


@pytest.mark.parametrize("attack", [None, "idlg", attacks], ids=["None", "name", "module"])
def test_invert_refuses_what_is_not_an_attack(tiny, attack):
    model, _, shared, *_ = tiny()
    with pytest.raises(ValueError, match=r"an attack is an Attack such as attacks\.idlg, .* got "):
        invert(model, shared, attack)


@pytest.mark.parametrize("seeds", [[0.5], "a", 3], ids=str)
def test_invert_seeds_that_are_not_whole_numbers_are_refused(tiny, seeds):
    model, _, shared, *_ = tiny()
    message = rf"seeds are whole numbers, got {re.escape(repr(seeds))}; pass seeds=\[0\]"
    with pytest.raises(ValueError, match=message):
        invert(model, shared, attacks.idlg, seeds=seeds)


def test_invert_a_generator_beside_seeds_is_refused(tiny, seeded):
    model, _, shared, *_ = tiny()
    with pytest.raises(ValueError, match=r"a generator draws the seeds, .*; pass one of the two"):
        invert(model, shared, attacks.idlg, seeded(0), seeds=[0])


def test_invert_there_is_one_seed_for_each_run(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(
        ValueError, match=r"2 seeds came for 3 runs; pass one for each, or a generator for all"
    ):
        invert(model, [shared] * 3, attacks.idlg, seeds=[0, 1])


def test_invert_runs_with_different_tensors_are_refused(tiny):
    model, _, shared, *_ = tiny()
    mask_names = iter("ab")

    def infer(*_):
        return Guess(masks={next(mask_names): torch.ones(1)})

    with pytest.raises(
        ValueError, match=r"the same tensors, got \['a'\] and \['b'\]; invert them one by one"
    ):
        invert(model, [shared] * 2, replace(attacks.idlg, infer=infer))


def test_invert_a_shape_that_a_users_model_does_not_take_is_named(seeded):
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
def test_invert_numbers_below_one_are_refused(tiny, option):
    model, _, shared, *_ = tiny()
    ((name, number),) = option.items()
    with pytest.raises(ValueError, match=rf"at least 1 of {name}, got {number}"):
        invert(model, shared, attacks.idlg, **option)


def test_invert_an_empty_list_is_refused(tiny):
    with pytest.raises(ValueError, match=r"at least 1 of rounds, got 0"):
        invert(tiny().model, [], attacks.idlg)


def test_invert_rounds_of_different_shapes_are_refused(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(
        ValueError, match=r"different shapes, \[\(1, 1, 8, 8\), \(2, 1, 8, 8\)\].*one by one"
    ):
        invert(model, [shared, tiny(batch=2).shared], attacks.dlg)


def test_invert_a_model_of_another_architecture_is_refused(tiny):
    with pytest.raises(
        ValueError,
        match=r"weights of another model: .* attack with the model that the client trained",
    ):
        invert(models.mlp((1, 8, 8), classes=4), tiny().shared, attacks.idlg)


def test_invert_gradients_of_another_shape_are_refused(tiny):
    model, _, shared, *_ = tiny()
    flat = {name: g.flatten() for name, g in shared.gradient.items()}
    with pytest.raises(
        ValueError,
        match=r"gradient of another model: body\.0\.weight is \(300,\) there.*\(12, 1, 5, 5\)",
    ):
        invert(model, replace(shared, gradient=flat), attacks.idlg)


def test_invert_a_zero_gradient_is_refused(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(ValueError, match=r"zero everywhere"):
        invert(
            model,
            replace(shared, gradient={n: 0 * g for n, g in shared.gradient.items()}),
            attacks.dlg,
        )


def test_invert_weights_of_fewer_digits_than_the_gradient_are_refused(tiny):
    model, _, shared, *_ = tiny()
    single = {name: w.float() for name, w in shared.weights.items()}
    with pytest.raises(ValueError, match=r"float32.*float64"):
        invert(model, replace(shared, weights=single), attacks.idlg, steps=1)


def test_invert_rounds_of_different_dtypes_are_refused(tiny):
    rounds = [tiny(dtype=dtype) for dtype in (torch.float32, torch.float64)]
    with pytest.raises(ValueError, match=r"float32.*float64|float64.*float32"):
        invert(rounds[0].model, [r.shared for r in rounds], attacks.idlg, steps=1)


def test_invert_images_of_a_shape_that_the_model_does_not_take_are_refused(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(
        ValueError, match=r"got images of shape \(3, 8, 8\), this network was built for \(1, 8, 8\)"
    ):
        invert(model, replace(shared, x_shape=(1, 3, 8, 8)), attacks.idlg)


def test_invert_a_model_with_hidden_randomness_is_refused(tiny):
    model, _, shared, *_ = tiny()
    model.extra = torch.nn.Dropout(0.5)
    with pytest.raises(ValueError, match=r"extra is an active Dropout"):
        invert(model, shared, attacks.idlg)


@pytest.mark.parametrize("seed", [-2, 2**63, 2**70])
def test_invert_refuses_seeds_that_no_result_can_hold(tiny, seed):
    model, _, shared, *_ = tiny()
    with pytest.raises(ValueError, match=rf"seeds lie in 0 … 2\*\*63 − 1, .*, got {seed}"):
        invert(model, shared, attacks.idlg, seeds=[seed])


def test_invert_refuses_an_attack_without_labels(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(ValueError, match=r"iDLG does not say what the labels are; let start"):
        invert(model, shared, replace(attacks.idlg, infer=nothing))


def test_invert_refuses_an_attack_without_images(tiny, seeded):
    model, _, shared, *_ = tiny(dropout=0.5)

    def only_masks(model, shared, generator):
        return Guess(masks=models.draw_masks(model, 1, generator))

    with pytest.raises(ValueError, match=r"iDLG does not say what the images are; let start"):
        invert(model, shared, replace(attacks.idlg, start=only_masks), seeded(0))


@pytest.mark.parametrize("change", [lambda x: x * torch.nan, lambda x: (255 * x).byte()])
def test_invert_a_start_of_no_finite_numbers_is_refused(tiny, change):
    model, secret, shared, *_ = tiny()
    with pytest.raises(ValueError, match=r"a start has finite numbers in floating point, got"):
        invert(model, shared, attacks.idlg, start=change(secret.x[None]))


def test_invert_weights_that_are_not_finite_are_refused(tiny):
    """Otherwise their update passed for one of its protocol: no comparison with NaN is true."""
    model, _, shared, *_ = tiny()
    weights = {name: torch.full_like(w, torch.nan) for name, w in shared.weights.items()}
    with pytest.raises(ValueError, match=r"the weight of \S+ has \d+ NaN or inf"):
        invert(model, replace(shared, weights=weights), attacks.idlg)


def test_invert_says_that_a_loss_takes_no_targets_to_optimise(seeded):
    """The last layer and the loss of PyTorch's first examples."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.LogSoftmax(1))
    batch = Batch(torch.rand(1, 1, 4, 4, generator=seeded(0)), torch.tensor([2]))
    shared = share(model, batch, protocol=Protocol(loss=nn.functional.nll_loss))
    assert invert(model, shared, attacks.idlg, steps=3).y.tolist() == [[2]]
    with pytest.raises(ValueError, match=r"DLG optimises the targets.*attacks\.idlg.*its logits"):
        invert(model, shared, attacks.dlg)
