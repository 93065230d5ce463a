"""Many functions at once: each run as torch would do it alone, never uphill, never disturbed by a neighbour."""

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

SIGNED = optimizers.adam(signed=True, box=(-9, 9), patience=2)
ALL = [optimizers.lbfgs(), optimizers.lbfgs(line_search=False), optimizers.adam(), SIGNED]
LBFGS = ALL[:2]
SEEDS = st.integers(0, 2**31)


def rosenbrock(z):
    """The banana valley, at 0 in (1, …, 1)."""
    return (100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum()


def quadratic(seed, n=6, condition=100.0):
    """A random convex quadratic whose minimum is 0, at a random point."""
    gen = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(n, n, generator=gen, dtype=torch.float64))
    middle, scale = (
        torch.randn(n, generator=gen, dtype=torch.float64),
        torch.logspace(0, 1, n, condition).double(),
    )
    return lambda z: ((basis @ (z - middle)) ** 2 * scale).sum() / 2


def start(seed, runs, n=6):
    """N(0, 1) points, (runs, n)."""
    return torch.randn(runs, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def walk(optimizer, function, z, ticks, spoil=None):
    """Ask and tell: the values at all trials, (runs, ticks), and every state. spoil(tick, values) may change the values."""
    states, values = [optimizer.init(z)], []
    for tick in range(ticks):
        slope, value = vmap(grad_and_value(function))(states[-1].trial)
        values.append(value if spoil is None else spoil(tick, value))
        states.append(optimizer.update(states[-1], values[-1], slope))
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


# As torch does


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("history", [3, 100])
def test_lbfgs_without_line_search_follows_torch(seed, history):
    function, z = quadratic(seed, condition=10.0), start(seed + 1, 1)
    expected = torch_losses(
        lambda p: torch.optim.LBFGS(p, max_iter=1, history_size=history), function, z[0], 30
    )
    values, states = walk(optimizers.lbfgs(history=history, line_search=False), function, z, 30)
    alive = torch.stack([s.alive[0] for s in states[:-1]])
    assert alive.sum() > 12
    torch.testing.assert_close(values[0, alive], expected[alive], rtol=1e-6, atol=1e-16)


def test_lbfgs_stops_where_torch_stops():
    """A shallow bowl: torch's tolerances end the descent before the bottom."""
    z, bowl = 1e3 * start(1, 1), quadratic(0, condition=10.0)
    losses = torch_losses(
        lambda p: torch.optim.LBFGS(p, max_iter=1), lambda z: 1e-6 * bowl(z), z[0], 40
    )
    values, states = walk(optimizers.lbfgs(line_search=False), lambda z: 1e-6 * bowl(z), z, 40)
    assert not states[-1].alive
    torch.testing.assert_close(values[0], losses, rtol=1e-6, atol=0)


def test_lbfgs_without_line_search_does_not_start_on_a_flat_slope():
    """torch's tolerances: why the public loop stands still on small gradients."""
    z, function = start(1, 1), quadratic(0)
    expected = torch_losses(
        lambda p: torch.optim.LBFGS(p, max_iter=1), lambda z: 1e-10 * function(z), z[0], 3
    )
    values, states = walk(optimizers.lbfgs(line_search=False), lambda z: 1e-10 * function(z), z, 3)
    assert values[0].equal(expected)
    assert not states[1].alive


@pytest.mark.parametrize("seed", [0, 1], ids=["diverging", "converging"])
def test_idlg_reference_follows_the_public_loop(seed, seeded):
    """30 evaluations of DLG's objective: wide weights, N(0, 1) start, unscaled loss, torch.optim.LBFGS with lr 1."""
    model = models.init_uniform(models.lenet().double(), seeded(seed))
    x, y = data.photos("cat")
    shared = share(model, Batch(x.double(), y))
    own = seeded(int(torch.randint(2**62, (1,), generator=seeded(seed))))  # the run's own generator

    def matching_loss(x):
        guess = torch.autograd.grad(
            cross_entropy(model(x), y), list(model.parameters()), create_graph=True
        )
        return sum(
            ((g - s) ** 2).sum() for g, s in zip(guess, shared.gradient.values(), strict=True)
        )

    guess = torch.randn(x.shape, generator=own).double()
    expected = torch_losses(lambda p: torch.optim.LBFGS(p, max_iter=1), matching_loss, guess, 30)
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
    expected = torch_losses(
        lambda p: torch.optim.Adam(p, 0.02, betas=(0.5, 0.9), eps=1e-3), rosenbrock, z[0], 20
    )
    torch.testing.assert_close(values[0], expected, rtol=1e-10, atol=0)


def test_signed_adam_sees_directions_only():
    slopes = torch.tensor([[3.0, -0.01, 0.0], [0.5, -7.0, 0.0]])
    adam, signs = optimizers.adam(0.1, signed=True), optimizers.adam(0.1)
    for slope in slopes:
        mine, theirs = (
            a.update(a.init(torch.zeros(1, 3)), torch.ones(1), s[None])
            for a, s in ((adam, slope), (signs, slope.sign()))
        )
        assert mine.trial.equal(theirs.trial)


def test_nothing_leaves_the_box():
    _, states = walk(optimizers.adam(0.5, box=(-0.2, 0.7)), quadratic(0), 5 * start(3, 4), 30)
    assert all(
        ((s.trial >= -0.2) & (s.trial <= 0.7) & (s.z >= -0.2) & (s.z <= 0.7)).all() for s in states
    )


def test_the_step_becomes_a_tenth_where_nothing_improves_and_nowhere_else():
    adam = optimizers.adam(0.1, patience=3)
    state, steps = adam.init(torch.zeros(2, 1)), []
    for tick in range(9):
        state = adam.update(state, torch.tensor([1.0, 0.9**tick]), torch.ones(2, 1))
        steps.append(state.lr.tolist())
    assert [round(lr, 6) for lr, _ in steps] == [0.1] * 4 + [0.01] * 4 + [0.001]
    assert all(round(lr, 6) == 0.1 for _, lr in steps)


@pytest.mark.parametrize("patience", [0, -5])
def test_no_patience_at_all_is_refused(patience):
    with pytest.raises(ValueError, match=rf"patience must be positive, got {patience}"):
        optimizers.adam(patience=patience)


def test_an_empty_box_is_refused():
    with pytest.raises(ValueError, match=r"box.*\(1, 0\)"):
        optimizers.adam(box=(1, 0))


# The directions


def two_loop(slope, pairs):
    """−H·slope by the two-loop recursion (Nocedal & Wright 2006, algorithm 7.4); pairs (s, y), oldest first."""
    q, alphas = slope, []
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
def test_the_ring_of_pairs_gives_the_direction_of_the_two_loop_recursion(line_search, seed):
    _, states = walk(
        optimizers.lbfgs(history=3, line_search=line_search),
        quadratic(seed),
        start(seed + 1, 2),
        14,
    )
    pairs = []
    for old, new in pairwise(states[1:]):
        if not new.alive[0] or new.z[0].equal(old.z[0]):
            continue  # rejected: the direction stays
        pairs.append((new.z[0] - old.z[0], new.slope[0] - old.slope[0]))
        torch.testing.assert_close(
            new.direction[0], two_loop(new.slope[0], pairs[-3:]), rtol=1e-6, atol=1e-10
        )
    assert len(pairs) > 6  # the ring went round


# Where it goes


@given(seed=SEEDS, condition=st.floats(1, 1e4))
def test_with_a_line_search_the_point_held_never_goes_uphill(seed, condition):
    function = quadratic(seed, condition=condition)
    _, states = walk(optimizers.lbfgs(), function, start(seed + 1, 2), 25)
    held = torch.stack([vmap(function)(s.z) for s in states])
    assert (held.diff(dim=0) <= 0).all()


@given(seed=SEEDS, scale=st.floats(0.1, 10))
def test_in_the_banana_valley_the_point_held_never_goes_uphill(seed, scale):
    _, states = walk(optimizers.lbfgs(history=5), rosenbrock, scale * start(seed, 2), 40)
    held = torch.stack([vmap(rosenbrock)(s.z) for s in states])
    assert (held.diff(dim=0) <= 0).all()
    assert (held[-1] < held[0]).all()


@pytest.mark.parametrize(("share", "accepted"), [(1e-6, False), (1e-2, True)])
def test_a_decrease_must_be_worth_the_step(share, accepted):
    """Armijo: at least 1e-4 of what the slope promised."""
    optimizer, z, slope = optimizers.lbfgs(), torch.zeros(1, 3).double(), torch.ones(1, 3).double()
    state = optimizer.update(optimizer.init(z), torch.ones(1).double(), slope)
    promised = (slope * (state.z - state.trial)).sum()
    after = optimizer.update(state, 1 - share * promised[None], slope)
    assert after.z.equal(state.trial) == accepted
    assert after.z.equal(state.z) != accepted


@pytest.mark.parametrize("n", [2, 10, 50])
def test_a_quadratic_takes_few_evaluations(n):
    values, _ = walk(optimizers.lbfgs(), quadratic(0, n), start(1, 3, n), 20 + 2 * n)
    assert (values.amin(1) < 1e-10 * values[:, 0]).all()


def test_the_banana_valley_is_crossed():
    values, _ = walk(optimizers.lbfgs(), rosenbrock, start(0, 5, 2), 120)
    assert values.amin(1).max() < 1e-12


def test_adam_comes_close_to_the_minimum():
    values, _ = walk(optimizers.adam(0.1), quadratic(0, condition=10.0), start(1, 3), 300)
    assert (values.amin(1) < 1e-4 * values[:, 0]).all()


@pytest.mark.parametrize("optimizer", LBFGS, ids=lambda o: o.name)
def test_a_start_at_the_minimum_stays_there(optimizer):
    _, states = walk(optimizer, rosenbrock, torch.ones(2, 4, dtype=torch.float64), 3)
    assert (states[-1].z == 1).all()
    assert not states[-1].alive.any()


@pytest.mark.parametrize("optimizer", LBFGS, ids=lambda o: o.name)
def test_a_run_that_reaches_the_minimum_exactly_never_asks_for_nan(optimizer):
    """Half of ‖z‖² from (1, 0, 0, 0): the first step, or the first pair, leads to 0 exactly."""
    z = torch.tensor([[1.0, 0, 0, 0], [3.0, 0, 0, 0]], dtype=torch.float64)
    values, states = walk(optimizer, lambda z: (z**2).sum() / 2, z, 6)
    assert values.isfinite().all()
    assert (states[-1].z == 0).all()


def test_the_line_search_comes_back_from_where_the_function_is_not_defined():
    """z − log z is NaN below 0; a full step from 1.9 with slope 30 lands there."""
    _, states = walk(
        optimizers.lbfgs(),
        lambda z: 30 * (z - z.log()).sum(),
        torch.tensor([[1.9], [0.01]]).double(),
        40,
    )
    assert states[-1].z.allclose(torch.ones(2, 1).double(), atol=1e-6)


def test_a_run_that_gets_stuck_forgets_its_pairs_and_goes_on():
    """Nothing that the first run tries is finite until its step has become negligible."""
    optimizer = optimizers.lbfgs()
    _, states = walk(optimizer, rosenbrock, 0.3 * start(0, 2), 12)
    state, stuck, pairs = states[-1], torch.tensor([True, False]), int(states[-1].memory.count[0])
    for _ in range(100):
        slope, value = vmap(grad_and_value(rosenbrock))(state.trial)
        state = optimizer.update(state, value.where(~stuck, torch.inf), slope)
        if state.memory.count[0] == 0:
            break
    held = rosenbrock(state.z[0])
    assert pairs > 0
    assert state.alive[0]
    assert rosenbrock(state.z[1]) < 1e-12
    assert state.direction[0].equal(-state.slope[0])
    assert (state.memory.count[0], state.memory.gamma[0]) == (0, 1)

    for _ in range(40):
        slope, value = vmap(grad_and_value(rosenbrock))(state.trial)
        state = optimizer.update(state, value, slope)
    assert state.memory.count[0] > 0
    assert rosenbrock(state.z[0]) < 0.1 * held


# In company


@pytest.mark.parametrize("optimizer", ALL, ids=lambda o: o.name)
@pytest.mark.parametrize("function", [rosenbrock, quadratic(3)], ids=["rosenbrock", "quadratic"])
def test_a_run_alone_equals_the_same_run_in_company(optimizer, function):
    z = 0.3 * start(4, 5)
    together, _ = walk(optimizer, function, z, 12)
    for run in range(5):
        alone, _ = walk(optimizer, function, z[[run]], 12)
        assert (together[[run]] - alone).abs().max() <= 1e-12 * alone[0, 0]


@pytest.mark.parametrize("optimizer", ALL, ids=lambda o: o.name)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("when", [0, 6])
def test_a_run_that_meets_a_bad_value_stops_and_its_neighbours_do_not_notice(optimizer, bad, when):
    def spoil(tick, values):
        return values.where(torch.tensor([True, tick < when, True]), bad)

    z = 0.3 * start(5, 3)
    calm, _ = walk(optimizer, rosenbrock, z, 150)
    values, states = walk(optimizer, rosenbrock, z, 150, spoil)
    assert not states[-1].alive[1]
    assert all(state.z[1].equal(states[when].z[1]) for state in states[when:])
    assert values[[0, 2]].equal(calm[[0, 2]])


@pytest.mark.parametrize("optimizer", ALL, ids=lambda o: o.name)
def test_a_run_that_meets_a_bad_slope_stops_where_it_was(optimizer):
    z = start(6, 2)
    slope = torch.ones_like(z)
    slope[0, 2] = torch.nan
    state = optimizer.update(optimizer.init(z), torch.ones(2).double(), slope)
    assert state.alive.tolist() == [False, True]
    assert state.z[0].equal(z[0])
    assert state.trial.isfinite().all()


@pytest.mark.parametrize("optimizer", ALL, ids=lambda o: o.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_that_of_the_start(optimizer, dtype):
    values, states = walk(optimizer, rosenbrock, start(7, 2).to(dtype), 5)
    assert values.dtype == states[-1].z.dtype == states[-1].trial.dtype == dtype


@pytest.mark.parametrize("optimizer", ALL, ids=lambda o: o.name)
def test_the_start_is_left_as_it_was(optimizer):
    z = start(8, 2)
    before = z.clone()
    walk(optimizer, rosenbrock, z, 10)
    assert z.equal(before)


@pytest.mark.parametrize("history", [0, -2])
def test_a_history_without_room_is_refused(history):
    with pytest.raises(ValueError, match=rf"history must be positive, got {history}"):
        optimizers.lbfgs(history=history)


@pytest.mark.parametrize("lr", [0, -1, float("nan")])
def test_a_learning_rate_that_goes_nowhere_is_refused(lr):
    with pytest.raises(ValueError, match=rf"lr must be positive, got {lr}"):
        optimizers.adam(lr)


@pytest.mark.parametrize("optimizer", ALL, ids=lambda o: o.name)
def test_no_decision_waits_for_the_device(optimizer):
    """On fake tensors, which have shapes but no values, whatever asks for a value raises."""
    with FakeTensorMode():
        state = optimizer.init(torch.empty(3, 50))
        for _ in range(4):
            state = optimizer.update(state, torch.empty(3), torch.empty(3, 50))
    assert state.trial.shape == (3, 50)
