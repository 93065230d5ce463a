"""A Flower run attacked by its own server: what it keeps is what its client computed."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from torch import nn
from torch.nn.functional import cross_entropy

from dlgutils import Batch, Protocol, attacks, invert, metrics, models, share
from dlgutils.federated.exchange import Exchange
from dlgutils.federated.flower import HonestButCurious
from reproduce import flower_run
from tests.helpers.flower_grid import LocalGrid
from tests.helpers.sessions import run_apart

X_SHAPE = (4, 1, 8, 8)
FEDSGD = Protocol(lr=0.5)
EPOCHS = Protocol(lr=0.5, steps=4, batch_size=2)


def network(norm=False):
    """A LeNet for 8×8 grey images, after a BatchNorm or not."""
    lenet = models.init_default(models.lenet((1, 8, 8), 4), torch.Generator().manual_seed(0))
    return nn.Sequential(nn.BatchNorm2d(1), lenet) if norm else lenet


def batch_of(client):
    """Four images of noise."""
    generator = torch.Generator().manual_seed(client)
    return Batch(torch.rand(X_SHAPE, generator=generator), torch.arange(4))


def client_app(protocol, model=network, as_record=lambda model: ArrayRecord(model.state_dict())):
    """Clients that train as in Flower's quick start, with PyTorch's own optimiser."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        x, y = batch_of(context.node_config["partition-id"])
        net = model()
        arrays = message.content["arrays"].to_torch_state_dict()
        net.load_state_dict(dict(zip(net.state_dict(), arrays.values(), strict=True)))
        optimizer = torch.optim.SGD(net.parameters(), lr=protocol.lr)
        for one_pass in protocol.passes(len(x)):
            for step in one_pass:
                optimizer.zero_grad()
                cross_entropy(net(x[step]), y[step]).backward()
                optimizer.step()
        metrics = MetricRecord({"num-examples": len(x)})
        content = {"arrays": as_record(net), "metrics": metrics}
        return Message(RecordDict(content), reply_to=message)

    return app


def start(curious, app, model, *, rounds=1, record=None, **grid):
    """The run of a server with this strategy, in this process."""
    record = record or ArrayRecord(model.state_dict())
    return curious.start(LocalGrid(app, **grid), record, num_rounds=rounds)


def curious_server(client=None):
    """FedAvg, curious about this node."""
    return HonestButCurious(FedAvg(fraction_evaluate=0.0), client)


def assert_close(left, right, atol=1e-5):
    """The same names, and the same numbers up to the rounding of weights in float32."""
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], rtol=0, atol=atol, msg=name)


# Known answers


@pytest.mark.parametrize("client", [0, 1])
@pytest.mark.parametrize("protocol", [FEDSGD, EPOCHS], ids=["FedSGD", "FedAvg"])
def test_shared_is_what_the_client_computed(client, protocol):
    model, curious = network(), curious_server(client)
    start(curious, client_app(protocol), model)
    exchange = curious.exchanges[1]
    assert (exchange.client, exchange.metrics) == (client, {"num-examples": 4})
    shared = exchange.shared(model, X_SHAPE, protocol)
    honest = share(model, batch_of(client), protocol=protocol)
    assert_close(shared.weights, honest.weights, atol=0)
    assert_close(shared.gradient, honest.gradient)
    assert (shared.x_shape, shared.protocol) == (X_SHAPE, protocol)


def test_exchanges_of_a_second_round_start_from_its_weights():
    model, curious = network(), curious_server(client=1)
    start(curious, client_app(FEDSGD), model, rounds=2)
    assert list(curious.exchanges) == [1, 2]
    exchange = curious.exchanges[2]
    model.load_state_dict(exchange.before)
    shared = exchange.shared(network(), X_SHAPE, FEDSGD)
    assert_close(shared.gradient, share(model, batch_of(1)).gradient)


def test_the_run_is_that_of_the_strategy_inside():
    plain, curious = FedAvg(fraction_evaluate=0.0), curious_server()
    results = []
    for strategy in (plain, curious):
        results.append(start(strategy, client_app(FEDSGD), network(), rounds=2))
    states = [result.arrays.to_torch_state_dict() for result in results]
    assert_close(*states, atol=1e-7)


