"""The page's optimisers, in a real browser, beside those of the library."""

from dataclasses import replace

import pytest
import torch

from dlgutils import attacks, data, javascript
from dlgutils.javascript import worker
from dlgutils.matching.optimizers import adam, lbfgs

DESCEND = """([source, { name, settings }, slopes, start, evaluations]) => {
    const { lbfgs, adam } = new Function(`${source}; return { lbfgs, adam };`)();
    const slope = new Function("z", slopes);
    const search = { lbfgs, adam }[name](Float64Array.from(start), settings);
    const trials = [];
    for (let k = 0; k < evaluations; k++) {
        trials.push([...search.trial]);
        if (!search.update(...slope(search.trial))) break;
    }
    return trials;
}"""


@pytest.fixture(scope="module")
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


BANANA = """
    const [a, b, c] = [z[1] - z[0] * z[0], 1 - z[0], z[2] - z[1]];
    const slope = [-40 * a * z[0] - 2 * b, 20 * a - 20 * c, 20 * c];
    return [10 * a * a + b * b + 10 * c * c, Float64Array.from(slope)];
"""


def banana(z):
    """Rosenbrock's valley with a third unknown: value and slope for each run, (runs, 3)."""
    a, b, c = z[:, 1] - z[:, 0] ** 2, 1 - z[:, 0], z[:, 2] - z[:, 1]
    value = 10 * a**2 + b**2 + 10 * c**2
    slope = torch.stack([-40 * a * z[:, 0] - 2 * b, 20 * a - 20 * c, 20 * c], 1)
    return value, slope


STARTS = [(-1.2, 1.0, 0.0), (3.0, -2.0, 1.0)]
EVALUATIONS = 20  # then all are at the bottom, where rounding decides


def trials_of_the_library(optimizer, start):
    state = optimizer.init(torch.tensor([start], dtype=torch.float64))
    trials = []
    for _ in range(EVALUATIONS):
        trials.append(state.trial[0])
        state = optimizer.update(state, *banana(state.trial))
    return torch.stack(trials)


def trials_of_the_page(page, optimizer, start):
    described = worker.describe_optimizer(optimizer)
    arguments = [javascript.worker_source(), described, BANANA, start, EVALUATIONS]
    return torch.tensor(page.evaluate(DESCEND, arguments), dtype=torch.float64)


OPTIMIZERS = {
    "lbfgs": lbfgs(),
    "lbfgs, short history": lbfgs(history=2),
    "adam": adam(),
    "adam, other settings": adam(lr=0.03, betas=(0.8, 0.99), eps=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("start", STARTS, ids=str)
def test_optimizers_go_where_the_librarys_go(page, name, start):
    optimizer = OPTIMIZERS[name]
    found = trials_of_the_page(page, optimizer, start)
    wanted = trials_of_the_library(optimizer, start)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("start", STARTS, ids=str)
def test_lbfgs_honours_its_history(page, start):
    """Five pairs lead elsewhere than a hundred, and to where the library's five lead."""
    found = trials_of_the_page(page, lbfgs(history=5), start)
    wanted = trials_of_the_library(lbfgs(history=5), start)
    other = trials_of_the_library(lbfgs(history=100), start)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    assert (found - other).abs().max() > 1e-4


@pytest.mark.parametrize("optimizer", [lbfgs(), adam()], ids=lambda optimizer: optimizer.name)
def test_optimizers_do_not_go_on_from_a_value_that_is_not_finite(page, optimizer):
    """Adam stops there; L-BFGS tries shorter steps until none is left. No trial is a NaN."""
    cliff = "return [z[0] < 0.5 ? NaN : z[0], Float64Array.of(1)];"
    described = worker.describe_optimizer(optimizer)
    arguments = [javascript.worker_source(), described, cliff, [1.0], 200]
    trials = page.evaluate(DESCEND, arguments)
    assert len(trials) < 200
    assert all(value == value for (value,) in trials)


def test_lbfgs_stops_where_the_slope_is_zero(page):
    """After two steps down a parabola, so that it remembers a pair."""
    parabola = "return [z[0] * z[0], Float64Array.of(2 * z[0])];"
    described = worker.describe_optimizer(lbfgs())
    arguments = [javascript.worker_source(), described, parabola, [4.0], 200]
    trials = page.evaluate(DESCEND, arguments)
    assert trials == [[4.0], [3.0], [0.0]]


RUN = """([source, settings]) => {
    const { run } = new Function(`${source}; return { run };`)();
    const sent = [];
    const images = Float32Array.from(settings.images);
    run({ ...settings, images }, (message) => sent.push(message));
    return sent.at(-1).loss;
}"""


def test_worker_runs_an_attack_with_its_own_settings(page):
    """Until the shorter history is full, both do the same."""
    recipes = [replace(attacks.idlg, name=str(n), optimizer=lbfgs(history=n)) for n in (5, 100)]
    source = worker.compile_attacks(recipes, ["sigmoid"], [1])
    settings = {
        "images": data.photos("cat").x.flatten().tolist(),
        "labels": [1],
        "activation": "sigmoid",
        "weights": "default",
        "rate": 0,
        "noise": 0,
        "seed": 0,
    }

    def loss(recipe, steps):
        chosen = {"attack": recipe.name, "steps": steps, "elsewhere": False}
        return page.evaluate(RUN, [source, {**settings, **chosen}])

    short, long = recipes
    assert loss(short, 5) == loss(long, 5)
    assert loss(short, 40) != loss(long, 40)
