"""The JavaScript that is generated from PyTorch's graphs, in a real browser, beside PyTorch."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import grad_and_value
from torch.nn.functional import one_hot

from dlgutils import attacks, data, javascript, models
from dlgutils.federated import client
from dlgutils.matching import engine, optimizers

RUN = """([source, name, inputs]) => {
    const generated = new Function(`${source}; return generated;`)();
    const arrays = Object.fromEntries(Object.entries(inputs).map(([key, list]) => [key, Float32Array.from(list)]));
    const run = generated[name]();
    run(arrays);
    return Object.fromEntries(Object.entries(run(arrays)).map(([key, array]) => [key, [...array]]));
}"""

DESCEND = """([source, optimizer, slopes, start, evaluations]) => {
    const { lbfgs, adam } = new Function(`${source}; return { lbfgs, adam };`)();
    const slope = new Function("z", slopes);
    const search = { lbfgs, adam }[optimizer](Float64Array.from(start));
    const trials = [];
    for (let k = 0; k < evaluations; k++) {
        trials.push([...search.trial]);
        if (!search.update(...slope(search.trial))) break;
    }
    return trials;
}"""


@pytest.fixture(scope="module", params=["WebAssembly", "no WebAssembly"])
def page(browser, request):
    page = browser.new_page()
    if request.param == "no WebAssembly":
        page.add_init_script("delete globalThis.WebAssembly")
        page.goto("about:blank")
    assert page.evaluate("typeof WebAssembly") == (
        "object" if request.param == "WebAssembly" else "undefined"
    )
    yield page
    page.close()


def evaluated(page, source, name, inputs):
    """What the page makes of the inputs, as flat tensors by name."""
    found = page.evaluate(
        RUN, [source, name, {key: t.flatten().tolist() for key, t in inputs.items()}]
    )
    return {key: torch.tensor(values) for key, values in found.items()}


def assert_near(found, wanted, relative=1e-4):
    assert found.keys() == wanted.keys()
    for key, t in wanted.items():
        distance = (found[key] - t.flatten()).norm() / t.norm()
        assert distance < relative, f"{key}: relative distance {distance:.1e}"


# The translator, operation by operation --------------------------------------------------------------------------


def loss_and_slope(t):
    """A strided, padded, dilated convolution with bias, its loss, and the slope in everything."""

    def loss(t):
        z = F.conv2d(t["x"], t["w"], t["b"], (2, 2), (1, 1), (2, 2), 1)  # as nn.Conv2d calls it
        return z.tanh().square().mean()

    slope, value = grad_and_value(loss)(t)
    return {"value": value, **{f"slope of {key}": s for key, s in slope.items()}}


RAMP = torch.arange(15.0).view(3, 5)


def beside_a_constant(t):
    """The constant, whose array is behind the product's, stays what it is, although the last tile reaches beyond its own."""
    return {"y": (t["a"] @ t["b"]) * RAMP}


SIZES = [(1, 1, 1), (1, 5, 9), (4, 4, 4), (5, 3, 6), (7, 1, 2), (8, 9, 1), (3, 8, 13)]

