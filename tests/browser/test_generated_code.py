"""The JavaScript that is generated from PyTorch's graphs, in a real browser, beside PyTorch."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.func import grad_and_value
from torch.nn.functional import one_hot

from dlgutils import attacks, data, federated, javascript, models
from dlgutils.federated import defenses
from dlgutils.javascript.page_defenses import DEFENSES, describe_defenses, knowing, seen
from dlgutils.javascript.page_functions import ACTIVATIONS, MASK, attackers_copy
from dlgutils.matching import objective
from dlgutils.types import Guess

RUN = """([source, name, inputs]) => {
    const generated = new Function(`${source}; return generated;`)();
    const arrays = {};
    for (const [key, list] of Object.entries(inputs)) arrays[key] = Float32Array.from(list);
    const run = generated[name]();
    run(arrays);
    const found = {};
    for (const [key, array] of Object.entries(run(arrays))) found[key] = [...array];
    return found;
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
    lists = {key: t.flatten().tolist() for key, t in inputs.items()}
    found = page.evaluate(RUN, [source, name, lists])
    return {key: torch.tensor(values) for key, values in found.items()}


def without(tensors, name):
    return {key: t for key, t in tensors.items() if key != name}


def assert_near(found, wanted, relative=1e-4):
    assert found.keys() == wanted.keys()
    for key, t in wanted.items():
        distance = (found[key] - t.flatten()).norm()
        assert distance <= relative * t.norm(), f"{key}: distance {distance:.1e} of {t.norm():.1e}"


# The translator, operation by operation -----------------------------------------------------------


def loss_and_slope(t):
    """A strided, padded, dilated convolution with bias, its loss, and the slope in everything."""

    def loss(t):
        z = F.conv2d(t["x"], t["w"], t["b"], (2, 2), (1, 1), (2, 2), 1)  # as nn.Conv2d calls it
        return z.tanh().square().mean()

    slope, value = grad_and_value(loss)(t)
    return {"value": value, **{f"slope of {key}": s for key, s in slope.items()}}


def bent(a):
    """A scalar of a corner."""
    return (a - 0.5).relu().square().sum()


def rounded(a):
    """A scalar of rounded corners, some far from zero."""
    return (models.SmoothReLU()(a) ** 2).sum() + F.softplus(9 * a).sum()


RAMP = torch.arange(15.0).view(3, 5)


def beside_a_constant(t):
    """The constant's array lies behind the product's, and the last tile reaches beyond its own."""
    return {"y": (t["a"] @ t["b"]) * RAMP}


def between(t):
    """The slope where a is larger than −b, smaller than b, or neither."""

    def loss(a):
        inside = torch.minimum(torch.maximum(2 * a - 1, -t["b"]), t["b"])
        return (inside * a).sum()

    return {"slope": grad_and_value(loss)(t["a"])[0]}


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
    "signs and sizes": (
        lambda t: {"y": (t["a"] - 0.5).sign() + (t["a"] - 0.5).abs() + 1 / t["a"]},
        {"a": (3, 5)},
    ),
    "rounding to the nearest, half-way to the even one": (
        lambda t: {"y": (20 * t["a"] - 10).round() + ((8 * t["a"] - 4).round() / 2).round()},
        {"a": (60,)},
    ),
    "clamp": (
        lambda t: {
            "below": t["a"].clamp(min=0.5),
            "both": t["a"].clamp(0.3, 0.6),
            "slope": grad_and_value(lambda a: a.clamp(max=0.5).square().sum())(t["a"])[0],
        },
        {"a": (3, 5)},
    ),
    "the largest": (
        lambda t: {"one": t["a"].amax(), "some": t["a"].flatten().topk(7).values},
        {"a": (3, 5)},
    ),
    "comparisons": (
        lambda t: {
            "y": torch.where((t["a"] > t["b"]) & ~(t["a"] < 0.7) & (t["b"] != 0), t["a"], 0)
        },
        {"a": (40,), "b": (40,)},
    ),
    "between two bounds": (between, {"a": (40,), "b": (40,)}),
    "relu": (
        lambda t: {"y": (t["a"] - 0.5).relu(), "slope": grad_and_value(bent)(t["a"])[0]},
        {"a": (3, 5)},
    ),
    "smooth relu": (
        lambda t: {"y": grad_and_value(rounded)(9 * t["a"] - 4)[0]},
        {"a": (3, 5)},
    ),
    "softmax": (
        lambda t: {"y": t["a"].softmax(-1), "log": (9 * t["a"]).log_softmax(-1)},
        {"a": (3, 5)},
    ),
    "convolution": (loss_and_slope, {"x": (2, 3, 9, 8), "w": (4, 3, 3, 2), "b": (4,)}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compile_gives_what_pytorch_gives(page, name):
    function, shapes = FUNCTIONS[name]
    gen = torch.Generator().manual_seed(0)
    inputs = {key: torch.rand(shape, generator=gen) for key, shape in shapes.items()}
    source = javascript.compile({"f": (function, inputs)})
    # not what was traced
    other = {key: torch.rand(shape, generator=gen) for key, shape in shapes.items()}
    assert_near(evaluated(page, source, "f", other), function(other), 1e-5)


@pytest.mark.parametrize("half", [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
def test_compile_rounds_halves_as_pytorch_does(page, half):
    source = javascript.compile({"f": (lambda t: {"y": t["a"].round()}, {"a": torch.ones(1)})})
    a = torch.tensor([half])
    assert evaluated(page, source, "f", {"a": a})["y"] == a.round()


def test_compile_counts_nan_as_the_largest(page):
    function = lambda t: {"y": t["a"].topk(2).values}  # noqa: E731
    a = torch.tensor([1.0, float("nan"), 3.0])
    source = javascript.compile({"f": (function, {"a": torch.ones(3)})})
    largest, second = evaluated(page, source, "f", {"a": a})["y"].tolist()
    assert math.isnan(largest)
    assert second == 3


def test_compile_takes_one_tensor_under_two_names(page):
    same = torch.ones(2)
    source = javascript.compile({"f": (lambda t: {"y": t["a"] - t["b"]}, {"a": same, "b": same})})
    inputs = {"a": torch.tensor([5.0, 7.0]), "b": torch.tensor([1.0, 2.0])}
    assert evaluated(page, source, "f", inputs)["y"].tolist() == [4, 5]


def test_machine_multiplies_in_webassembly_where_it_can(page):
    source = javascript.compile({})
    plain = page.evaluate(
        "source => new Function(`${source}; return machine([1]).product === plainProduct;`)()",
        source,
    )
    assert plain == page.evaluate("typeof WebAssembly === 'undefined'")


def test_machine_multiplies_where_webassembly_is_forbidden(browser):
    """The policy of the page's own author; the browser then refuses to compile."""
    source = javascript.compile({"f": (lambda t: {"y": t["a"] @ t["a"]}, {"a": torch.ones(2, 2)})})
    page = browser.new_page()
    rule = "script-src 'unsafe-inline'"
    policy = f'<meta http-equiv="Content-Security-Policy" content="{rule}">'
    call = "document.title = generated.f()({ a: Float32Array.of(1, 2, 3, 4) }).y.join()"
    refused = """
        try { new WebAssembly.Module(bytesOf(productModule)); }
        catch (error) { document.body.append(error.name); }
    """
    page.set_content(f"{policy}<body><script>{source}; {call}; {refused}</script>")
    assert page.title() == "7,10,15,22"
    assert page.locator("body").inner_text() == "CompileError"
    page.close()


# What the lab computes ----------------------------------------------------------------------------


ROUNDS = [
    (["cat"], "sigmoid", "default", 0.0),
    (["coffee"], "sigmoid", "default", 0.5),
    (["horse"], "sigmoid", "wide", 0.9),
    (["cat"], "relu", "default", 0.5),
    (["cat", "horse"], "relu", "default", 0.0),
    (["cat", "horse", "coffee", "flower"], "sigmoid", "default", 0.5),
]


@pytest.fixture(scope="module", params=ROUNDS, ids=str)
def a_round(request):
    """A round of some networks, batches and rates, and the network's name in the page."""
    photos, activation, weights, rate = request.param
    gen = torch.Generator().manual_seed(1)
    init = {"default": models.init_default, "wide": models.init_uniform}[weights]
    model = models.lenet(dropout=rate, activation=ACTIVATIONS[activation])
    made = federated.honest(model, data.photos(*photos), gen, init=init)
    return made, f"{activation}_{len(photos)}"


def inputs_of(a_round):
    batch = len(a_round.secret.y)
    mask = a_round.masks.get(MASK, torch.ones(batch, 768))
    y = one_hot(a_round.secret.y, 12).float()
    weights = {f"weights.{name}": t for name, t in a_round.shared.weights.items()}
    gradient = {f"gradient.{name}": t for name, t in a_round.shared.gradient.items()}
    return {"mask": mask, "y": y, "logits": y.log(), **weights, **gradient}


def test_share_is_pytorchs_gradient(page, a_round):
    made, network = a_round
    given = {key: t for key, t in inputs_of(made).items() if not key.startswith("gradient.")}
    inputs = {"x": made.secret.x, **without(given, "logits")}
    found = evaluated(page, javascript.worker_source(), f"share_{network}", inputs)
    assert_near(found, made.shared.gradient)


@pytest.mark.parametrize("attack", [attacks.idlg, attacks.dlg], ids=lambda attack: attack.name)
@pytest.mark.parametrize("guess", ["grey", "noise", "coffee"])
def test_objectives_and_their_slopes_are_pytorchs(page, a_round, attack, guess):
    """For iDLG the label is given, and the slope in it does not matter."""
    made, network = a_round
    gen = torch.Generator().manual_seed(2)
    shape = made.shared.x_shape
    pictures = {
        "grey": torch.full(shape, 0.5),
        "noise": torch.randn(shape, generator=gen),
        "coffee": data.photos("coffee", crop=1).x.expand(shape),
    }
    inputs = {**without(inputs_of(made), "y"), "x": attack.transform.encode(pictures[guess])}
    if attack is attacks.dlg:
        inputs["logits"] = torch.randn(shape[0], 12, generator=gen)
    known = Guess(masks={MASK: inputs["mask"]})
    unknowns = {"x": inputs["x"]}
    if attack is attacks.dlg:
        unknowns["logits"] = inputs["logits"]
    else:
        known = known._replace(y=made.secret.y)
    copy = attackers_copy(made.model, attack)

    def loss(unknowns):
        guess = Guess(unknowns["x"], unknowns.get("logits"))
        return objective(copy, attack, guess, known, made.shared.weights, made.shared.gradient)

    slope, value = grad_and_value(loss)(unknowns)
    wanted = {"value": value, **{f"slope.{key}": t for key, t in slope.items()}}
    found = evaluated(page, javascript.worker_source(), f"objective0_{network}", inputs)
    assert_near({key: found[key] for key in wanted}, wanted)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_matching_features_and_its_slope_are_pytorchs(page, activation, rate):
    gen = torch.Generator().manual_seed(1)
    model = models.lenet(dropout=rate, activation=ACTIVATIONS[activation])
    made = federated.honest(model, data.photos("cat"), gen)
    features = attacks.features.compare.of_round(made.model, made.shared)
    known = attacks.features.infer(made.model, made.shared)
    x = torch.rand(made.shared.x_shape, generator=gen)
    inputs = {**without(inputs_of(made), "y"), "x": attacks.features.transform.encode(x)}
    inputs |= {
        "read.fc.weight": features["fc.weight"],
        "mask": known.masks.get(MASK, inputs["mask"]),
    }

    def loss(u):
        return objective(
            made.model, attacks.features, Guess(u), known, made.shared.weights, features
        )

    slope, value = grad_and_value(loss)(inputs["x"])
    source = javascript.worker_source()
    found = evaluated(page, source, f"objective1_{activation}_1", inputs)
    assert_near(without(found, "slope.logits"), {"value": value, "slope.x": slope})


def test_features_are_read_as_the_library_reads_them(page):
    gen = torch.Generator().manual_seed(2)
    made = federated.honest(models.lenet(dropout=0.5), data.photos("cat"), gen)
    wanted = attacks.features.compare.of_round(made.model, made.shared)["fc.weight"]
    gradient = [
        made.shared.gradient[f"fc.{name}"].flatten().tolist() for name in ("weight", "bias")
    ]
    found = page.evaluate(
        "([source, weight, bias]) => Array.from("
        "new Function(`${source}; return readFeatures;`)()(weight, bias))",
        [javascript.worker_source(), *gradient],
    )
    assert torch.tensor(found) == pytest.approx(wanted.flatten(), rel=1e-4, abs=1e-6)


def test_picture_is_pytorchs(page):
    u = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = {"x": attacks.idlg.transform.decode(u)}
    assert_near(evaluated(page, javascript.worker_source(), "picture", {"x": u}), wanted)


def test_unknowns_are_what_the_picture_is_made_of(page):
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = {"x": attacks.idlg.transform.encode(x)}
    assert_near(evaluated(page, javascript.worker_source(), "unknowns", {"x": x}), wanted)


# Defences -----------------------------------------------------------------------------------------

REPEATED = [name for name, of in describe_defenses(DEFENSES).items() if of["sent"]]


@pytest.fixture(scope="module")
def a_gradient():
    """The gradient of a photograph, and that of another one, which the attacker may have made."""
    gen = torch.Generator().manual_seed(1)
    model, _, shared, _ = federated.honest(models.lenet(), data.photos("cat"), gen)
    guess = federated.share(model, data.photos("coffee")._replace(y=data.photos("cat").y))
    return shared, guess.gradient


@pytest.mark.parametrize("name", REPEATED)
def test_what_is_sent_is_what_pytorchs_defense_makes(page, a_gradient, name):
    shared, _ = a_gradient
    inputs = {f"gradient.{key}": g for key, g in shared.gradient.items()}
    function = describe_defenses(DEFENSES)[name]["sent"]
    found = evaluated(page, javascript.worker_source(), function, inputs)
    wanted = {f"gradient.{key}": g for key, g in DEFENSES[name](shared.gradient).items()}
    assert_near(found, wanted)


@pytest.mark.parametrize("name", DEFENSES)
def test_distances_of_who_knows_the_defense_are_pytorchs(page, a_gradient, name):
    shared, guess = a_gradient
    sent = DEFENSES[name](shared.gradient, torch.Generator().manual_seed(3))
    shared = seen(replace(shared, gradient=sent), DEFENSES[name], known=True)
    attack = knowing(attacks.idlg, shared)

    def loss(guess):
        return attack.distance(defenses.imitate(shared.protocol.defenses, guess, sent), sent)

    pull, value = grad_and_value(loss)(guess)
    inputs = {f"made.{key}": g for key, g in guess.items()}
    inputs |= {f"gradient.{key}": g for key, g in sent.items()}
    function = f"objective0_{describe_defenses(DEFENSES)[name]['distance']}"
    found = evaluated(page, javascript.worker_source(), function, inputs)
    assert_near(found, {"value": value, **{f"pull.{key}": g for key, g in pull.items()}})


@pytest.mark.parametrize("name", ["clipped to length 1", "noise, σ = 10⁻³"])
def test_losses_and_slopes_of_who_knows_the_defense_are_pytorchs(page, a_round, name):
    """Made, compared, pulled: what `objective` does with the defence in the protocol at once."""
    made, network = a_round
    gen = torch.Generator().manual_seed(3)
    gradient = DEFENSES[name](made.shared.gradient, gen)
    shared = seen(replace(made.shared, gradient=gradient), DEFENSES[name], known=True)
    attack = knowing(attacks.idlg, shared)
    x = torch.rand(shared.x_shape, generator=gen)
    inputs = {**without(inputs_of(made), "y"), "x": attack.transform.encode(x)}
    inputs |= {f"gradient.{key}": g for key, g in gradient.items()}
    known = Guess(y=made.secret.y, masks={MASK: inputs["mask"]})
    copy = attackers_copy(made.model, attack)

    def loss(u):
        round_ = (shared.weights, shared.gradient, shared.protocol)
        return objective(copy, attack, Guess(u), known, *round_)

    slope, value = grad_and_value(loss)(inputs["x"])
    found = taken_apart(page, inputs, name, network)
    assert_near(found, {"value": value, "slope.x": slope}, 1e-3)


def taken_apart(page, inputs, name, network):
    """Value and slope as search.js puts them together from the generated functions."""
    source = javascript.worker_source()
    described = describe_defenses(DEFENSES)[name]
    made = evaluated(page, source, f"made_{network}", inputs)
    compared = evaluated(page, source, f"objective0_{described['distance']}", {**inputs, **made})
    pulled = evaluated(page, source, f"slopes_{network}", {**inputs, **without(compared, "value")})
    value, slope = compared["value"], pulled["slope.x"]
    for k, image in enumerate(inputs["x"] if described["sigma"] else ()):
        prior = evaluated(page, source, "prior", {"x": image})
        value = value + prior["value"]
        slope[k * image.numel() : (k + 1) * image.numel()] += prior["slope.x"]
    return {"value": value, "slope.x": slope}
