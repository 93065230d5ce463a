"""Rounds and batches that cannot be used are refused, with errors that name the way out."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

from dlgutils import Batch, attacks, invert, models, share
from dlgutils.analytic import closed_form, features, masks, separation
from dlgutils.federated import checks, local_training
from tests.helpers.rounds import THREE, user_model

ONE = Batch(torch.full((1, 1, 8, 8), 0.25), torch.tensor([1]))


class Hidden(nn.Module):
    """Dropout as a function: no layer says that it is there."""

    def forward(self, x):
        """x with half of its entries dropped, in train mode."""
        return dropout(x, 0.5, self.training)


class EightRows(nn.Module):
    """It asserts its images' height, as torchvision's vision transformers do."""

    def forward(self, x):
        """x as it is."""
        assert x.shape[2] == 8, "8 rows"
        return x


def refused(message, model=None, batch=ONE, generator=None, masks=None):
    """share() raises a ValueError of this message."""
    model = model or models.lenet((1, 8, 8), 4)
    with pytest.raises(ValueError, match=message):
        share(model, batch, generator, masks=masks)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 1, 9, 8), (1, 1, 28, 28)])
def test_share_refuses_images_of_another_shape(shape):
    refused(
        r"got images of shape .*built for \(1, 8, 8\).*models\.lenet",
        batch=Batch(torch.zeros(shape), ONE.y),
    )


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 1, 9, 8)])
def test_share_refuses_images_that_a_users_model_does_not_take(shape):
    batch = Batch(torch.zeros(shape).double(), ONE.y)
    refused(
        rf"not take images of shape \({shape[1]}, {shape[2]}, 8\): .*; resize them or build",
        user_model(),
        batch,
    )


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((1, 8, 8), r"of one image, try x\[None\]$"),
        ((8, 8), r"of one grey image, try x\[None, None\]$"),
        ((1, 1, 1, 8, 8), r"try x\.view\(-1, channels, height, width\)$"),
    ],
)
def test_share_wants_four_axes(shape, hint):
    refused(
        rf"shape \(batch, channels, height, width\), got \(.*\); {hint}",
        batch=Batch(torch.zeros(shape), ONE.y),
    )


@pytest.mark.parametrize(
    ("factor", "came"), [(255, "63.8"), (-1, "-0.25"), (torch.nan, "nan"), (torch.inf, "inf")]
)
def test_share_refuses_images_outside_the_unit_interval(factor, came):
    refused(
        rf"values in \[0, 1\], got {came}.*divide bytes by 255", batch=Batch(ONE.x * factor, ONE.y)
    )


def test_share_refuses_a_single_bad_pixel():
    x = ONE.x.clone()
    x[0, 0, 3, 3] = torch.nan
    refused(r"values in \[0, 1\], got nan", batch=Batch(x, ONE.y))


@pytest.mark.parametrize("label", [4, -1, 123456])
def test_share_refuses_labels_that_the_model_does_not_know(label):
    refused(
        rf"labels lie in 0 … 3 for this model, got {label}$",
        batch=Batch(ONE.x, torch.tensor([label])),
    )


@pytest.mark.parametrize(
    "y", [torch.tensor([1.0]), torch.tensor([1, 1]), torch.tensor(1), torch.eye(4)[:2]], ids=str
)
def test_share_wants_one_class_id_per_image(y):
    refused(rf"class ids .*\(1,\).* got {y.dtype} of shape", batch=Batch(ONE.x, y))


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool])
def test_share_wants_labels_of_the_type_that_torch_wants(dtype):
    refused(rf"int64.* got {dtype}", batch=Batch(ONE.x, ONE.y.to(dtype)))


def test_share_wants_images_and_model_of_one_dtype():
    batch = Batch(ONE.x.double(), ONE.y)
    refused(
        r"images are torch\.float64 .*model is torch\.float32 .*"
        r"x\.to\(torch\.float32\).*model\.to\(x\)",
        batch=batch,
    )


def test_share_refuses_dropout_without_a_generator():
    refused(
        r"dropout\.mask: .*none came; pass torch\.Generator",
        models.lenet((1, 8, 8), 4, dropout=0.5),
    )


def test_share_refuses_masks_beside_a_generator(tiny, seeded):
    model, batch, _, masks = tiny(dropout=0.5)
    message = r"masks are either given or .*both came; pass share\(model, batch, generator\) or"
    refused(message, model, batch, seeded(0), masks)


@pytest.mark.parametrize(
    "shape", [(1, 48), (3, 47), (48,), (3, 48, 1)], ids=["one", "narrow", "no batch", "axes"]
)
def test_share_refuses_masks_of_a_wrong_shape(tiny, shape):
    model, batch, *_ = tiny(batch=3, dropout=0.5)
    came = ", ".join(map(str, shape))
    message = (
        rf"dropout\.mask has one mask per image, \(3, 48\) of .*, got \({came},?\) of .*; "
        r"draw them with models\.draw_masks\(model, batch, generator\)"
    )
    refused(message, model, batch, masks={"dropout.mask": torch.ones(shape).double()})


def test_share_refuses_masks_of_another_dtype(tiny):
    model, batch, _, masks = tiny(dropout=0.5)
    for kind in (torch.float32, torch.bool):
        other = {name: mask.to(kind) for name, mask in masks.items()}
        message = rf"\(1, 48\) of torch\.float64 on cpu, got \(1, 48\) of {kind} on cpu; draw"
        refused(message, model, batch, masks=other)


@pytest.mark.parametrize("names", [["droput.mask"], ["dropout.mask", "fc.bias"]], ids=str)
def test_share_lists_the_masks_there_are_for_an_unknown_one(tiny, names):
    """A weight is not a mask: it would replace the model's own."""
    model, batch, *_ = tiny(dropout=0.5)
    masks = dict.fromkeys(names, torch.ones(1, 48).double())
    message = rf"no mask is called {names[-1]}; this model has \['dropout\.mask'\]"
    refused(message, model, batch, masks=masks)


