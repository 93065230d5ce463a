"""Wrappers and their prefixes: the model inside, and tensors under its names."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlgutils import Batch, Protocol, attacks, invert, models, share
from dlgutils.analytic import features, masks
from dlgutils.federated import from_weights
from dlgutils.federated.alignment import align
from dlgutils.federated.exchange import Exchange
from dlgutils.types import Shared

PREFIXES = ["_module.", "module.", "_orig_mod.", "module._orig_mod.", "model.", "module.net.model."]
SECRET = Batch(torch.full((1, 1, 8, 8), 0.25), torch.tensor([2]))


def plain():
    """A LeNet of small images with dropout, of always the same weights."""
    model = models.lenet((1, 8, 8), 4, dropout=0.5)
    return models.init_default(model, torch.Generator().manual_seed(0))


def grad_sample_module(model):
    """The model in the wrapper of Opacus; without it, the test is skipped."""
    return pytest.importorskip("opacus.grad_sample").GradSampleModule(model)


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "compiled": torch.compile,
    "Opacus": grad_sample_module,
    "two": lambda model: nn.DataParallel(torch.compile(model)),
}


def prefixed(tensors, prefix):
    """The same tensors with a prefix before each name."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_model_is_shared_and_attacked_as_the_one_inside(wrap, seeded):
    model, wrapped = plain(), wrap(plain())
    drawn = models.draw_masks(wrapped, 1, seeded(1))
    wanted = share(model, SECRET, seeded(1))
    found = share(wrapped, SECRET, masks=drawn)
    assert list(models.weights(wrapped)) == list(found.weights) == list(wanted.weights)
    for name, g in found.gradient.items():
        assert g.equal(wanted.gradient[name])
    assert masks.read(wrapped, found).masks["dropout.mask"].equal(drawn["dropout.mask"])
    alone = invert(model, wanted, attacks.idlg, steps=3)
    assert invert(wrapped, found, attacks.idlg, steps=3).loss.equal(alone.loss)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("where", ["weights", "gradient", "both"])
def test_a_prefix_is_recognised(prefix, where, seeded):
    model = plain()
    shared = share(model, SECRET, seeded(1))
    weights, gradient = shared.weights, shared.gradient
    came = Shared(
        weights if where == "gradient" else prefixed(weights, prefix),
        gradient if where == "weights" else prefixed(gradient, prefix),
        shared.x_shape,
    )
    _, (found,) = align(model, came)
    assert list(found.weights) == list(weights)
    assert list(found.gradient) == list(gradient)
    assert features.read(model, came).y.tolist() == [2]
    alone = invert(model, shared, attacks.idlg, steps=3)
    assert invert(model, came, attacks.idlg, steps=3).loss.equal(alone.loss)


def test_a_prefix_inside_a_name_is_recognised_in_a_partial_update(seeded):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Sigmoid())
            self.head = nn.Linear(5, 4)

        def forward(self, x):
            """Logits."""
            return self.head(self.encoder(x))

    model = Two()
    shared = share(model, SECRET)
    part = {"encoder._orig_mod.1.weight": shared.gradient["encoder.1.weight"]}
    _, (found,) = align(model, Shared(shared.weights, part, shared.x_shape))
    assert list(found.gradient) == ["encoder.1.weight"]


def test_from_weights_recognises_prefixes():
    before = models.weights(plain())
    after = {f"module.{name}": w + 1 for name, w in before.items()}
    shared = from_weights(before, after, (1, 1, 8, 8), share(plain(), SECRET, masks={}).protocol)
    assert list(shared.gradient) == list(before)


def test_renamed_leaves_a_model_whose_own_layers_have_such_names_alone():
    """Two names that only a prefix tells apart could be taken for one another."""
    tensors = {"module.bias": torch.zeros(1), "bias": torch.ones(1)}
    assert models.renamed(tensors, ["_module.module.bias", "_module.bias"]) is tensors


def test_another_models_names_are_refused_as_before():
    shared = share(plain(), SECRET, masks={})
    names = {f"{name}.other": w for name, w in shared.weights.items()}
    wrong = Shared(names, shared.gradient, shared.x_shape)
    with pytest.raises(ValueError, match=r"the weights of another model"):
        invert(plain(), wrong, attacks.idlg)


def test_unwrapped_returns_a_plain_model_itself():
    model = plain()
    assert models.unwrapped(model) is model


class Own(nn.Module):
    """A wrapper of somebody's own."""

    def __init__(self, inside):
        super().__init__()
        self.backbone = inside

    def forward(self, x):
        """What the model inside returns."""
        return self.backbone(x)


def test_a_wrapper_of_ones_own_is_recognised_from_either_side(seeded):
    inside, outside = plain(), Own(plain())
    assert models.unwrapped(outside) is outside
    shared = share(inside, SECRET, seeded(1))
    alone = invert(inside, shared, attacks.idlg, steps=3)
    assert invert(outside, shared, attacks.idlg, steps=3).loss.equal(alone.loss)
    from_outside = share(outside, SECRET, seeded(1))
    assert invert(inside, from_outside, attacks.idlg, steps=3).loss.equal(alone.loss)


def test_a_part_of_an_update_is_recognised_from_either_side():
    wanted = ["net.body.weight", "net.fc.weight", "net.fc.bias"]
    part = {"fc.weight": "net.fc.weight", "fc.bias": "net.fc.bias"}
    assert models.renaming(part, wanted) == part
    back = {new: old for old, new in part.items()}
    assert models.renaming(back, [name.removeprefix("net.") for name in wanted]) == back


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["fc2.weight"], ["fc1.weight", "fc2.bias"]),  # another layer
        (["fc.weight"], ["one.fc.weight", "two.fc.weight"]),  # one of two
        (["a.b.c"], ["c", "b.c"]),  # either of two prefixes
        (["fc.weight", "a.fc.bias"], ["fc.weight", "fc.bias"]),  # of some names only
    ],
)
def test_renaming_does_not_guess(names, wanted):
    assert models.renaming(names, wanted) == {name: name for name in names}


@given(
    names=st.sets(st.sampled_from("abcde"), min_size=1).map(sorted),
    prefix=st.lists(st.sampled_from(["net", "module", "x"]), max_size=3),
)
def test_renaming_undoes_any_prefix_of_a_whole_model(names, prefix):
    own = [f"{name}.weight" for name in names]
    longer = [".".join([*prefix, name]) for name in own]
    assert list(models.renaming(longer, own).values()) == own
    assert list(models.renaming(own, longer).values()) == longer


def test_share_sends_the_names_of_the_model_whatever_their_prefix():
    sent = ("module.net.fc.weight", "module.net.fc.bias")
    shared = share(plain(), SECRET, masks={}, protocol=Protocol(sent=sent))
    assert list(shared.gradient) == list(shared.protocol.sent) == ["fc.weight", "fc.bias"]
    inside = share(nn.DataParallel(plain()), SECRET, masks={}, protocol=shared.protocol)
    assert inside.protocol == shared.protocol


def test_an_exchange_recognises_prefixes():
    model = plain()
    before = prefixed(model.state_dict(), "net.")
    after = {name: w + 1 for name, w in before.items()}
    shared = Exchange(0, before, after, {}).shared(model, (1, 1, 8, 8))
    assert list(shared.weights) == list(models.weights(model))
