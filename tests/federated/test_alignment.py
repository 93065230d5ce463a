"""Uploads in fewer digits than the weights, and weights in another order than the layers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dlgutils import Batch, Protocol, attacks, invert, models, share
from dlgutils.analytic import closed_form, features, labels, masks
from dlgutils.federated import from_weights
from dlgutils.federated.alignment import align
from dlgutils.federated.defenses import noise


def rounded(shared, dtype):
    """The round with its gradient rounded to this dtype."""
    return replace(shared, gradient={name: g.to(dtype) for name, g in shared.gradient.items()})


HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


@HALVES
@pytest.mark.parametrize("seed", range(4))
def test_a_rounded_upload_is_read_and_matched(tiny, dtype, seed):
    model, secret, shared, *_ = tiny(seed, dtype=torch.float32)
    upload = rounded(shared, dtype)
    assert labels.read(upload).equal(secret.y)
    result = invert(model, upload, attacks.idlg, start=secret.x[None], steps=1)
    assert result.y[0].equal(secret.y)
    assert result.loss[0, 0] < torch.finfo(dtype).eps ** 2


@HALVES
def test_the_mask_is_read_off_a_rounded_upload(tiny, dtype):
    model, secret, shared, drawn = tiny(dropout=0.5, dtype=torch.float32)
    found = masks.read(model, rounded(shared, dtype))
    assert found.y.equal(secret.y)
    assert found.masks["dropout.mask"].equal(drawn["dropout.mask"])


def test_the_closed_form_does_not_believe_in_digits_that_are_not_there(tiny):
    model, secret, shared, *_ = tiny(dtype=torch.float32)
    found = closed_form.recover(model, rounded(shared, torch.float16))
    assert found.residual > 1e-6
    assert (found.x - secret.x).square().mean() < 0.2


def test_align_keeps_what_was_lost_in_mind(tiny):
    model, _, shared, *_ = tiny()
    _, (found,) = align(model, rounded(shared, torch.float32))
    assert (found.like.dtype, found.precision) == (torch.float64, torch.float32)
    assert shared.precision == torch.float64


def test_align_leaves_a_round_that_fits_as_it_is(tiny):
    model, _, shared, *_ = tiny()
    _, (found,) = align(model, shared)
    assert found is shared


@HALVES
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_rounded_update_of_several_steps_is_matched(tiny, dtype, steps):
    model, secret, *_ = tiny(dtype=torch.float32)
    shared = share(model, secret, protocol=Protocol(steps=steps, lr=0.01))
    upload = rounded(shared, dtype)
    assert labels.read(upload).equal(secret.y)
    result = invert(model, upload, attacks.idlg, start=secret.x[None], steps=1)
    assert result.loss[0, 0] < torch.finfo(dtype).eps ** 2


@HALVES
def test_weights_in_half_precision_are_worth_a_warning(tiny, dtype):
    """The update is a small difference of weights, so that their rounding is much of it."""
    model, secret, *_ = tiny(dtype=torch.float32)
    protocol = Protocol(steps=5, lr=0.1)
    shared = share(model, secret, protocol=protocol)
    after = {
        name: (w - 0.5 * shared.gradient[name]).to(dtype) for name, w in shared.weights.items()
    }
    with pytest.warns(UserWarning, match=r"rounding is about \de-\d\d of the update"):
        found = from_weights(shared.weights, after, shared.x_shape, protocol)
    assert (found.precision, found.like.dtype) == (dtype, torch.float32)
    assert labels.read(found).equal(secret.y)


class Disordered(nn.Module):
    """A network that defines its classifier first, and last a head that it does not use."""

    def __init__(self, bias=True):
        super().__init__()
        self.fc = nn.Linear(6, 3, bias=bias)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Sigmoid())
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        """Logits."""
        return self.fc(self.body(x))


def disordered(seeded, bias=True):
    """Such a network in double precision, and a secret."""
    model = models.init_default(Disordered(bias).double(), seeded(0))
    x = torch.rand(1, 1, 4, 4, generator=seeded(1), dtype=torch.float64)
    return model, Batch(x, torch.tensor([2]))


@pytest.mark.parametrize("bias", [True, False])
def test_the_classifier_is_the_layer_that_returns_the_logits(seeded, bias):
    model, secret = disordered(seeded, bias)
    shared = share(model, secret)
    assert shared.last_layer == (("fc.weight", "fc.bias") if bias else ("fc.weight", None))
    assert labels.read(shared).equal(secret.y)
    assert features.read(model, shared).layers[-1].inputs.view_as(secret.x).allclose(secret.x)


@pytest.mark.parametrize("attack", [attacks.idlg, attacks.dlg], ids=lambda attack: attack.name)
@pytest.mark.parametrize("row", [[], [noise(1e-9)]], ids=["plain", "noise"])
def test_labels_are_not_sought_in_another_layer(seeded, attack, row):
    model, secret = disordered(seeded)
    shared = share(model, secret, seeded(2), defenses=row) if row else share(model, secret)
    as_defined = replace(shared, weights=models.weights(model))
    result = invert(model, as_defined, attack, steps=60)
    assert result.y[0].equal(secret.y)
    assert (result.x[0] - secret.x).abs().max() < 0.05


def test_weights_may_come_in_any_order(tiny):
    """As from a file of safetensors, which sorts them by name."""
    model, secret, shared, *_ = tiny()
    backwards = replace(shared, weights=dict(reversed(shared.weights.items())))
    _, (found,) = align(model, backwards)
    assert list(found.weights) == list(shared.weights)
    assert masks.read(model, backwards).y.equal(secret.y)


class Scaled(nn.Module):
    """A network whose logits are multiplied afterwards."""

    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        """Logits."""
        return 3 * self.inside(x)


def test_a_function_after_the_classifier_changes_nothing(seeded):
    model, secret = disordered(seeded)
    shared = share(Scaled(model), secret)
    assert shared.last_layer == ("inside.fc.weight", "inside.fc.bias")
    assert labels.read(shared).equal(secret.y)


def test_a_model_in_train_mode_is_left_as_it_is(seeded):
    """Its statistics would change with every call; `checks.check` refuses it later."""
    norm = nn.BatchNorm2d(1)
    model = nn.Sequential(norm, nn.Flatten(), nn.Linear(16, 3))
    shared = share(model.eval(), Batch(torch.rand(1, 1, 4, 4), torch.tensor([2])))
    align(model.train(), shared)
    assert norm.num_batches_tracked == 0


@HALVES
def test_a_rounded_upload_is_recognised_in_a_wider_dtype(tiny, dtype):
    """As a framework unpacks what came in half precision."""
    model, secret, shared, *_ = tiny(dtype=torch.float32)
    unpacked = rounded(rounded(shared, dtype), torch.float32)
    _, (found,) = align(model, unpacked)
    assert found.precision == dtype
    assert labels.read(unpacked).equal(secret.y)
    assert masks.read(model, unpacked).y.equal(secret.y)


def test_a_round_of_single_precision_is_read_after_it_was_kept_in_double(tiny):
    """As from JSON, or from NumPy."""
    model, secret, shared, *_ = tiny(dtype=torch.float32)
    weights = {name: w.double() for name, w in shared.weights.items()}
    kept = replace(rounded(shared, torch.float64), weights=weights)
    assert labels.read(kept).equal(secret.y)
    assert features.read(model, kept).layers[0].error < 1e-4
    result = invert(model, kept, attacks.idlg, start=secret.x[None], steps=1)
    assert result.checked == "one image and one step of cross-entropy, as its protocol says"


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_the_label_is_read_off_the_bias_of_a_parametrised_classifier(seeded, name):
    norm = getattr(nn.utils.parametrizations, name)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 6), nn.Sigmoid(), norm(nn.Linear(6, 5))
    ).eval()
    secret = Batch(torch.rand(1, 1, 4, 4, generator=seeded(0)), torch.tensor([2]))
    shared = share(model, secret)
    assert shared.last_layer[1] == "3.bias"
    assert labels.read(shared).equal(secret.y)
    assert invert(model, shared, attacks.idlg, steps=60).best_loss < 1e-4
    with pytest.raises(ValueError, match="the last layer is not linear"):
        features.read(model, shared)