def test_share_refuses_batchnorm_in_train_mode():
    model = user_model(nn.BatchNorm1d(5)).train()
    batch = Batch(ONE.x.double(), ONE.y)
    refused(r"3 is a BatchNorm1d in train mode: .*model\.eval\(\)", model, batch)
    assert share(model.eval(), batch).gradient["3.weight"].isfinite().all()


@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_share_refuses_a_model_that_changes_with_every_call_and_leaves_it_as_it_was(norm):
    """Two rounds of the same batch differed, and the attacker's was a third one."""
    model = nn.Sequential(nn.Flatten(), norm(nn.Linear(64, 9)), nn.Sigmoid(), nn.Linear(9, 4))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    batch = Batch(torch.full((1, 1, 8, 8), 0.25), torch.tensor([1]))
    with pytest.raises(ValueError, match=r"changes 1\.\S+.* at each call.*use model\.eval\(\)"):
        share(model, batch)
    assert all(buffer.equal(before[name]) for name, buffer in model.named_buffers())
    first, second = share(model.eval(), batch), share(model, batch)
    assert all(first.gradient[name].equal(g) for name, g in second.gradient.items())


def test_share_refuses_an_active_dropout_of_torch():
    model = user_model(nn.Dropout(0.5)).train()
    batch = Batch(ONE.x.double(), ONE.y)
    refused(
        r"3 is an active Dropout, .*models\.expose_dropout\(model, x_shape\), or model\.eval\(\)",
        model,
        batch,
    )
    assert share(model.eval(), batch).gradient["4.weight"].any()


def test_share_refuses_randomness_that_no_layer_shows():
    model = user_model(Hidden()).train()
    batch = Batch(ONE.x.double(), ONE.y)
    state = torch.get_rng_state()
    refused(
        r"draws random numbers in its forward pass, .*models\.expose_dropout, or .*model\.eval\(\)",
        model,
        batch,
    )
    assert torch.get_rng_state().equal(state)
    assert share(model.eval(), batch).gradient["4.weight"].any()