def test_shared_takes_arrays_that_have_numbers_for_names():
    """As of clients that send a list: [tensor.numpy() for tensor in state_dict.values()]."""

    def as_list(model):
        return ArrayRecord([tensor.numpy() for tensor in model.state_dict().values()])

    model, curious = network(norm=True).eval(), curious_server(client=0)
    app = client_app(FEDSGD, lambda: network(norm=True).eval(), as_list)
    start(curious, app, model, record=as_list(model))
    shared = curious.exchanges[1].shared(model, X_SHAPE, FEDSGD)
    assert_close(shared.gradient, share(model, batch_of(0)).gradient)


def test_buffers_are_kept_apart():
    model, curious = network(norm=True), curious_server(client=0)
    start(curious, client_app(FEDSGD, lambda: network(norm=True)), model)
    exchange = curious.exchanges[1]
    assert exchange.shared(model, X_SHAPE).weights.keys() == dict(model.named_parameters()).keys()
    before, after = exchange.buffers(model)
    assert list(before) == ["0.running_mean", "0.running_var", "0.num_batches_tracked"]
    assert (before["0.num_batches_tracked"], after["0.num_batches_tracked"]) == (0, 1)
    # BatchNorm keeps a tenth of the mean of the client's images
    torch.testing.assert_close(after["0.running_mean"], batch_of(0).x.mean().view(1) / 10)


def test_shared_has_the_dtype_of_the_model_and_only_what_is_trained():
    def partly_frozen():
        model = network()
        model.body[0].requires_grad_(False)
        return model

    model, curious = partly_frozen(), curious_server(client=0)
    start(curious, client_app(FEDSGD, partly_frozen), model)
    shared = curious.exchanges[1].shared(model.double(), X_SHAPE, FEDSGD)
    dtypes = {
        tensor.dtype for side in (shared.weights, shared.gradient) for tensor in side.values()
    }
    assert dtypes == {torch.float64}
    assert set(shared.weights) - set(shared.gradient) == {"body.0.weight", "body.0.bias"}


# Clients that fail, or are someone else


def test_a_client_that_answers_with_an_error_is_passed_over():
    curious = curious_server()
    start(curious, client_app(FEDSGD), network(), broken=[0])
    assert curious.client == curious.exchanges[1].client == 1
    waiting = curious_server(client=0)
    start(waiting, client_app(FEDSGD), network(), broken=[0])
    assert waiting.exchanges == {}


@pytest.mark.parametrize(
    ("side", "change", "message"),
    [
        ("after", lambda a: {f"{n}.other": t for n, t in a.items()}, "of another model"),
        ("before", lambda a: dict(list(a.items())[1:]), r"the server did not send body\.0\.weight"),
        ("after", lambda a: network().state_dict(), "before and after are the same"),
    ],
)
def test_shared_refuses_what_it_cannot_use(side, change, message):
    curious = curious_server(client=0)
    start(curious, client_app(FEDSGD), network())
    exchange = curious.exchanges[1]
    exchange = replace(exchange, **{side: change(getattr(exchange, side))})
    with pytest.raises(ValueError, match=message):
        exchange.shared(network(), X_SHAPE)


def test_without_flower_the_error_names_the_extra():
    script = "import sys; sys.modules['flwr'] = None; import dlgutils.federated.flower"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert 'pip install "dlgutils[flower]"' in done.stderr


# A real simulation


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """The exchanges of a simulation, by protocol."""
    file = tmp_path_factory.mktemp("flower") / "exchanges.pt"
    run_apart("-m", "reproduce.flower_run", str(file))
    kept = torch.load(file)
    return {name: Exchange(**fields) for name, fields in kept.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", flower_run.PROTOCOLS)
def test_a_simulation_hands_out_the_clients_update(simulated, name):
    """Slow, about forty seconds for both: ray has to start."""
    model, protocol = flower_run.network(), flower_run.PROTOCOLS[name]
    shared = simulated[name].shared(model, (1, 3, 32, 32), protocol)
    distances = []
    for client in range(flower_run.CLIENTS):
        secret = share(model, flower_run.images_of(client), protocol=protocol)
        distance = max((secret.gradient[n] - g).abs().max() for n, g in shared.gradient.items())
        distances.append(float(distance))
    nearest, other = sorted(distances)
    assert nearest < 1e-5 < 1e-2 < other
    own = flower_run.images_of(distances.index(nearest))
    result = invert(model, shared, attacks.idlg, steps=100)
    assert result.y.item() == own.y.item()
    assert metrics.rmse(result.x, own.x) < 0.05
