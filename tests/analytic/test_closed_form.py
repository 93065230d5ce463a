"""The closed form undoes `share` up to rounding, marks guesses, and refuses what it cannot read."""

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dlgutils import Batch, data, models, share
from dlgutils.analytic import closed_form
from dlgutils.federated import honest
from tests.helpers.rounds import with_noise

ACTIVATIONS = [nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.ELU, nn.Softplus]


def round_of(model, x_shape, seed=0, *, init=models.init_default, dtype=torch.float64, x=None):
    """One round of a freshly initialised model on one random image, or on x."""
    gen = torch.Generator().manual_seed(seed)
    model = init(model.to(dtype), gen)
    x = torch.rand(1, *x_shape, generator=gen, dtype=dtype) if x is None else x.to(dtype)
    secret = Batch(x, torch.randint(4, (1,), generator=gen))
    return honest(model, secret, gen, init=None)


def mse(solution, batch):
    """Mean squared error of the recovered image."""
    return float((solution.x - batch.x).square().mean())


def chain(*modules):
    """A model of these modules and a classifier of four classes for 4×8×8 features, each named."""
    steps = {f"step{k}": module for k, module in enumerate(modules)}
    return nn.Sequential(OrderedDict(steps, fc=nn.Linear(256, 4)))


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**31),
    dropout=st.sampled_from([0.0, 0.5, 0.9]),
    activation=st.sampled_from(ACTIVATIONS),
    init=st.sampled_from([models.init_default, models.init_uniform]),
    x_shape=st.sampled_from([(1, 8, 8), (2, 7, 9)]),
)
def test_recover_undoes_share(seed, dropout, activation, init, x_shape):
    model = models.lenet(x_shape, 4, dropout=dropout, activation=activation)
    model, batch, shared, masks = round_of(model, x_shape, seed, init=init)
    found = closed_form.recover(model, shared)
    assert found.determined
    assert found.y.equal(batch.y)
    assert all(found.masks[name].equal(mask) for name, mask in masks.items())
    assert mse(found, batch) < 1e-12


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**31),
    dropout=st.sampled_from([0.0, 0.5]),
    activation=st.sampled_from([*ACTIVATIONS, nn.ReLU]),
)
def test_recover_undoes_share_in_fully_connected_networks(seed, dropout, activation):
    model = models.mlp((1, 4, 4), (24, 12), 4, dropout=dropout, activation=activation)
    model, batch, shared, _ = round_of(model, (1, 4, 4), seed)
    found = closed_form.recover(model, shared)
    assert found.determined
    assert mse(found, batch) < 1e-20


def test_linear_input_is_the_image_at_the_first_layer():
    model = models.mlp((1, 4, 4), (8,), 4, dropout=0.5)
    _, batch, shared, _ = round_of(model, (1, 4, 4))
    weight, bias = shared.gradient["body.0.weight"], shared.gradient["body.0.bias"]
    found = closed_form.linear_input(weight, bias)
    torch.testing.assert_close(found, batch.x.flatten())


@pytest.mark.parametrize("init", [models.init_default, models.init_uniform])
def test_recover_finds_a_photograph_in_single_precision(init):
    x = data.photos("cat").x
    model = models.lenet(dropout=0.5)
    model, batch, shared, _ = round_of(model, (3, 32, 32), init=init, dtype=torch.float32, x=x)
    found = closed_form.recover(model, shared)
    assert found.x.dtype == torch.float32
    assert found.determined
    assert mse(found, batch) < 1e-8
    assert all(layer.residual < 10 for layer in found.layers)


def small_photo(name):
    """A photograph of 16×16 pixels."""
    return nn.functional.avg_pool2d(data.photos(name).x, 2)