@pytest.mark.parametrize("train", [True, False])
def test_share_refuses_batchnorm_without_statistics_in_either_mode(train):
    model = user_model(nn.BatchNorm1d(5, track_running_stats=False)).train(train)
    batch = Batch(ONE.x.double(), ONE.y)
    refused(
        r"3 is a BatchNorm1d without running statistics: .*even in eval mode; .*"
        r"track_running_stats=True",
        model,
        batch,
    )


def test_share_and_check_refuse_a_model_without_parameters(tiny):
    message = r"this Sequential has no parameters, hence no gradient to share; give it a layer"
    refused(message, nn.Sequential(nn.Flatten()))
    with pytest.raises(ValueError, match=message):
        checks.check(nn.Sequential(nn.Flatten()), tiny().shared)


def test_share_refuses_a_model_that_returns_maps():
    refused(
        r"a classifier returns \(batch, classes\), this model returned \(1, 4, 6, 6\)",
        nn.Sequential(nn.Conv2d(1, 4, 3)),
    )


def test_share_wants_labels_where_the_images_are():
    refused(
        r"class ids of shape \(1,\) on cpu, got torch\.int64 .* on meta",
        batch=Batch(ONE.x, ONE.y.to("meta")),
    )


@pytest.mark.parametrize(("rate", "there"), [(0.5, r"\['dropout\.mask'\]"), (None, "none")])
def test_loss_lists_the_masks_there_are_for_a_misspelt_one(rate, there):
    model = user_model() if rate is None else models.lenet((1, 8, 8), 4, dropout=rate).double()
    masks = {"droput.mask": torch.ones(1)}
    with pytest.raises(
        ValueError,
        match=rf"no mask is called droput\.mask; this model has {there} .*expose_dropout",
    ):
        local_training.loss(models.weights(model), model, *THREE, masks)


def with_gradient(shared, **changes):
    """The same round with some tensors of its gradient changed or added."""
    return replace(shared, gradient={**shared.gradient, **changes})


def test_check_refuses_the_gradient_of_another_model(tiny, seeded):
    model, _, shared, *_ = tiny()
    other = models.init_default(models.lenet((1, 8, 8), 5).double(), seeded(0))
    with pytest.raises(
        ValueError,
        match=r"weights of another model: fc\.bias is \(4,\) there and \(5,\) in this.*2 of 8",
    ):
        checks.check(other, shared)
    with pytest.raises(
        ValueError,
        match=r"gradient of another model: extra is \(1,\) there and missing in this model",
    ):
        checks.check(model, with_gradient(shared, extra=torch.ones(1)))


def test_check_takes_a_partial_update(tiny):
    model, _, shared, *_ = tiny()
    for names in (["fc.weight", "fc.bias"], ["body.0.weight"]):
        part = {name: shared.gradient[name] for name in names}
        checks.check(model, replace(shared, gradient=part))


def test_check_refuses_a_partial_update_that_is_not_of_this_model(tiny):
    model, _, shared, *_ = tiny()
    wrong = {"fc.weight": shared.gradient["fc.weight"].T}
    message = r"fc\.weight is \(48, 4\) there and \(4, 48\) in this model"
    with pytest.raises(ValueError, match=message):
        checks.check(model, replace(shared, gradient=wrong))
    with pytest.raises(ValueError, match=r"head\.weight is .* missing in this model"):
        checks.check(model, replace(shared, gradient={"head.weight": torch.ones(1)}))


