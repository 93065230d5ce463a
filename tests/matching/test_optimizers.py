"""Many functions at once: each run as torch does it alone, not uphill, not disturbed by others."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import grad_and_value, vmap
from torch.nn.functional import cross_entropy

from dlgutils import Batch, attacks, data, invert, models, share
from dlgutils.matching import optimizers

LBFGS = {
    "lbfgs": optimizers.lbfgs(),
    "lbfgs without line search": optimizers.lbfgs(line_search=False),
}
ALL = {
    **LBFGS,
    "adam": optimizers.adam(),
    "signed adam": optimizers.adam(signed=True, box=(-9, 9), patience=2),
}
SEEDS = st.integers(0, 2**31)

with_each = pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL)
with_each_lbfgs = pytest.mark.parametrize("optimizer", LBFGS.values(), ids=LBFGS)


def rosenbrock(z):
    """The banana valley, at 0 in (1, …, 1)."""
    return (100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum()


def quadratic(seed, n=6, condition=100.0):
    """A random convex quadratic whose minimum is 0, at a random point."""
    gen = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(n, n, generator=gen, dtype=torch.float64))
    middle = torch.randn(n, generator=gen, dtype=torch.float64)
    scale = torch.logspace(0, 1, n, condition).double()
    return lambda z: ((basis @ (z - middle)) ** 2 * scale).sum() / 2


def start(seed, runs, n=6):
    """N(0, 1) points, (runs, n)."""
    return torch.randn(runs, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def walk(optimizer, function, z, ticks, spoil=None):
    """Ask and tell: the values at all trials, (runs, ticks), and every state.

    spoil(tick, values) may change the values.
    """
    states = [optimizer.init(z)]
    values = []
    for tick in range(ticks):
        slope, value = vmap(grad_and_value(function))(states[-1].trial)
        value = value if spoil is None else spoil(tick, value)
        values.append(value)
        states.append(optimizer.update(states[-1], value, slope))
    return torch.stack(values, 1), states


def torch_losses(make, function, z, steps):
    """What an optimiser of torch.optim evaluates, one value a step."""
    z = z.clone().requires_grad_()
    optimizer = make([z])

    def closure():
        optimizer.zero_grad()
        value = function(z)
        value.backward()
        return value

    return torch.stack([optimizer.step(closure).detach() for _ in range(steps)])


def plain_lbfgs(parameters):
    """As DLG's public code makes it: one evaluation a step."""
    return torch.optim.LBFGS(parameters, max_iter=1)


# As torch does


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("history", [3, 100])
def test_lbfgs_without_line_search_follows_torch(seed, history):
    function = quadratic(seed, condition=10.0)
    z = start(seed + 1, 1)

    def make(parameters):
        return torch.optim.LBFGS(parameters, max_iter=1, history_size=history)

    expected = torch_losses(make, function, z[0], 30)
    optimizer = optimizers.lbfgs(history=history, line_search=False)
    values, states = walk(optimizer, function, z, 30)
    alive = torch.stack([s.alive[0] for s in states[:-1]])
    assert alive.sum() > 12
    torch.testing.assert_close(values[0, alive], expected[alive], rtol=1e-6, atol=1e-16)


def test_lbfgs_without_line_search_stops_where_torch_stops():
    """A shallow bowl: torch's tolerances end the descent before the bottom."""
    z = 1e3 * start(1, 1)
    bowl = quadratic(0, condition=10.0)

    def shallow(z):
        return 1e-6 * bowl(z)

    expected = torch_losses(plain_lbfgs, shallow, z[0], 40)
    values, states = walk(optimizers.lbfgs(line_search=False), shallow, z, 40)
    assert not states[-1].alive
    torch.testing.assert_close(values[0], expected, rtol=1e-6, atol=0)


def test_lbfgs_without_line_search_does_not_start_on_a_flat_slope():
    """torch's tolerances: why the public loop stands still on small gradients."""
    z = start(1, 1)
    bowl = quadratic(0)

    def flat(z):
        return 1e-10 * bowl(z)

    expected = torch_losses(plain_lbfgs, flat, z[0], 3)
    values, states = walk(optimizers.lbfgs(line_search=False), flat, z, 3)
    assert values[0].equal(expected)
    assert not states[1].alive


