"""What the page gets to know about the attacks: optimisers with their settings, bounds, starts."""

import json
import re
from dataclasses import replace

import pytest
import torch

from dlgutils import attacks, data, federated, javascript, models
from dlgutils.federated import defenses
from dlgutils.javascript import page_defenses, worker
from dlgutils.matching import starts
from dlgutils.matching.layer_inputs import linear_inputs
from dlgutils.matching.optimizers import adam, lbfgs
from dlgutils.types import Comparison, Optimizer


def network(source):
    """What the source has about the network and the attacks."""
    return json.loads(re.search(r"^const network = (.*);$", source, re.MULTILINE)[1])


def test_worker_source_describes_every_attack():
    described = network(javascript.worker_source())
    assert (described["features"], described["classes"]) == (768, 12)
    assert list(described["attacks"]) == [attack.name for attack in javascript.ATTACKS]
    found = {
        name: ([*a["unknowns"]], a["readsLabel"], a["readsMask"], a["readsFeatures"], a["draws"])
        for name, a in described["attacks"].items()
    }
    assert found == {
        "iDLG": (["x"], True, False, False, False),
        "iDLG, mask read": (["x"], True, True, False, False),
        "DLG": (["x", "logits"], False, False, False, False),
        "iDLG, fresh masks": (["x"], True, False, False, True),
        "Features": (["x"], True, True, True, False),
    }
    assert described["attacks"]["DLG"]["unknowns"] == {"x": 3072, "logits": 12}
    *of_gradients, of_features = [a["objective"] for a in described["attacks"].values()]
    assert set(of_gradients) == {"objective0"}
    assert of_features == "objective1"


def test_worker_source_has_the_functions_of_every_network():
    source = javascript.worker_source()
    for kind in ("share", "objective0"):
        for activation in ("sigmoid", "relu"):
            for batch in (1, 2, 4):
                assert f"\n{kind}_{activation}_{batch}() {{" in source


def test_worker_source_matches_features_of_one_image_and_without_a_defense():
    functions = re.findall(r"^(objective1\w*)\(\) {", javascript.worker_source(), re.MULTILINE)
    assert functions == ["objective1_sigmoid_1", "objective1_relu_1"]


def test_worker_source_has_the_functions_of_every_defense():
    source = javascript.worker_source()
    described = network(source)["defenses"]
    assert list(described) == list(page_defenses.DEFENSES)
    for name, defense in page_defenses.DEFENSES.items():
        assert described[name]["sigma"] == defense.sigma
        assert (described[name]["sent"] is None) == (defense.sigma > 0)
        for function in (described[name]["sent"], f"objective0_{described[name]['distance']}"):
            assert function is None or f"\n{function}() {{" in source


def test_compile_attacks_refuses_a_prior_where_the_attacker_may_know_a_defense():
    mine = replace(attacks.idlg, name="mine", prior=lambda guess: guess.x.mean())
    clipped = {"clipped": defenses.clip(1.0)}
    with pytest.raises(
        NotImplementedError, match=r"mine has a prior.* compile it without defences"
    ):
        worker.compile_attacks([mine], ["sigmoid"], [1], clipped)


@pytest.mark.parametrize("name", page_defenses.DEFENSES)
def test_knowing_repeats_the_defense_so_that_the_truth_is_right(seeded, name):
    """Without noise, the loss of the client's own picture is zero."""
    model = models.init_default(models.lenet(), seeded(0))
    photo = data.photos("cat")
    clean = federated.share(model, photo).gradient
    defense = page_defenses.DEFENSES[name]
    shared = replace(federated.share(model, photo), gradient=defense(clean, seeded(1)))
    shared = page_defenses.seen(shared, defense, known=True)
    attack = page_defenses.knowing(attacks.idlg, shared)
    loss = attack.distance(defenses.imitate([defense], clean, shared.gradient), shared.gradient)
    count = sum(g.numel() for g in clean.values())
    if defense.sigma:
        assert loss == pytest.approx(count / 2, rel=0.05)
    else:
        assert loss == pytest.approx(0, abs=1e-10)


def test_worker_source_passes_the_optimisers_with_their_settings():
    described = network(javascript.worker_source())["attacks"]
    assert described["iDLG"]["optimizer"] == {"name": "lbfgs", "settings": {"history": 100}}
    assert described["iDLG, fresh masks"]["optimizer"] == {
        "name": "adam",
        "settings": {"lr": 0.1, "betas": [0.9, 0.999], "eps": 1e-8},
    }


def test_compile_attacks_passes_settings_that_were_changed():
    short = replace(attacks.idlg, name="short", optimizer=lbfgs(history=5))
    described = network(worker.compile_attacks([short], ["sigmoid"], [1]))["attacks"]
    assert described["short"]["optimizer"] == {"name": "lbfgs", "settings": {"history": 5}}


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lbfgs(line_search=False), r"no .*(without line search|line_search=False)"),
        (adam(signed=True), r"no .*(signed adam|signed=True)"),
        (adam(box=(0, 1)), r"no adam with box=\(0, 1\)"),
        (adam(patience=800), r"no adam with patience=800"),
        (Optimizer("newton", None, None), r"no optimiser 'newton'"),
        (Optimizer("lbfgs", None, None), r"takes the settings \['history'\], got \[\]"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_compile_attacks_refuses_what_the_page_does_not_implement(optimizer, message):
    """Otherwise it would run as if the setting were not there."""
    attack = replace(attacks.idlg, optimizer=optimizer)
    with pytest.raises(NotImplementedError, match=f"{message}.*take one of them, or .* invert"):
        worker.compile_attacks([attack])


@pytest.mark.parametrize("attack", javascript.ATTACKS, ids=lambda attack: attack.name)
def test_attacks_start_at_zero(seeded, attack):
    """The page starts from zeros."""
    model = models.init_default(models.lenet(), seeded(0))
    shared = federated.share(model, data.photos("cat"))
    start = attack.start(model, shared, None)
    assert attack.transform.encode(start.x).abs().max() < 1e-6
    assert start.y is None or not start.y.any()


@pytest.mark.parametrize(
    ("init", "kind"), [(models.init_default, "default"), (models.init_uniform, "wide")]
)
def test_describe_parameters_has_the_bounds_of_pytorchs_draws(seeded, init, kind):
    """The largest of many draws lies just below the bound."""
    drawn = [models.weights(init(models.lenet(), seeded(k))) for k in range(40)]
    for name, size, bounds in worker.describe_parameters(models.lenet()):
        assert drawn[0][name].numel() == size
        largest = torch.stack([weights[name].abs().max() for weights in drawn]).max()
        assert 0.95 * bounds[kind] < largest <= bounds[kind]


@pytest.mark.parametrize(
    "part",
    [{"transform": None}, {"start": starts.uniform}, {"decode": attacks.scale_masks}],
    ids=lambda part: next(iter(part)),
)
def test_compile_attacks_refuses_parts_that_the_page_does_itself(part):
    attack = replace(attacks.idlg, name="mine", **part)
    with pytest.raises(NotImplementedError, match=r"mine is not one of a page's .*: iDLG"):
        worker.compile_attacks([attack])


def test_compile_attacks_refuses_one_that_compares_something_else_than_gradients():
    compare = Comparison(linear_inputs, lambda _, shared: shared.gradient)
    attack = replace(attacks.idlg, compare=compare)
    with pytest.raises(NotImplementedError, match=r"iDLG is not one of a page's attacks"):
        worker.compile_attacks([attack], ["sigmoid"], [1])