@pytest.mark.parametrize("seed", [0, 1])
def test_recover_weighs_saturated_units(seed):
    """As after long training: pre-activations of −50 to 58, of which single precision keeps all.

    The smallest units are 1e-22, as exact as any; the largest are one.
    """
    model = models.lenet((3, 16, 16), 4)
    model = models.init_default(model, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model.body[2].weight.mul_(64)
        model.body[4].weight.mul_(64)
    batch = Batch(small_photo("cat"), torch.tensor([1]))
    found = closed_form.recover(model, share(model, batch))
    assert mse(found, batch) < 1e-6
    assert all(layer.residual < 3 for layer in found.layers)


def test_residual_is_that_of_the_recomputed_gradient():
    model = models.lenet((1, 8, 8), 4, dropout=0.5)
    model, _, shared, _ = round_of(model, (1, 8, 8), dtype=torch.float32)
    exact = closed_form.recover(model, shared)
    assert exact.residual < 1e-4
    noisy = closed_form.recover(model, with_noise(shared, 1e-3), noise=1e-3)
    assert noisy.residual > 100 * exact.residual
    assert str(exact).splitlines()[-1].startswith("the gradient recomputed from x is off by")


def test_recover_takes_models_of_the_user_and_layers_without_bias():
    body = (
        nn.Conv2d(1, 8, 3, 2, 1, bias=False),
        nn.Tanh(),
        nn.Conv2d(8, 4, 5, padding=4, dilation=2),
        nn.Sigmoid(),
    )
    model = chain(*body, nn.Flatten(), nn.Dropout(0.5), nn.Linear(256, 256), nn.Sigmoid())
    model = models.expose_dropout(model, (1, 16, 16))
    model, batch, shared, _ = round_of(model, (1, 16, 16))
    found = closed_form.recover(model, shared)
    assert [layer.name for layer in found.layers] == ["fc", "step6", "step2", "step0"]
    assert mse(found, batch) < 1e-12


def test_recover_takes_a_single_linear_layer():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4, bias=False))
    model, batch, shared, _ = round_of(model, (1, 4, 4))
    assert mse(closed_form.recover(model, shared), batch) < 1e-12


def test_recover_marks_an_underdetermined_layer():
    model = chain(nn.Conv2d(3, 4, 5, 2, 2), nn.Sigmoid(), nn.Flatten())
    model, batch, shared, _ = round_of(model, (3, 16, 16), x=small_photo("cat"))
    found = closed_form.recover(model, shared)
    top, image = found.layers
    assert (image.equations, image.unknowns, image.condition) == (4 * 64 + 4 * 75, 768, torch.inf)
    assert 500 < image.rank <= image.equations
    assert (found.determined, top.determined, image.determined) == (False, True, False)
    marked = [line.endswith("underdetermined") for line in str(found).splitlines()]
    assert marked == [False, False, True, False]
    grey = (batch.x - 0.5).square().mean()
    assert mse(found, batch) < grey / 5  # the rest is guessed as in photographs


def test_recover_doubts_the_layers_below_an_underdetermined_one():
    model = chain(
        nn.Conv2d(1, 8, 3, 2, 1), nn.Tanh(), nn.Conv2d(8, 4, 1), nn.Sigmoid(), nn.Flatten()
    )
    model, _, shared, _ = round_of(model, (1, 16, 16))
    _, hidden, image = closed_form.recover(model, shared).layers
    assert (hidden.equations, hidden.unknowns) == (4 * 64 + 4 * 8, 512)
    assert not hidden.determined
    assert image.rank < image.unknowns < image.equations
    assert image.residual < 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", [nn.Identity, nn.Sigmoid, nn.Tanh, nn.ELU, nn.Softplus])
def test_recover_inverts_average_pooling(activation, dtype):
    body = nn.Conv2d(1, 8, 3, padding=1), activation(), nn.AvgPool2d(2), nn.Flatten()
    model = nn.Sequential(*body, nn.Linear(128, 4))
    model, batch, shared, _ = round_of(model, (1, 8, 8), dtype=dtype)
    found = closed_form.recover(model, shared)
    assert found.determined
    assert mse(found, batch) < (1e-8 if dtype == torch.float32 else 1e-24)
    assert found.residual < 100 * torch.finfo(dtype).eps


