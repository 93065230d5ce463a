"""The honest-but-curious server of a Flower run: it serves, and it keeps what one client sent.

`dlgutils` does not import this module, since it needs Flower: `pip install "dlgutils[flower]"`,
then `from dlgutils.federated import flower`. Flower reports its use over the network, unless the
environment says `FLWR_TELEMETRY_ENABLED=0` before its first import.
"""

from collections import ChainMap
from collections.abc import Iterable

from dlgutils.federated.exchange import Exchange
from dlgutils.types import Tensors

try:
    from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
    from flwr.serverapp import Grid
    from flwr.serverapp.strategy import Strategy
except ImportError as error:
    raise ImportError(
        f"dlgutils.federated.flower needs Flower, which cannot be imported ({error}); "
        'install the extra: pip install "dlgutils[flower]"'
    ) from error


class HonestButCurious(Strategy):
    """A strategy that does what another one does, and keeps what passes to and from one client.

    strategy: the other one, such as Flower's FedAvg(). client: Flower's id of the node; None: the
    first that answers. `exchanges` has the rounds in which it took part, by number, from 1 on.
    """

    def __init__(self, strategy: Strategy, client: int | None = None) -> None:
        self.strategy = strategy
        self.client = client
        self.exchanges: dict[int, Exchange] = {}
        self._sent: dict[int, Message] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The other's messages; the arguments are those of Flower's strategies."""
        messages = list(self.strategy.configure_train(server_round, arrays, config, grid))
        self._sent = {message.metadata.dst_node_id: message for message in messages}
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """What the other makes of the replies, of which that of the client is kept."""
        replies = list(replies)
        answers = {reply.metadata.src_node_id: reply for reply in replies if reply.has_content()}
        if self.client is None:
            self.client = next(iter(answers), None)
        if self.client in answers:
            sent, answer = self._sent[self.client], answers[self.client]
            metrics = dict(ChainMap(*answer.content.metric_records.values()))
            kept = Exchange(self.client, _tensors(sent), _tensors(answer), metrics)
            self.exchanges[server_round] = kept
        return self.strategy.aggregate_train(server_round, replies)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The other's messages; the arguments are those of Flower's strategies."""
        return self.strategy.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """What the other makes of the replies."""
        return self.strategy.aggregate_evaluate(server_round, replies)

    def summary(self) -> None:
        """Logs what the other does."""
        self.strategy.summary()


def _tensors(message: Message) -> Tensors:
    records = message.content.array_records.values()
    return dict(ChainMap(*[record.to_torch_state_dict() for record in records]))
