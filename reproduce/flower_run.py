"""A Flower run of two clients with photographs of fruit, attacked by its own server.

Flower's simulation engine runs both clients. The server first asks for one step of SGD, which is
FedSGD, then, from the same weights, for five, which is FedAvg. It is `HonestButCurious`, and
attacks what it kept. The clients train as in Flower's quick start, with torch.optim, not with this
library. `python -m reproduce.flower_run` prints what came back, in about a minute; with the name of
a file, it puts the two exchanges there instead, as the tests need them.
"""

import sys
from collections.abc import Callable, Mapping

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import Generator, nn
from torch.nn.functional import cross_entropy

from dlgutils import Batch, Protocol, attacks, data, invert, metrics, models
from dlgutils.federated.exchange import Exchange
from dlgutils.federated.flower import HonestButCurious

CLIENTS = 2
PROTOCOLS = {"FedSGD": Protocol(lr=0.1), "FedAvg": Protocol(lr=0.1, steps=5)}


def network() -> nn.Module:
    """The LeNet that all train: both sides know its first weights."""
    return models.init_default(models.lenet(classes=14), Generator().manual_seed(0))


def images_of(client: int) -> Batch:
    """The client's secret: one photograph."""
    x, y = data.fruits()
    own = [100 * client + 7]
    return Batch(x[own], y[own])


def train(message: Message, context: Context) -> Message:
    """A client's round: steps of SGD on all its images, its new weights as the answer."""
    torch.set_num_threads(1)
    batch = images_of(context.node_config["partition-id"])
    model = network()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    config = message.content["config"]
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    for _ in range(config["steps"]):
        optimizer.zero_grad()
        cross_entropy(model(batch.x), batch.y).backward()
        optimizer.step()
    answer = {
        "arrays": ArrayRecord(model.state_dict()),
        "metrics": MetricRecord({"num-examples": len(batch.x)}),
    }
    return Message(RecordDict(answer), reply_to=message)


def run() -> dict[str, Exchange]:
    """One simulation: what the server kept of one client, by protocol."""
    configs = {name: {"lr": p.lr, "steps": p.steps} for name, p in PROTOCOLS.items()}
    return simulate(train, network(), configs)


def simulate(
    train: Callable[[Message, Context], Message],
    model: nn.Module,
    configs: Mapping[str, Mapping[str, float | str]],
) -> dict[str, Exchange]:
    """What the server kept of one client in each of these rounds, all from the same weights.

    Args:
        train: a client's round.
        model: whose weights the server sends.
        configs: what it tells the clients, by the name of a round.
    """
    exchanges = {}
    client, server = ClientApp(), ServerApp()
    client.train()(train)

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        for name, settings in configs.items():
            curious = HonestButCurious(FedAvg(fraction_evaluate=0.0))
            arrays, config = ArrayRecord(model.state_dict()), ConfigRecord(dict(settings))
            curious.start(grid, arrays, num_rounds=1, timeout=120, train_config=config)
            exchanges[name] = curious.exchanges[1]

    one_cpu = {"client_resources": {"num_cpus": 1.0}, "init_args": {"num_cpus": 1}}
    run_simulation(server, client, num_supernodes=CLIENTS, backend_config=one_cpu)
    return exchanges


def main(file: str | None = None) -> None:
    """Runs, and attacks or keeps the exchanges in `file`."""
    exchanges = run()
    if file:
        torch.save({name: vars(exchange) for name, exchange in exchanges.items()}, file)
        return
    for name, exchange in exchanges.items():
        x_shape = (exchange.metrics["num-examples"], 3, 32, 32)
        shared = exchange.shared(network(), x_shape, PROTOCOLS[name])
        result = invert(network(), shared, attacks.idlg)
        found = []
        for k in range(CLIENTS):
            found.append(f"{metrics.rmse(result.x, images_of(k).x).item():.4f}")
        print(f"{name}: label {result.y.item()}, RMSE to the clients' images {', '.join(found)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
