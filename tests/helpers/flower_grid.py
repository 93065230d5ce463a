"""Flower without its transport: a grid that calls the clients in this process."""

from collections.abc import Iterable

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity


class LocalGrid(Grid):
    """A `Grid` whose nodes 0, 1, … are calls of one ClientApp; those of `broken` answer an error.

    A node's number is its partition-id too.
    """

    run = None

    def __init__(self, client: ClientApp, nodes: int = 2, broken: Iterable[int] = ()):
        self.client = client
        self.nodes = nodes
        self.broken = set(broken)
        # As run_simulation does: no message can be made without them.
        TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1

    def get_node_ids(self):
        """The nodes."""
        return range(self.nodes)

    def send_and_receive(self, messages, *, timeout=None):
        """The clients' replies, each to its message."""
        return [self._reply(message) for message in messages]

    def _reply(self, message):
        node = message.metadata.dst_node_id
        if node in self.broken:
            return Message(Error(0, "broken"), reply_to=message)
        context = Context(
            run_id=0,
            node_id=node,
            node_config={"partition-id": node},
            state=RecordDict(),
            run_config={},
        )
        return self.client(message, context)

    def set_run(self, run):
        """Not needed here."""
        raise NotImplementedError("a LocalGrid has no run")

    def create_message(self, *_):
        """Not needed here."""
        raise NotImplementedError("create a flwr.app.Message")

    def push_messages(self, messages):
        """Not needed here."""
        raise NotImplementedError("use send_and_receive")

    def pull_messages(self, message_ids):
        """Not needed here."""
        raise NotImplementedError("use send_and_receive")