def test_check_refuses_an_empty_update(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(ValueError, match=r"gradient is empty; a partial update has at least one"):
        checks.check(model, replace(shared, gradient={}))


def test_check_wants_all_weights_of_a_partial_update(tiny):
    model, _, shared, *_ = tiny()
    less = {name: w for name, w in shared.weights.items() if name != "fc.bias"}
    message = r"weights of another model: fc\.bias is missing there.*client trained"
    with pytest.raises(ValueError, match=message):
        checks.check(model, replace(shared, weights=less))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_check_refuses_a_gradient_that_is_not_finite(tiny, bad):
    model, _, shared, *_ = tiny()
    poisoned = shared.gradient["fc.bias"].clone()
    poisoned[2] = bad
    with pytest.raises(
        ValueError, match=r"fc\.bias has 1 NaN or inf among its 4 numbers; .*look at"
    ):
        checks.check(model, with_gradient(shared, **{"fc.bias": poisoned}))


def test_check_refuses_a_zero_gradient(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(ValueError, match=r"zero everywhere, .*rounded to zero.*multiplied by zero"):
        checks.check(
            model, replace(shared, gradient={name: 0 * g for name, g in shared.gradient.items()})
        )


def test_check_passes_a_usable_gradient(tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    checks.check(model, shared)
    checks.check(model, with_gradient(shared, **{"fc.weight": 0 * shared.gradient["fc.weight"]}))


def test_share_refuses_a_layer_under_two_names_and_leaves_it_whole():
    layer = nn.Linear(16, 16)
    model = nn.Sequential(nn.Flatten(), layer, nn.Sigmoid(), layer)
    with pytest.raises(
        ValueError, match=r"3 is a Linear .* under another name too.*call it twice in forward"
    ):
        share(model, Batch(torch.rand(1, 1, 4, 4), torch.tensor([3])))
    assert isinstance(layer.weight, nn.Parameter)


def test_share_refuses_a_batch_without_images():
    empty = Batch(ONE.x[:0], ONE.y[:0])
    refused(r"at least one image, got the shape \(0, 1, 8, 8\)", batch=empty)


NOT_ROUNDS = {
    "nothing": (lambda _: None, "a round is a Shared, .* got None; .*make Shared"),
    "a gradient alone": (
        lambda shared: [shared.gradient],
        "a round is a Shared, .* of type dict",
    ),
    "NumPy": (
        lambda shared: replace(shared, gradient={n: g.numpy() for n, g in shared.gradient.items()}),
        r"gradients of a round are tensors, but .* is a value of type ndarray; torch\.as_tensor",
    ),
    "a list": (
        lambda shared: replace(shared, weights=list(shared.weights.values())),
        "weights of a round are tensors by their names, got a value of type list",
    ),
    "no protocol": (
        lambda shared: replace(shared, protocol=None),
        r"a protocol is a Protocol, got None; Protocol\(\)",
    ),
}


@pytest.mark.parametrize("reading", ["invert", "masks", "features", "separate", "closed form"])
@pytest.mark.parametrize("case", NOT_ROUNDS)
def test_readings_refuse_what_is_not_a_round(case, reading):
    spoil, message = NOT_ROUNDS[case]
    model = models.lenet((1, 8, 8), 4)
    spoilt = spoil(share(model, ONE))
    if reading != "invert" and isinstance(spoilt, list):
        (spoilt,) = spoilt
    read = {
        "invert": lambda: invert(model, spoilt, attacks.dlg, seeds=[0], steps=1),
        "masks": lambda: masks.read(model, spoilt),
        "features": lambda: features.read(model, spoilt),
        "separate": lambda: separation.separate(model, spoilt),
        "closed form": lambda: closed_form.recover(model, spoilt),
    }
    with pytest.raises(ValueError, match=message):
        read[reading]()


def test_share_refuses_what_is_not_a_protocol():
    with pytest.raises(ValueError, match=r"a protocol is a Protocol, got a value of type int"):
        share(models.lenet((1, 8, 8), 4), ONE, protocol=5)


@pytest.mark.parametrize(
    "use",
    [
        lambda model, x: share(model, Batch(x, torch.tensor([1]))),
        lambda model, x: models.expose_dropout(model, x.shape[1:]),
    ],
    ids=["share", "expose_dropout"],
)
def test_a_network_that_asserts_its_size_is_refused_like_any_other(use):
    with pytest.raises(ValueError, match=r"not take images of shape \(1, 9, 8\): 8 rows"):
        use(nn.Sequential(EightRows(), user_model().float()), torch.zeros(1, 1, 9, 8))