FUNCTIONS = {
    "broadcast": (
        lambda t: {"y": (t["a"][:, None] - 2 * t["b"]) / (3 - t["a"][:, None])},
        {"a": (4,), "b": (5,)},
    ),
    "elementwise": (
        lambda t: {"y": (t["a"].exp() + 1).log().sqrt() - t["a"].sigmoid() * t["a"].tanh()},
        {"a": (2, 3)},
    ),
    "views": (
        lambda t: {"y": t["a"].permute(2, 0, 1)[-2:, :, 1::2] + t["a"][0, 1, 2]},
        {"a": (3, 5, 4)},
    ),
    "a copy where strides do not merge": (
        lambda t: {"y": t["a"].mT.reshape(6, 2) * t["b"]},
        {"a": (2, 2, 3), "b": (2,)},
    ),
    **{
        f"product {m}×{k}×{n}": (lambda t: {"y": t["a"] @ t["b"]}, {"a": (m, k), "b": (k, n)})
        for m, k, n in SIZES
    },
    "product of transposes": (lambda t: {"y": t["a"].T @ t["b"].T}, {"a": (9, 7), "b": (3, 9)}),
    "product with the smaller transposed": (
        lambda t: {"y": t["a"] @ t["b"].T},
        {"a": (9, 7), "b": (3, 7)},
    ),
    "product with the larger transposed": (
        lambda t: {"y": t["a"] @ t["b"].T},
        {"a": (3, 7), "b": (9, 7)},
    ),
    "product of slices": (
        lambda t: {"y": t["a"][1:, ::2] @ t["b"][:, 1:]},
        {"a": (5, 6), "b": (3, 4)},
    ),
    "product beside a constant": (beside_a_constant, {"a": (3, 2), "b": (2, 5)}),
    "sum of transposes": (
        lambda t: {"y": (t["a"].mT + t["b"].mT) * t["c"]},
        {"a": (2, 3, 4), "b": (2, 3, 4), "c": (4, 1)},
    ),
    "batch of products": (lambda t: {"y": t["a"] @ t["b"].mT}, {"a": (3, 2, 5), "b": (3, 4, 5)}),
    "sums": (
        lambda t: {
            "all": t["a"].sum(),
            "some": t["a"].mT.sum((0, -1)),
            "mean": t["a"].mean(1, keepdim=True),
        },
        {"a": (3, 4, 5)},
    ),
    "powers": (lambda t: {"y": t["a"] ** 2 + t["a"] ** 1}, {"a": (6,)}),
    "softmax": (
        lambda t: {"y": t["a"].softmax(-1), "log": (9 * t["a"]).log_softmax(-1)},
        {"a": (3, 5)},
    ),
    "convolution": (loss_and_slope, {"x": (2, 3, 9, 8), "w": (4, 3, 3, 2), "b": (4,)}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_gives_what_it_gives_in_pytorch(page, name):
    function, shapes = FUNCTIONS[name]
    gen = torch.Generator().manual_seed(0)
    inputs = {key: torch.rand(shape, generator=gen) for key, shape in shapes.items()}
    source = javascript.compile({"f": (function, inputs)})
    other = {
        key: torch.rand(shape, generator=gen) for key, shape in shapes.items()
    }  # not what was traced
    assert_near(evaluated(page, source, "f", other), function(other), 1e-5)


def test_a_page_that_can_multiplies_in_webassembly(page):
    source = javascript.compile({})
    plain = page.evaluate(
        "source => new Function(`${source}; return machine([1]).product === plainProduct;`)()",
        source,
    )
    assert plain == page.evaluate("typeof WebAssembly === 'undefined'")


def test_a_page_that_may_not_run_webassembly_computes_all_the_same(browser):
    """The policy of the page's own author; the browser then refuses to compile."""
    source = javascript.compile({"f": (lambda t: {"y": t["a"] @ t["a"]}, {"a": torch.ones(2, 2)})})
    page = browser.new_page()
    policy = """<meta http-equiv="Content-Security-Policy" content="script-src 'unsafe-inline'">"""
    call = "document.title = generated.f()({ a: Float32Array.of(1, 2, 3, 4) }).y.join()"
    refused = "try { new WebAssembly.Module(bytesOf(productModule)); } catch (error) { document.body.append(error.name); }"
    page.set_content(f"{policy}<body><script>{source}; {call}; {refused}</script>")
    assert page.title() == "7,10,15,22"
    assert page.locator("body").inner_text() == "CompileError"
    page.close()


# What the lab computes ---------------------------------------------------------------------------------------------


ROUNDS = [("cat", "default", 0.0), ("coffee", "default", 0.5), ("horse", "wide", 0.9)]


@pytest.fixture(scope="module", params=ROUNDS, ids=str)
def a_round(request):
    """(model, batch, shared with masks): one round of each initialisation and several rates."""
    photo, weights, rate = request.param
    gen = torch.Generator().manual_seed(1)
    init = {"default": models.init_default, "wide": models.init_uniform}[weights]
    model = init(models.lenet(dropout=rate), gen)
    batch = data.photos(photo)
    return model, batch, client.share(model, batch, gen, reveal_masks=True)


def inputs_of(a_round):
    _, batch, shared = a_round
    mask = shared.masks.get("dropout.mask", torch.ones(1, 768))
    named = {f"weights.{n}": t for n, t in shared.weights.items()} | {
        f"gradient.{n}": t for n, t in shared.gradient.items()
    }
    return {"mask": mask, "y": one_hot(batch.y, 12).float(), **named}


def test_the_clients_gradient_is_pytorchs(page, a_round):
    _, batch, shared = a_round
    given = {key: t for key, t in inputs_of(a_round).items() if not key.startswith("gradient.")}
    assert_near(
        evaluated(page, javascript.worker_source(), "share", {"x": batch.x, **given}),
        shared.gradient,
    )


@pytest.mark.parametrize("attack", [attacks.idlg, attacks.dlg], ids=lambda attack: attack.name)
@pytest.mark.parametrize("guess", ["grey", "noise", "coffee"])
def test_the_matching_loss_and_its_slope_are_pytorchs(page, a_round, attack, guess):
    model, _, shared = a_round
    gen = torch.Generator().manual_seed(2)
    pictures = {
        "grey": torch.full((1, 3, 32, 32), 0.5),
        "noise": torch.randn(1, 3, 32, 32, generator=gen),
    }
    x = attack.coordinates.encode(pictures.get(guess, data.photos("coffee", crop=1).x))
    unknowns = {"x": x} | (
        {"logits": torch.randn(1, 12, generator=gen)} if attack is attacks.dlg else {}
    )
    given = inputs_of(a_round)
    known = {"dropout.mask": given["mask"]} | ({} if attack is attacks.dlg else {"y": given["y"]})

    def loss(unknowns):
        return engine.objective(model, attack, unknowns, known, shared.weights, shared.gradient)

    slope, value = grad_and_value(loss)(unknowns)
    name = {"iDLG": "objective0", "DLG": "objective1"}[attack.name]
    wanted = {"value": value, **{f"slope.{key}": t for key, t in slope.items()}}
    assert_near(evaluated(page, javascript.worker_source(), name, {**given, **unknowns}), wanted)


def test_the_picture_is_pytorchs(page):
    u = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = {"x": attacks.idlg.coordinates.decode(u)}
    assert_near(evaluated(page, javascript.worker_source(), "picture", {"x": u}), wanted)


def test_zero_is_where_the_attacks_start():
    """The page starts from zeros."""
    model = models.init_default(models.lenet(), torch.Generator().manual_seed(0))
    shared = client.share(model, data.photos("cat"))
    for attack in javascript.ATTACKS:
        start = attack.start(model, shared, None)
        assert attack.coordinates.encode(start["x"]).abs().max() < 1e-6
        assert not start.get("logits", torch.zeros(1)).any()


def test_weights_are_drawn_within_pytorchs_bounds():
    """The largest of many draws lies just below the bound."""
    for init, kind in ((models.init_default, "default"), (models.init_uniform, "wide")):
        drawn = [
            models.weights(init(models.lenet(), torch.Generator().manual_seed(k)))
            for k in range(40)
        ]
        for name, _, bounds in live._parameters():
            most = max(float(weights[name].abs().max()) for weights in drawn)
            assert 0.95 * bounds[kind] < most <= bounds[kind]


# The optimisers, beside those of the library -----------------------------------------------------------------------

BANANA = """
    const [a, b, c] = [z[1] - z[0] * z[0], 1 - z[0], z[2] - z[1]];
    const slope = [-40 * a * z[0] - 2 * b, 20 * a - 20 * c, 20 * c];
    return [10 * a * a + b * b + 10 * c * c, Float64Array.from(slope)];
"""


def banana(z):
    """Rosenbrock's valley with a third unknown: value and slope for each run, (runs, 3)."""
    a, b, c = z[:, 1] - z[:, 0] ** 2, 1 - z[:, 0], z[:, 2] - z[:, 1]
    return 10 * a**2 + b**2 + 10 * c**2, torch.stack(
        [-40 * a * z[:, 0] - 2 * b, 20 * a - 20 * c, 20 * c], 1
    )


@pytest.mark.parametrize(
    ("name", "optimizer"), [("lbfgs", optimizers.lbfgs()), ("adam", optimizers.adam())]
)
@pytest.mark.parametrize("start", [(-1.2, 1.0, 0.0), (3.0, -2.0, 1.0)], ids=str)
def test_an_optimiser_goes_where_the_librarys_goes(page, name, optimizer, start):
    state = optimizer.init(torch.tensor([start], dtype=torch.float64))
    wanted = []
    for _ in range(20):  # then all are at the bottom, where rounding decides
        wanted.append(state.trial[0])
        state = optimizer.update(state, *banana(state.trial))
    found = torch.tensor(
        page.evaluate(DESCEND, [javascript.worker_source(), name, BANANA, start, 20]),
        dtype=torch.float64,
    )
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_a_value_that_is_not_finite_ends_no_search_in_noise(page, name):
    """Adam stops there; L-BFGS tries shorter steps until none is left. Neither goes on from a point that is none."""
    cliff = "return [z[0] < 0.5 ? NaN : z[0], Float64Array.of(1)];"
    trials = page.evaluate(DESCEND, [javascript.worker_source(), name, cliff, [1.0], 200])
    assert len(trials) < 200
    assert all(value == value for (value,) in trials)
