"""The benchmark beside the peers: how a round is handed to them, and what it says without them."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from benchmarks import breaching_adapter, peers, reference, speed
from dlgutils import attacks, invert, metrics
from dlgutils.testing import tiny_round
from reproduce import recovery

ONE = tiny_round(dropout=0.0)
needs_breaching = pytest.mark.skipif(
    not breaching_adapter.is_installed(), reason="breaching is not installed"
)


@pytest.fixture
def absent(monkeypatch):
    """As if breaching were not installed."""
    monkeypatch.setattr(breaching_adapter, "find_spec", lambda name: None)


def test_payloads_list_weights_and_gradients_in_the_order_of_the_network():
    (payload,), (data,) = breaching_adapter.payloads(ONE.shared, ONE.model)
    parameters = dict(ONE.model.named_parameters())
    for listed, named in (
        (payload["parameters"], ONE.shared.weights),
        (data["gradients"], ONE.shared.gradient),
    ):
        assert len(listed) == len(parameters)
        for tensor, name in zip(listed, parameters, strict=True):
            assert tensor is named[name]


def test_payloads_tell_sizes_and_no_label():
    (payload,), (data,) = breaching_adapter.payloads(ONE.shared, ONE.model)
    assert payload["metadata"].shape == (1, 8, 8)
    assert payload["metadata"].classes == ONE.shared.classes
    assert data["metadata"]["num_data_points"] == 1
    assert data["metadata"]["labels"] is None


def test_normalised_network_has_the_gradient_that_was_shared():
    model = breaching_adapter.Normalised(ONE.model)
    x = (ONE.secret.x - breaching_adapter.MEAN) / breaching_adapter.STD
    loss = cross_entropy(model(x), ONE.secret.y)
    found = torch.autograd.grad(loss, model.parameters())
    _, (data,) = breaching_adapter.payloads(ONE.shared, ONE.model)
    for ours, theirs in zip(found, data["gradients"], strict=True):
        assert torch.allclose(ours, theirs)


def test_state_says_how_to_install_what_is_missing(absent):
    assert "pip install breaching" in breaching_adapter.state()


def test_reconstruct_says_how_to_install_what_is_missing(absent):
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ModuleNotFoundError, match="pip install breaching"):
        breaching_adapter.reconstruct(ONE.model, ONE.shared, generator)


def test_main_goes_on_without_breaching(absent, monkeypatch, capsys):
    monkeypatch.setattr(peers, "EVALUATIONS", 2)
    monkeypatch.setattr(reference, "ITERATIONS", 1)
    peers.main("1", "1")
    printed = capsys.readouterr().out
    assert breaching_adapter.MISSING in printed
    assert printed.count("| iDLG, public loop |") == 4
    assert printed.count("| iDLG, ours |") == 2
    assert "breaching |" not in printed
    assert "Error" not in printed


def test_joint_iterations_are_those_of_the_reference_recipe():
    """The same image after one iteration of up to 20 evaluations from the same start."""
    (one,) = recovery.draw_rounds(speed.WIDE, 1)
    loop = reference.joint_iterations(one.model, one.shared, torch.Generator().manual_seed(5))
    x, evaluations = next(loop)
    ours = invert(one.model, one.shared, attacks.dlg_reference, seeds=[5], steps=evaluations + 1)
    assert metrics.rmse(ours.frames[-1, 0], x).item() < 0.05


def test_loop_stops_once_its_image_is_no_number():
    blank = torch.full((1, 1, 8, 8), torch.nan)
    images = [(torch.zeros(1, 1, 8, 8), 1), (blank, 2), (blank, 3)]
    found = peers.loop(lambda *_: iter(images), 100, ONE, 0)
    assert found.evaluations == 2


def test_loop_stops_at_its_evaluations():
    images = [(torch.zeros(1, 1, 8, 8), k) for k in range(1, 9)]
    assert peers.loop(lambda *_: iter(images), 3, ONE, 0).evaluations == 3


@needs_breaching
def test_inverting_gradients_of_breaching_follows_the_gradient():
    (one,) = recovery.draw_rounds(speed.DEFAULT, 1)

    def reconstruct(steps, seed=0):
        generator = torch.Generator().manual_seed(seed)
        settings = [f"optim.max_iterations={steps}"]
        return breaching_adapter.reconstruct(one.model, one.shared, generator, overrides=settings)

    early, late = reconstruct(2), reconstruct(100)
    assert late.shape == one.secret.x.shape
    assert late.min() >= 0
    assert late.max() <= 1
    assert metrics.mse(late, one.secret.x) < metrics.mse(early, one.secret.x)
    assert reconstruct(2).equal(early)