@pytest.mark.slow  # two pooled convolutions of several Newton steps each: ten seconds
def test_recover_inverts_average_pooling_between_convolutions():
    """Like a LeNet-5; the windows of the second pool overlap, and it comes before its activation.

    Three colours, no bias in the first convolution.
    """
    first = nn.Conv2d(3, 12, 5, padding=2, bias=False), nn.Sigmoid(), nn.AvgPool2d(2)
    second = nn.Conv2d(12, 12, 5, padding=2), nn.AvgPool2d(3, 2, padding=1), nn.Tanh()
    model = nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(192, 4))
    model, batch, shared, _ = round_of(model, (3, 16, 16), x=small_photo("cat"))
    found = closed_form.recover(model, shared)
    assert [layer.name for layer in found.layers] == ["7", "3", "0"]
    assert found.determined
    assert mse(found, batch) < 1e-12


def test_residual_marks_a_wrong_answer():
    """Here 292 equations, not linear in 256 unknowns, have a minimum beside the right one."""
    model = chain(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten())
    model, batch, shared, _ = round_of(model, (1, 16, 16), dtype=torch.float32)
    found = closed_form.recover(model, shared)
    assert mse(found, batch) > 1e-3
    assert found.residual > 1e-3
    assert found.layers[-1].residual > 1000


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_recover_inverts_relu(dropout):
    """At this size the active units are enough; the seeds are chosen.

    Another seed leaves 10 % of the image to the prior.
    """
    model = models.lenet((3, 16, 16), 4, dropout=dropout, activation=nn.ReLU)
    model, batch, shared, _ = round_of(model, (3, 16, 16), x=small_photo("cat"))
    found = closed_form.recover(model, shared)
    assert found.determined
    assert mse(found, batch) < 1e-20


@pytest.mark.parametrize("seed", [5, 6])
def test_recover_replaces_missing_equations_by_relu_never_being_negative(seed):
    model = chain(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(), nn.Flatten()
    )
    model, batch, shared, _ = round_of(
        model, (1, 16, 16), seed, x=small_photo("cat").mean(1, keepdim=True)
    )
    found = closed_form.recover(model, shared)
    assert [layer.determined for layer in found.layers] == [True, False, True]
    assert mse(found, batch) < 1e-20


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_recover_is_more_accurate_if_noise_is_announced(dropout):
    model = models.lenet((3, 16, 16), 4, dropout=dropout)
    model, batch, shared, _ = round_of(model, (3, 16, 16), x=small_photo("cat"))
    shared = with_noise(shared, 3e-4)
    announced = closed_form.recover(model, shared, noise=3e-4)
    understated = closed_form.recover(model, shared, noise=1e-9)
    assert announced.y.equal(batch.y)
    assert mse(announced, batch) < 0.02 < 10 * mse(announced, batch) < mse(understated, batch)
    assert all(0.2 < layer.residual < 3 for layer in announced.layers)
    assert max(layer.residual for layer in understated.layers) > 100


def test_recover_guesses_a_black_image_without_biases():
    model = chain(nn.Conv2d(1, 4, 3, 2, 1, bias=False), nn.Tanh(), nn.Flatten())
    model, _, shared, _ = round_of(model, (1, 16, 16), x=torch.zeros(1, 1, 16, 16))
    found = closed_form.recover(model, shared)
    assert not found.determined
    assert found.x.isfinite().all()


def test_recover_reads_masks_under_noise(tiny):
    """40 rounds of 48 features: about a thousand dropped columns, each of noise alone."""
    for seed in range(40):
        model, _, shared, masks = tiny(seed, dropout=0.5)
        found = closed_form.recover(model, with_noise(shared, 1e-3, seed=seed), noise=1e-3).masks
        assert found["dropout.mask"].equal(masks["dropout.mask"])


def test_recover_refuses_noise_that_was_not_announced(tiny):
    model, _, shared, _ = tiny()
    with pytest.raises(ValueError, match="noise"):
        closed_form.recover(model, with_noise(shared, 1e-4))
    with pytest.raises(ValueError, match=r"noise is a standard deviation, got -1"):
        closed_form.recover(model, shared, noise=-1.0)


