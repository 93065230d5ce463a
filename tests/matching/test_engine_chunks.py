"""The engine's chunks and traces, memory that runs out, and runs that leave."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dlgutils import Batch, attacks, invert, models, share
from dlgutils.matching import all_runs, optimizers
from dlgutils.matching.objectives import relative_squared_error


@pytest.mark.parametrize(
    "attack", [attacks.dlg, attacks.idlg_reference, attacks.idlg_fresh_masks], ids=lambda a: a.name
)
def test_invert_chunks_change_nothing(attack, tiny, seeded):
    model = tiny(dropout=0.5).model
    rounds = [tiny(k, dropout=0.5).shared for k in range(5)]
    whole, parts = (
        invert(model, rounds, attack, seeded(0), steps=6, chunk=chunk) for chunk in (5, 2)
    )
    assert parts.frame_steps.equal(whole.frame_steps)
    assert parts.seeds.equal(whole.seeds)
    for name in ("x", "y", "loss", "frames"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-8, atol=1e-8)


def test_invert_a_chunk_that_ends_early_keeps_its_last_picture(tiny):
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


def test_invert_an_interrupted_attack_returns_all_runs_and_what_they_have(tiny):
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
    assert result.best_loss[2] == torch.inf


def starved(most):
    """iDLG whose memory suffices for `most` runs: with more, an allocation that really fails."""
    lbfgs = optimizers.lbfgs()

    def init(z):
        return lbfgs.init(z if len(z) <= most else z.new_empty(2**50))

    return replace(attacks.idlg, optimizer=lbfgs._replace(init=init))


def test_invert_out_of_memory_halves_the_chunk_and_says_so(tiny):
    model, rounds = tiny().model, [tiny(k).shared for k in range(5)]
    with pytest.warns(UserWarning, match="out of memory with 4 runs at once; going on with 2"):
        result = invert(model, rounds, starved(3), steps=3, chunk=4)
    assert result.loss.allclose(invert(model, rounds, attacks.idlg, steps=3).loss)


def test_invert_out_of_memory_with_one_run_names_the_way_out(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(
        MemoryError, match=r"one run alone does not fit .* optimizers\.lbfgs\(history=20\)"
    ):
        invert(model, shared, starved(0), chunk=1)


def test_invert_an_error_of_the_users_model_is_not_taken_for_a_lack_of_memory(tiny):
    model, _, shared, *_ = tiny()
    broken = replace(
        attacks.idlg, distance=lambda guess, target: guess["fc.bias"] @ target["fc.weight"]
    )
    with pytest.raises(RuntimeError, match="return a scalar Tensor, got tensor with 1 dims"):
        invert(model, shared, broken)


@pytest.mark.parametrize("attack", [attacks.dlg, attacks.idlg_fresh_masks], ids=lambda a: a.name)
def test_invert_a_traced_attack_is_the_same_attack(attack, tiny, seeded, monkeypatch):
    model, rounds = tiny(dropout=0.5).model, [tiny(k, dropout=0.5).shared for k in range(2)]
    plain = invert(model, rounds, attack, seeded(0), steps=8)
    monkeypatch.setattr(all_runs, "_TRACE_PAYS", 0)
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
def test_invert_convolutions_of_every_kind_survive_the_trace(layer, seeded, monkeypatch):
    gen, size = seeded(0), layer(torch.rand(1, 1, 8, 8)).numel()
    model = models.init_default(
        nn.Sequential(layer, nn.Sigmoid(), nn.Flatten(), nn.Linear(size, 3)).double(), gen
    )
    shared = share(
        model, Batch(torch.rand(1, 1, 8, 8, generator=gen, dtype=torch.float64), torch.tensor([2]))
    )
    plain = invert(model, shared, attacks.idlg, steps=4)
    monkeypatch.setattr(all_runs, "_TRACE_PAYS", 0)
    torch.testing.assert_close(
        invert(model, shared, attacks.idlg, steps=4).loss, plain.loss, rtol=1e-9, atol=1e-12
    )


def test_invert_runs_that_have_stopped_leave_and_the_others_do_not_notice(tiny):
    """Two of three meet NaN; after the first look one run is left, and its path is what it was."""
    rounds = [next(r for r in map(tiny, range(50)) if r.secret.y == y) for y in (0, 1, 2)]
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
