"""Fifteen inputs after public reports: each is attacked, or refused in one clear sentence.

They were made after the trackers of reference implementations, of federated and DP frameworks, and
of PyTorch. Each has a section with its number. None may end in a wrong picture without a word.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dlgutils import Batch, Protocol, attacks, data, invert, metrics, models, share
from dlgutils.analytic import features, labels, separation
from dlgutils.federated import from_weights
from reproduce.other_networks import QuickStart

CAT = data.photos("cat")
STEPS = 40
PART = ("fc.weight", "fc.bias")


@pytest.fixture(scope="module")
def lenet():
    """The LeNet of the first chapters."""
    return models.init_default(models.lenet(), torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def plain(lenet):
    """One honest round of it."""
    return share(lenet, CAT)


def error(model, shared, attack=attacks.idlg, steps=STEPS, secret=CAT):
    """The MSE of what the attack finds, after its label was compared."""
    result = invert(model, shared, attack, steps=steps)
    assert result.y[0].equal(secret.y)
    return metrics.mse(result.x[0].clamp(0, 1), secret.x).max()


# 1. The gradient times a number that nobody tells


def halved(shared):
    """The round with half its gradient."""
    return replace(shared, gradient={name: 0.5 * g for name, g in shared.gradient.items()})


def test_1_a_multiple_is_refused_with_its_number_or_read(lenet, plain):
    with pytest.raises(ValueError, match=r"0\.5 times what its own features"):
        invert(lenet, halved(plain), attacks.idlg)
    unknown = replace(halved(plain), protocol=Protocol(scale=None))
    assert "multiplied by 0.5" in invert(lenet, unknown, attacks.idlg, steps=1).checked
    assert error(lenet, unknown) < 1e-2


# 2. Several local steps passed as a gradient


def test_2_local_steps_are_refused_as_a_gradient_and_attacked_as_steps(lenet):
    shared = share(lenet, CAT, protocol=Protocol(steps=3, lr=0.1))
    with pytest.raises(ValueError, match=r"took several steps"):
        invert(lenet, replace(shared, protocol=Protocol()), attacks.idlg)
    assert error(lenet, shared) < 1e-2


# 3. A partial update


def test_3_a_partial_update_is_attacked(lenet):
    shared = share(lenet, CAT, protocol=Protocol(sent=PART))
    assert tuple(shared.gradient) == PART
    assert features.read(lenet, shared).y.equal(CAT.y)
    assert error(lenet, shared) < 1e-2


# 4. A frozen body


def test_4_only_what_is_trained_is_shared():
    frozen = models.init_default(models.lenet(), torch.Generator().manual_seed(0))
    frozen.body.requires_grad_(False)
    shared = share(frozen, CAT)
    assert tuple(shared.gradient) == PART
    assert error(frozen, shared) < 1e-2


# 5. Normalised images


def test_5_normalised_images_are_refused_and_normalisation_is_attacked(lenet):
    with pytest.raises(ValueError, match=r"models\.normalised\(model, mean, std\)"):
        share(lenet, Batch((CAT.x - 0.5) / 0.3, CAT.y))
    inside = models.normalised(lenet, 0.5, 0.3)
    assert error(inside, share(inside, CAT)) < 1e-2


# 6. Layers without a second derivative, in a network whose statistics have seen no data


def test_6_a_mobilenet_runs_and_says_that_it_sees_nothing():
    vision = pytest.importorskip("torchvision.models")
    model = vision.mobilenet_v3_small(num_classes=10).eval()
    with pytest.warns(UserWarning, match=r"hardly depends on the image"):
        result = invert(model, share(model, CAT), attacks.idlg, steps=2)
    assert result.y[0].equal(CAT.y)


# 7. Attention


def test_7_attention_is_attacked():
    layer = nn.TransformerEncoderLayer(96, 4, 64, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1)
    rows = nn.Sequential(nn.Flatten(2), nn.Unflatten(1, (3,)), nn.Flatten(1))
    model = nn.Sequential(rows, nn.Unflatten(1, (32, 96)), encoder, nn.Flatten())
    model.append(nn.Linear(3072, 10))
    result = invert(model, share(model, CAT), attacks.idlg, steps=3)
    assert result.loss.isfinite().all()
    assert result.y[0].equal(CAT.y)


# 8. A branch that depends on the image


class Branching(nn.Module):
    """A model that decides by the image."""

    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        """Logits."""
        return self.inside(x) if x.mean().item() > 0.5 else 1.1 * self.inside(x)


def test_8_branches_run_one_after_another_with_a_warning(lenet):
    model = Branching(lenet)
    shared = share(model, CAT)
    with pytest.warns(UserWarning, match=r"one run goes after another"):
        result = invert(model, shared, attacks.idlg, steps=STEPS)
    assert "does not end with inside.fc" in result.checked
    assert metrics.mse(result.x[0], CAT.x) < 1e-2


# 9. Arrays and bytes


@pytest.mark.parametrize(
    ("x", "way_out"),
    [
        (CAT.x.numpy(), r"pass torch\.from_numpy\(x\)\.float\(\)"),
        ((255 * CAT.x).byte(), r"pass x\.float\(\) / 255"),
        (
            (255 * CAT.x).byte().permute(0, 2, 3, 1).numpy(),
            r"permute\(0, 3, 1, 2\)\.float\(\) / 255",
        ),
    ],
    ids=["NumPy", "bytes", "NumPy bytes"],
)
def test_9_what_came_and_the_way_out_are_named(lenet, x, way_out):
    with pytest.raises(ValueError, match=way_out):
        share(lenet, Batch(x, CAT.y))


def test_9_labels_as_arrays_have_a_way_out_too(lenet):
    with pytest.raises(ValueError, match=r"pass torch\.from_numpy\(y\)"):
        share(lenet, Batch(CAT.x, np.array([1])))


# 10. Wrappers and their prefixes


@pytest.mark.parametrize("prefix", ["_module.", "module.", "_orig_mod.", "model."])
def test_10_prefixes_are_recognised(lenet, plain, prefix):
    gradient = {prefix + name: g for name, g in plain.gradient.items()}
    weights = {prefix + name: w for name, w in plain.weights.items()}
    came = replace(plain, weights=weights, gradient=gradient)
    assert error(lenet, came) < 1e-2


# 11. Flower's quick start: weights before and after one local epoch


def test_11_the_quick_start_is_attacked_and_its_labels_are_read():
    """What comes back of the image is counted in `reproduce.quick_start`: little."""
    model = models.normalised(QuickStart(10), (0.5,) * 3, (0.5,) * 3)
    model = models.init_default(model, torch.Generator().manual_seed(0))
    protocol = Protocol(lr=0.01, momentum=0.9)
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    functional.cross_entropy(model(CAT.x), CAT.y).backward()
    sgd.step()
    after = {name: p.detach().clone() for name, p in model.named_parameters()}
    shared = from_weights(before, after, tuple(CAT.x.shape), protocol)
    assert labels.read(shared).equal(CAT.y)
    result = invert(model, shared, attacks.idlg, steps=100)
    grey = torch.full_like(CAT.x, 0.5)
    assert metrics.mse(result.x[0], CAT.x) < metrics.mse(grey, CAT.x)


# 12. More images than classes


def test_12_says_which_part_cannot_be_told_apart():
    model = models.init_default(models.lenet(classes=12), torch.Generator().manual_seed(3))
    x, _ = data.fruits()
    shared = share(model, Batch(x[:16], torch.arange(16) % 12))
    found = separation.separate(model, shared)
    assert found.reading is None
    assert "only 11 of them can be independent" in found.reason


# 13. Half precision


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float16, 1e-2), (torch.bfloat16, 0.1)], ids=["float16", "bfloat16"]
)
def test_13_a_rounded_gradient_is_attacked_as_one(lenet, plain, dtype, bound):
    gradient = {name: g.to(dtype) for name, g in plain.gradient.items()}
    assert error(lenet, replace(plain, gradient=gradient)) < bound


# 14. Other losses and targets


def one_hot(y):
    """The labels as probabilities."""
    return functional.one_hot(y, 12).float()


MIXED = 0.7 * one_hot(CAT.y) + 0.3 * one_hot(CAT.y + 1)
KNOWN = {  # the loss is public, and the label read
    "class weights": Protocol(loss=nn.CrossEntropyLoss(weight=torch.linspace(0.5, 2, 12))),
    "smoothing": Protocol(loss=partial(functional.cross_entropy, label_smoothing=0.1)),
    "sum": Protocol(loss=nn.CrossEntropyLoss(reduction="sum")),
}
SOUGHT = {  # image and target are optimised together
    "mixup": (MIXED, Protocol()),
    "several labels": (
        one_hot(CAT.y),
        Protocol(loss=functional.binary_cross_entropy_with_logits, as_targets=torch.sigmoid),
    ),
}


@pytest.mark.parametrize("protocol", KNOWN.values(), ids=KNOWN)
def test_14_a_loss_that_is_announced_is_attacked(lenet, protocol):
    assert error(lenet, share(lenet, CAT, protocol=protocol)) < 1e-2


@pytest.mark.parametrize(("y", "protocol"), SOUGHT.values(), ids=SOUGHT)
def test_14_other_targets_are_optimised_with_the_image(lenet, y, protocol):
    shared = share(lenet, Batch(CAT.x, y), protocol=protocol)
    result = invert(lenet, shared, attacks.dlg, steps=2 * STEPS)
    assert metrics.mse(result.x[0].clamp(0, 1), CAT.x) < 2e-2


def test_14_regression_runs(lenet):
    """The target is found; the search does not come from there to the image."""
    protocol = Protocol(loss=functional.mse_loss, as_targets=torch.clone)
    shared = share(lenet, Batch(CAT.x, one_hot(CAT.y)), protocol=protocol)
    result = invert(lenet, shared, attacks.dlg, steps=10)
    assert result.y[0].equal(CAT.y)
    assert result.best_loss < 1e-5 < result.loss[0, 0]


def test_14_readings_say_that_they_need_plain_cross_entropy(lenet):
    shared = share(lenet, Batch(CAT.x, MIXED))
    with pytest.raises(ValueError, match=r"cross-entropy of class ids"):
        features.read(lenet, shared)


# 15. Random layers


def dropping(layer):
    """A small network with this layer in it, in train mode."""
    conv = nn.Conv2d(3, 8, 5, 2)
    return nn.Sequential(
        conv, nn.Sigmoid(), layer, nn.Flatten(), nn.Linear(8 * 14 * 14, 10)
    ).train()


@pytest.mark.parametrize("layer", [nn.Dropout(0.3), nn.Dropout2d(0.3)], ids=lambda m: str(m))
def test_15_dropout_is_refused_by_name_and_attacked_once_its_masks_have_names(layer, seeded):
    model = dropping(layer)
    with pytest.raises(ValueError, match=rf"2 is an active {type(layer).__name__}.*expose_dropout"):
        share(model, CAT)
    exposed = models.expose_dropout(model, tuple(CAT.x.shape[1:]))
    shared = share(exposed, CAT, seeded(0))
    assert invert(exposed, shared, attacks.mask_reading, steps=3).y[0].equal(CAT.y)


class Functional(nn.Module):
    """A model that drops by a function, which has no name."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3072, 10)

    def forward(self, x):
        """Logits."""
        return self.fc(functional.dropout(x.flatten(1), 0.5, self.training))


def test_15_a_function_that_draws_is_refused_by_name():
    with pytest.raises(ValueError, match=r"in torch\.nn\.functional\.dropout, so no attacker"):
        share(Functional(), CAT)
    encoder = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(1024, 4, 64))
    with pytest.raises(ValueError, match=r"self_attn is a MultiheadAttention in train mode"):
        share(encoder.append(nn.Flatten()).append(nn.Linear(3072, 10)), CAT)