def test_recover_refuses_a_batch(tiny):
    model, _, shared, _ = tiny(batch=3)
    with pytest.raises(ValueError, match=r"got a batch of 3"):
        closed_form.recover(model, shared)


def test_recover_refuses_a_part_of_a_gradient(tiny):
    model, _, shared, _ = tiny()
    *_, weight, bias = shared.gradient
    head = {name: shared.gradient[name] for name in (weight, bias)}
    with pytest.raises(ValueError, match=r"body\.0\.bias"):
        closed_form.recover(model, replace(shared, gradient=head))


def test_recover_refuses_a_gradient_of_another_model(tiny):
    with pytest.raises(ValueError, match=r"the weights of another model"):
        closed_form.recover(models.lenet((1, 8, 8), 5).double(), tiny().shared)


class Functional(nn.Module):
    """A chain with something between its modules."""

    def __init__(self, between):
        super().__init__()
        self.conv, self.fc, self.between = nn.Conv2d(1, 4, 3, 2, 1), nn.Linear(256, 4), between

    def forward(self, x):
        """Logits."""
        return self.fc(self.between(self.conv(x)).flatten(1))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            chain(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Flatten()),
            r"step1 is MaxPool2d.*cannot invert.*attacks\.features",
        ),
        (
            chain(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
            r"step2 averages the output of something else.*Sigmoid, Tanh, ELU, Softplus",
        ),
        (chain(nn.Conv2d(1, 4, 3, 2, 1), nn.GELU(), nn.Flatten()), r"step1 is GELU"),
        (
            chain(
                nn.Conv2d(1, 1, 3, padding=1),
                nn.Conv2d(1, 4, 3, 2, 1, padding_mode="reflect"),
                nn.Flatten(),
            ),
            r"step1 is Conv",
        ),
        (Functional(torch.relu), r"fc does not get what left the module before it.*attacks\.idlg"),
        (Functional(lambda z: z.mT), r"fc does not get what left the module before it"),
        (Functional(lambda z: z + 1), r"fc does not get what left the module before it"),
    ],
    ids=[
        "max-pooling",
        "average of ReLUs",
        "not invertible",
        "padding",
        "function",
        "transposed",
        "shifted",
    ],
)
def test_recover_refuses_a_model_that_is_not_a_chain(model, message):
    model, _, shared, _ = round_of(model, (1, 16, 16))
    with pytest.raises(ValueError, match=message):
        closed_form.recover(model, shared)


def test_recover_refuses_a_module_that_is_used_twice():
    twice = nn.Sequential(nn.Linear(16, 16), nn.Sigmoid())

    class Loop(nn.Module):
        """The same two modules, twice."""

        def __init__(self):
            super().__init__()
            self.twice, self.fc = twice, nn.Linear(16, 4)

        def forward(self, x):
            """Logits."""
            return self.fc(self.twice(self.twice(x.flatten(1))))

    model, _, shared, _ = round_of(Loop(), (1, 4, 4))
    with pytest.raises(ValueError, match=r"not a chain of modules, each used once"):
        closed_form.recover(model, shared)


def test_recover_refuses_dropout_whose_mask_cannot_be_read():
    model = chain(
        nn.Conv2d(1, 4, 3, 2, 1), models.Dropout(0.5, (4, 8, 8)), nn.Conv2d(4, 4, 1), nn.Flatten()
    )
    model, _, shared, _ = round_of(model, (1, 16, 16))
    with pytest.raises(ValueError, match=r"no linear layer gets the output of step1\.mask"):
        closed_form.recover(model, shared)


def test_recover_refuses_a_layer_that_is_off():
    model = models.mlp((1, 4, 4), (8,), 4, activation=nn.ReLU).double()
    with torch.no_grad():
        model.body[0].bias.fill_(-100)
    batch = Batch(
        torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double(),
        torch.tensor([1]),
    )
    with pytest.raises(ValueError, match=r"zero everywhere"):
        closed_form.recover(model, share(model, batch))