@pytest.mark.parametrize("seed", [0, 1], ids=["diverging", "converging"])
def test_idlg_reference_follows_the_public_loop(seed, seeded):
    """30 evaluations of DLG's objective.

    Wide weights, N(0, 1) start, unscaled loss, torch.optim.LBFGS with lr 1.
    """
    model = models.init_uniform(models.lenet().double(), seeded(seed))
    x, y = data.photos("cat")
    shared = share(model, Batch(x.double(), y))
    seed_of_the_run = int(torch.randint(2**62, (1,), generator=seeded(seed)))
    guess = torch.randn(x.shape, generator=seeded(seed_of_the_run)).double()

    def matching_loss(x):
        loss = cross_entropy(model(x), y)
        gradient = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        pairs = zip(gradient, shared.gradient.values(), strict=True)
        return sum(((g - s) ** 2).sum() for g, s in pairs)

    expected = torch_losses(plain_lbfgs, matching_loss, guess, 30)
    result = invert(model, shared, attacks.idlg_reference, seeded(seed), steps=30)
    assert (expected[-1] < expected[0] / 5) == (seed == 1)
    torch.testing.assert_close(result.loss[0], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("function", [rosenbrock, quadratic(1)], ids=["rosenbrock", "quadratic"])
def test_adam_follows_torch(function):
    z = start(1, 3)
    values, _ = walk(optimizers.adam(0.05), function, z, 60)
    for run in range(3):
        expected = torch_losses(lambda p: torch.optim.Adam(p, 0.05), function, z[run], 60)
        torch.testing.assert_close(values[run], expected, rtol=1e-10, atol=0)


def test_adam_takes_its_settings():
    z = start(2, 1)
    values, _ = walk(optimizers.adam(0.02, betas=(0.5, 0.9), eps=1e-3), rosenbrock, z, 20)

    def make(parameters):
        return torch.optim.Adam(parameters, 0.02, betas=(0.5, 0.9), eps=1e-3)

    expected = torch_losses(make, rosenbrock, z[0], 20)
    torch.testing.assert_close(values[0], expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("slope", [[3.0, -0.01, 0.0], [0.5, -7.0, 0.0]], ids=str)
def test_adam_signed_sees_directions_only(slope):
    slope = torch.tensor([slope])

    def first_trial(optimizer, slope):
        state = optimizer.init(torch.zeros(1, 3))
        return optimizer.update(state, torch.ones(1), slope).trial

    signed = first_trial(optimizers.adam(0.1, signed=True), slope)
    assert signed.equal(first_trial(optimizers.adam(0.1), slope.sign()))


def test_adam_leaves_no_box():
    _, states = walk(optimizers.adam(0.5, box=(-0.2, 0.7)), quadratic(0), 5 * start(3, 4), 30)
    for state in states:
        points = torch.stack([state.trial, state.z])
        assert ((points >= -0.2) & (points <= 0.7)).all()


def test_adam_takes_a_tenth_of_the_step_where_nothing_improves_and_nowhere_else():
    adam = optimizers.adam(0.1, patience=3)
    state = adam.init(torch.zeros(2, 1))
    steps = []
    for tick in range(9):
        state = adam.update(state, torch.tensor([1.0, 0.9**tick]), torch.ones(2, 1))
        steps.append(state.lr.tolist())
    assert [round(lr, 6) for lr, _ in steps] == [0.1] * 4 + [0.01] * 4 + [0.001]
    assert all(round(lr, 6) == 0.1 for _, lr in steps)


@pytest.mark.parametrize("patience", [0, -5])
def test_adam_refuses_no_patience_at_all(patience):
    with pytest.raises(ValueError, match=rf"patience must be positive, got {patience}"):
        optimizers.adam(patience=patience)


def test_adam_refuses_an_empty_box():
    with pytest.raises(ValueError, match=r"box.*\(1, 0\)"):
        optimizers.adam(box=(1, 0))


# The directions


def two_loop(slope, pairs):
    """−H·slope by the two-loop recursion (Nocedal & Wright 2006, algorithm 7.4).

    pairs: (s, y), oldest first.
    """
    q = slope
    alphas = []
    for s, y in reversed(pairs):
        alphas.append(s @ q / (s @ y))
        q = q - alphas[-1] * y
    if pairs:
        s, y = pairs[-1]
        q = q * (s @ y) / (y @ y)
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        q = q + s * (alpha - y @ q / (s @ y))
    return -q


@pytest.mark.parametrize("line_search", [True, False])
@given(seed=SEEDS)
def test_lbfgs_turns_where_the_two_loop_recursion_does(line_search, seed):
    optimizer = optimizers.lbfgs(history=3, line_search=line_search)
    _, states = walk(optimizer, quadratic(seed), start(seed + 1, 2), 14)
    pairs = []
    for old, new in pairwise(states[1:]):
        if not new.alive[0] or new.z[0].equal(old.z[0]):
            continue  # rejected: the direction stays
        pairs.append((new.z[0] - old.z[0], new.slope[0] - old.slope[0]))
        expected = two_loop(new.slope[0], pairs[-3:])
        torch.testing.assert_close(new.direction[0], expected, rtol=1e-6, atol=1e-10)
    assert len(pairs) > 6  # the ring went round


# Where it goes


@given(seed=SEEDS, condition=st.floats(1, 1e4))
def test_lbfgs_never_takes_the_current_point_uphill(seed, condition):
    function = quadratic(seed, condition=condition)
    _, states = walk(optimizers.lbfgs(), function, start(seed + 1, 2), 25)
    current = torch.stack([vmap(function)(s.z) for s in states])
    assert (current.diff(dim=0) <= 0).all()


@given(seed=SEEDS, scale=st.floats(0.1, 10))
def test_lbfgs_never_goes_uphill_in_the_banana_valley(seed, scale):
    _, states = walk(optimizers.lbfgs(history=5), rosenbrock, scale * start(seed, 2), 40)
    current = torch.stack([vmap(rosenbrock)(s.z) for s in states])
    assert (current.diff(dim=0) <= 0).all()
    assert (current[-1] < current[0]).all()


@pytest.mark.parametrize(("share", "accepted"), [(1e-6, False), (1e-2, True)])
def test_lbfgs_wants_a_decrease_that_is_worth_the_step(share, accepted):
    """Armijo: at least 1e-4 of what the slope promised."""
    optimizer = optimizers.lbfgs()
    z = torch.zeros(1, 3).double()
    slope = torch.ones(1, 3).double()
    state = optimizer.update(optimizer.init(z), torch.ones(1).double(), slope)
    promised = (slope * (state.z - state.trial)).sum()
    after = optimizer.update(state, 1 - share * promised[None], slope)
    assert after.z.equal(state.trial) == accepted
    assert after.z.equal(state.z) != accepted


@pytest.mark.parametrize("n", [2, 10, 50])
def test_lbfgs_takes_few_evaluations_for_a_quadratic(n):
    values, _ = walk(optimizers.lbfgs(), quadratic(0, n), start(1, 3, n), 20 + 2 * n)
    assert (values.amin(1) < 1e-10 * values[:, 0]).all()


def test_lbfgs_crosses_the_banana_valley():
    values, _ = walk(optimizers.lbfgs(), rosenbrock, start(0, 5, 2), 120)
    assert values.amin(1).max() < 1e-12


def test_adam_comes_close_to_the_minimum():
    values, _ = walk(optimizers.adam(0.1), quadratic(0, condition=10.0), start(1, 3), 300)
    assert (values.amin(1) < 1e-4 * values[:, 0]).all()


@with_each_lbfgs
def test_lbfgs_stays_at_the_minimum(optimizer):
    _, states = walk(optimizer, rosenbrock, torch.ones(2, 4, dtype=torch.float64), 3)
    assert (states[-1].z == 1).all()
    assert not states[-1].alive.any()


@with_each_lbfgs
def test_lbfgs_never_asks_for_nan_after_the_minimum_itself(optimizer):
    """Half of ‖z‖² from (1, 0, 0, 0): the first step, or the first pair, leads to 0 exactly."""
    z = torch.tensor([[1.0, 0, 0, 0], [3.0, 0, 0, 0]], dtype=torch.float64)
    values, states = walk(optimizer, lambda z: (z**2).sum() / 2, z, 6)
    assert values.isfinite().all()
    assert (states[-1].z == 0).all()


def test_lbfgs_comes_back_from_where_the_function_is_not_defined():
    """z − log z is NaN below 0; a full step from 1.9 with slope 30 lands there."""
    z = torch.tensor([[1.9], [0.01]]).double()
    _, states = walk(optimizers.lbfgs(), lambda z: 30 * (z - z.log()).sum(), z, 40)
    assert states[-1].z.allclose(torch.ones(2, 1).double(), atol=1e-6)


def test_lbfgs_forgets_its_pairs_when_stuck_and_goes_on():
    """Nothing that the first run tries is finite until its step has become negligible."""
    optimizer = optimizers.lbfgs()
    _, states = walk(optimizer, rosenbrock, 0.3 * start(0, 2), 12)
    state = states[-1]
    pairs = int(state.memory.count[0])
    stuck = torch.tensor([True, False])
    for _ in range(100):
        slope, value = vmap(grad_and_value(rosenbrock))(state.trial)
        state = optimizer.update(state, value.where(~stuck, torch.inf), slope)
        if state.memory.count[0] == 0:
            break
    current = rosenbrock(state.z[0])
    assert pairs > 0
    assert state.alive[0]
    assert rosenbrock(state.z[1]) < 1e-12
    assert state.direction[0].equal(-state.slope[0])
    assert (state.memory.count[0], state.memory.gamma[0]) == (0, 1)

    for _ in range(40):
        slope, value = vmap(grad_and_value(rosenbrock))(state.trial)
        state = optimizer.update(state, value, slope)
    assert state.memory.count[0] > 0
    assert rosenbrock(state.z[0]) < 0.1 * current


# In company


@with_each
@pytest.mark.parametrize("function", [rosenbrock, quadratic(3)], ids=["rosenbrock", "quadratic"])
def test_optimizer_runs_alone_as_in_company(optimizer, function):
    z = 0.3 * start(4, 5)
    together, _ = walk(optimizer, function, z, 12)
    for run in range(5):
        alone, _ = walk(optimizer, function, z[[run]], 12)
        assert (together[[run]] - alone).abs().max() <= 1e-12 * alone[0, 0]


@with_each
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("when", [0, 6])
def test_optimizer_stops_a_run_at_a_bad_value_and_no_other(optimizer, bad, when):
    def spoil(tick, values):
        return values.where(torch.tensor([True, tick < when, True]), bad)

    z = 0.3 * start(5, 3)
    calm, _ = walk(optimizer, rosenbrock, z, 150)
    values, states = walk(optimizer, rosenbrock, z, 150, spoil)
    assert not states[-1].alive[1]
    assert all(state.z[1].equal(states[when].z[1]) for state in states[when:])
    assert values[[0, 2]].equal(calm[[0, 2]])


@with_each
def test_optimizer_stops_a_run_where_it_was_at_a_bad_slope(optimizer):
    z = start(6, 2)
    slope = torch.ones_like(z)
    slope[0, 2] = torch.nan
    state = optimizer.update(optimizer.init(z), torch.ones(2).double(), slope)
    assert state.alive.tolist() == [False, True]
    assert state.z[0].equal(z[0])
    assert state.trial.isfinite().all()


@with_each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_optimizer_keeps_the_dtype_of_the_start(optimizer, dtype):
    values, states = walk(optimizer, rosenbrock, start(7, 2).to(dtype), 5)
    assert values.dtype == states[-1].z.dtype == states[-1].trial.dtype == dtype


@with_each
def test_optimizer_leaves_the_start_as_it_was(optimizer):
    z = start(8, 2)
    before = z.clone()
    walk(optimizer, rosenbrock, z, 10)
    assert z.equal(before)


@pytest.mark.parametrize("history", [0, -2])
def test_lbfgs_refuses_a_history_without_room(history):
    with pytest.raises(ValueError, match=rf"history must be positive, got {history}"):
        optimizers.lbfgs(history=history)


@pytest.mark.parametrize("lr", [0, -1, float("nan")])
def test_adam_refuses_a_learning_rate_that_goes_nowhere(lr):
    with pytest.raises(ValueError, match=rf"lr must be positive, got {lr}"):
        optimizers.adam(lr)


@with_each
def test_optimizer_decides_nothing_on_the_host(optimizer):
    """On fake tensors, which have shapes but no values, whatever asks for a value raises."""
    with FakeTensorMode():
        state = optimizer.init(torch.empty(3, 50))
        for _ in range(4):
            state = optimizer.update(state, torch.empty(3), torch.empty(3, 50))
    assert state.trial.shape == (3, 50)


# What it is


def test_lbfgs_has_its_settings():
    assert optimizers.lbfgs().name == "lbfgs"
    assert optimizers.lbfgs().settings == {"history": 100, "line_search": True}
    changed = optimizers.lbfgs(history=5, line_search=False)
    assert changed.settings == {"history": 5, "line_search": False}


def test_adam_has_its_settings():
    default = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8}
    default |= {"signed": False, "box": None, "patience": None}
    assert optimizers.adam().name == "adam"
    assert optimizers.adam().settings == default
    changed = optimizers.adam(0.2, betas=(0.5, 0.9), eps=1e-3, signed=True, box=(0, 1), patience=9)
    assert dict(changed.settings) == {
        "lr": 0.2,
        "betas": (0.5, 0.9),
        "eps": 1e-3,
        "signed": True,
        "box": (0, 1),
        "patience": 9,
    }


@with_each
def test_optimizer_settings_make_the_same_optimizer(optimizer):
    function = {"lbfgs": optimizers.lbfgs, "adam": optimizers.adam}[optimizer.name]
    again = function(**optimizer.settings)
    values, _ = walk(optimizer, rosenbrock, start(9, 2), 10)
    same, _ = walk(again, rosenbrock, start(9, 2), 10)
    assert again.settings == optimizer.settings
    assert values.equal(same)


@with_each
def test_optimizer_settings_are_fixed_and_leave_it_hashable(optimizer):
    with pytest.raises(TypeError, match="does not support item assignment"):
        optimizer.settings["lr"] = 1.0
    assert {optimizer: 1}[optimizer] == 1
    assert optimizer != optimizers.lbfgs()
