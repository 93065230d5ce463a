"""A program returns what its function does, holds no arguments, and is kept for its equals only."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import grad_and_value, vmap
from torch.nn.functional import fold, unfold

from dlgutils import Batch, attacks, invert, models, share
from dlgutils.matching import all_runs, kept_programs, objectives, patches, programs
from dlgutils.matching.kept_programs import comparable, keep, kept, sizes
from dlgutils.matching.problem import Problem
from dlgutils.matching.programs import Program

LAYOUTS = {  # size, kernel, dilation, padding, stride
    "plain": ((9, 8), (3, 3), (1, 1), (0, 0), (1, 1)),
    "all": ((9, 8), (3, 2), (2, 1), (3, 2), (2, 3)),
    "as in a LeNet": ((8, 8), (5, 5), (1, 1), (2, 2), (2, 2)),
}


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """No program from another test, and tracing always pays."""
    monkeypatch.setattr(kept_programs, "_kept", type(kept_programs._kept)())
    monkeypatch.setattr(all_runs, "_TRACE_PAYS", 0)


@pytest.fixture
def made(monkeypatch):
    """The programs that are made within a test, in order."""
    made = []

    class Counted(Program):
        def __init__(self, *args):
            made.append(self)
            super().__init__(*args)

    monkeypatch.setattr(all_runs, "Program", Counted)
    return made


def a_round(model, seeded, seed=0):
    x = torch.rand(1, 1, 8, 8, generator=seeded(seed), dtype=torch.float64)
    return share(model, Batch(x, torch.tensor([seed % 4])))


def tiny(**options):
    return models.lenet((1, 8, 8), 4, **options).double()


# Programs


def square(z, options):
    """A part that needs the options alone, and one that needs z."""
    return (z * options["scale"].exp()).square().sum(), z.sum()


@pytest.mark.parametrize("scripted", [True, False], ids=["scripted", "as it is"])
def test_program_returns_what_the_function_does(scripted, monkeypatch):
    if not scripted:
        monkeypatch.delattr(torch.jit, "trace")
    z = torch.rand(3, dtype=torch.float64)
    options = {"scale": torch.rand(3, dtype=torch.float64)}
    program = Program(square, z, options)
    for fixed in (options, {"scale": torch.ones(3).double()}):
        function = program.given(fixed)
        for point in (z, 2 * z, -z):
            for one, other in zip(function(point), square(point, fixed), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-14, atol=0)
    assert isinstance(program.every, torch.jit.ScriptModule) == scripted


def test_program_computes_what_is_fixed_once():
    options = {"scale": torch.rand(3)}
    program = Program(square, torch.rand(3), options)
    assert "exp" in program.before.code
    assert "aten::exp" not in str(program.every.inlined_graph)


def test_program_returns_tensors_that_can_be_trained_and_changed():
    value, _ = Program(square, torch.rand(3), {"scale": torch.rand(3)}).given(
        {"scale": torch.zeros(3)}
    )(torch.ones(3))
    value += 1
    assert value.requires_grad_().is_leaf


def test_program_starts_afresh_where_something_is_changed_in_place():
    def function(z, start):
        total = start * 1
        total += z
        return (total,)

    start = torch.ones(3)
    add = Program(function, torch.ones(3), start).given(start)
    for _ in range(3):
        assert add(torch.ones(3))[0].equal(torch.full((3,), 2.0))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", LAYOUTS)
def test_patches_are_those_of_torch(seeded, name, batch):
    size, kernel, dilation, padding, stride = LAYOUTS[name]
    x = torch.randn(batch, 2, *size, generator=seeded(0)).double()
    columns = unfold(x, kernel, dilation, padding, stride)
    assert patches.im2col(x, kernel, dilation, padding, stride).equal(columns)
    image = patches.col2im(columns, size, kernel, dilation, padding, stride)
    if batch == 1:
        assert image is NotImplemented
    else:
        torch.testing.assert_close(image, fold(columns, size, kernel, dilation, padding, stride))


def test_patches_take_images_whose_channels_come_last(seeded):
    x = torch.randn(2, 3, 8, 8, generator=seeded(0))
    last = x.to(memory_format=torch.channels_last)
    same = patches.im2col(last, (3, 3), (1, 1), (1, 1), (2, 2))
    assert same.equal(unfold(x, 3, 1, 1, 2))


@pytest.mark.parametrize("runs", [1, 2])
def test_program_of_an_objective_is_what_vmap_computes(seeded, runs):
    model = tiny()
    rounds = [a_round(model, seeded, k) for k in range(runs)]
    problem = Problem(model, rounds, attacks.dlg, range(runs), None)
    function = grad_and_value(problem.objective)
    args = problem.start + 0.1, {}, problem.given
    program = Program(all_runs._of_all(runs, function), *args)
    got = program.given(problem.given)(*args[:2])
    for one, other in zip(got, vmap(function)(*args), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


# What is kept


def test_kept_program_serves_the_next_attack_with_the_same_answer(seeded, made):
    model = tiny()
    rounds = [a_round(model, seeded, k) for k in range(3)]
    first = [invert(model, shared, attacks.idlg, steps=20) for shared in rounds]
    assert len(made) == 1
    kept_programs._kept.clear()
    for shared, result in zip(rounds, first, strict=True):
        assert invert(model, shared, attacks.idlg, steps=20).loss.equal(result.loss)
        kept_programs._kept.clear()
    assert len(made) == 4


def test_result_of_a_short_attack_does_not_depend_on_longer_ones_before(seeded, monkeypatch):
    monkeypatch.setattr(all_runs, "_TRACE_PAYS", 10 * 13)
    model = tiny()
    shared = a_round(model, seeded)
    before = invert(model, shared, attacks.idlg, steps=9)
    invert(model, shared, attacks.idlg, steps=10)
    assert len(kept_programs._kept) == 1
    assert invert(model, shared, attacks.idlg, steps=9).loss.equal(before.loss)


DIFFERENT = {
    "another activation": (tiny(activation=nn.Tanh), attacks.idlg),
    "another prior": (tiny(), replace(attacks.idlg, prior=lambda guess: guess.x.square().sum())),
    "another distance": (tiny(), replace(attacks.idlg, distance=objectives.cosine_distance)),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_kept_program_serves_no_other_network_and_no_other_recipe(seeded, made, name):
    model = tiny()
    invert(model, a_round(model, seeded), attacks.idlg, steps=5)
    other, attack = DIFFERENT[name]
    shared = a_round(other, seeded)
    after = invert(other, shared, attack, steps=5)
    assert len(made) == 2
    kept_programs._kept.clear()
    assert invert(other, shared, attack, steps=5).loss.equal(after.loss)


class Reads(nn.Module):
    """A model whose `forward` reads a buffer, a setting, and a number outside."""

    outside = 1.0

    def __init__(self, buffer=1.0, setting=1.0):
        super().__init__()
        self.fc = nn.Linear(64, 4).double()
        self.register_buffer("factor", torch.tensor(buffer).double())
        self.setting = setting

    def forward(self, x):
        """Logits."""
        return self.fc(x.flatten(1)) * self.factor * self.setting * Reads.outside


@pytest.mark.parametrize("what", ["buffer", "setting", "outside"])
def test_kept_program_is_not_taken_where_forward_reads_other_numbers(
    seeded, made, monkeypatch, what
):
    model = Reads()
    weights = model.state_dict()
    invert(model, a_round(model, seeded), attacks.idlg, steps=5)
    if what == "outside":
        monkeypatch.setattr(Reads, "outside", 1.5)
        other = model
    else:
        other = Reads(**{what: 1.5})
        other.fc.load_state_dict({k[3:]: v for k, v in weights.items() if k.startswith("fc.")})
    shared = a_round(other, seeded)
    after = invert(other, shared, attacks.idlg, steps=5)
    assert len(made) == 2
    kept_programs._kept.clear()
    assert invert(other, shared, attacks.idlg, steps=5).loss.equal(after.loss)


def test_kept_program_holds_neither_the_rounds_nor_the_model(seeded):
    model = tiny()
    shared = a_round(model, seeded)
    held = [weakref.ref(model), weakref.ref(shared.weights["fc.weight"])]
    invert(model, shared, attacks.idlg, steps=5)
    del model, shared
    gc.collect()
    assert len(kept_programs._kept) == 1
    assert [each() for each in held] == [None, None]


def test_keep_lets_go_of_what_was_unused_for_longest():
    for k in range(kept_programs._MOST):
        keep(k, k + 1)
    assert kept(0) == 1
    keep("new", "program")
    assert kept(1) is None
    assert kept(0) == 1


def test_comparable_is_equal_for_equal_parts_only():
    def settings(**changed):
        return {"list": [1, {2}], "mapping": {"a": None}, **changed}

    assert comparable(settings()) == comparable(settings())
    assert comparable(settings()) != comparable(settings(list=[1, {3}]))
    assert comparable(settings(x=bytearray())) != comparable(settings(x=bytearray()))


def test_sizes_tell_shapes_names_and_dtypes_apart():
    tensors = {"a": torch.ones(2, 3)}
    same = {"a": torch.zeros(2, 3)}
    others = ({"b": torch.ones(2, 3)}, {"a": torch.ones(3, 2).T}, {"a": torch.ones(2, 3).double()})
    assert sizes(tensors) == sizes(same)
    assert all(sizes(tensors) != sizes(other) for other in others)


def test_program_scripts_nothing_on_other_devices():
    graph = object()
    assert programs._scripted(graph, (torch.ones(1, device="meta"),)) is graph
