"""The clients of `quick_start`, run by Flower itself, and attacked by their own server.

Flower's simulation engine runs two clients, which train with torch.optim as in the quick start: SGD
with momentum, batch after batch. For each kind of client, the server keeps the weights of one of
them. `python -m reproduce.quick_start_flower` prints how far their update is from that of
`dlgutils.share`, and what the attackers of `quick_start` find in it, in about two minutes.
"""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from torch.nn.functional import cross_entropy

import dlgutils as du
from dlgutils.federated.exchange import Exchange
from reproduce import quick_start
from reproduce.flower_run import CLIENTS, simulate


def secret_of(client: str, partition: int) -> du.Batch:
    """The images of one client: those of an even round, so that all have the same network."""
    return quick_start.draw(client, 2 * partition)


def train(message: Message, context: Context) -> Message:
    """A client's round: local epochs of SGD with momentum, its new weights as the answer."""
    torch.set_num_threads(1)
    client = message.content["config"]["client"]
    secret = secret_of(client, context.node_config["partition-id"])
    protocol = quick_start.protocol_of(client)
    model = quick_start.network(0)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(model.parameters(), protocol.lr, protocol.momentum)
    for one_pass in protocol.passes(len(secret.x)):
        for places in one_pass:
            optimizer.zero_grad()
            cross_entropy(model(secret.x[places]), secret.y[places]).backward()
            optimizer.step()
    answer = {
        "arrays": ArrayRecord(model.state_dict()),
        "metrics": MetricRecord({"num-examples": len(secret.x)}),
    }
    return Message(RecordDict(answer), reply_to=message)


def compare(client: str, exchange: Exchange) -> tuple[float, du.Shared, du.Batch]:
    """How far the update is from that of `share`, relative; the round; and whose images it had."""
    model, protocol = quick_start.network(0), quick_start.protocol_of(client)
    shared = exchange.shared(model, (exchange.metrics["num-examples"], 3, 32, 32), protocol)
    found = []
    for partition in range(CLIENTS):
        secret = secret_of(client, partition)
        own = du.share(model, secret, protocol=protocol).gradient
        off = max((own[name] - g).norm() / own[name].norm() for name, g in shared.gradient.items())
        found.append((float(off), shared, secret))
    return min(found, key=lambda one: one[0])


def main() -> None:
    """Run, and attack what the server kept."""
    configs = {client: {"client": client} for client in quick_start.CLIENTS}
    for client, exchange in simulate(train, quick_start.network(0), configs).items():
        off, shared, secret = compare(client, exchange)
        print(f"{client}: {off:.0e} from the update of share")
        for attacker in ("labels", "simulates"):
            (row,) = quick_start.score_all([shared], [secret], attacker)
            print(f"  {attacker}: labels {row['labels_right']} of {row['images']},", end=" ")
            print(f"recovered {row['recovered']}, median MSE {row['mse']:.2g}")


if __name__ == "__main__":
    main()
