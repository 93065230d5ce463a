"""What passes between a server and a client in the frameworks that people use: state dicts."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from dlgutils import models
from dlgutils.federated.client import from_weights
from dlgutils.federated.local_training import PLAIN, trained_names
from dlgutils.protocol import Protocol
from dlgutils.types import Shared, Tensors


@dataclass(frozen=True)
class Exchange:
    """What passed between the server and one client in one round of training."""

    client: int  # the framework's number of it
    before: Tensors  # what the server sent: parameters and buffers, by the names they had
    after: Tensors  # what the client sent back
    metrics: Mapping[str, object]  # and with it, such as "num-examples", how many images it has

    def shared(
        self, model: nn.Module, x_shape: tuple[int, ...], protocol: Protocol = PLAIN
    ) -> Shared:
        """The round as `invert` takes it: parameters of the model's names, dtype and device.

        model: the network of the run. Its weights do not matter, but its buffers do: after
        `model.load_state_dict(exchange.before)` it is the network of this round. x_shape: (batch,
        channels, height, width) of the client's images. protocol: how the clients train. Raises
        ValueError for arrays of another model, and for weights that did not change.
        """
        own = dict(model.named_parameters())
        before, after = _named(self.before, model), _named(self.after, model)
        missing = sorted(own.keys() - before.keys())
        if missing:
            raise ValueError(
                f"the server did not send {', '.join(missing)}, so it cannot recompute the "
                "client's gradient; send all parameters of the model"
            )
        weights = {name: before[name].to(p) for name, p in own.items()}
        trained = [name for name in trained_names(model) if name in after]
        updated = {name: after[name].to(own[name]) for name in trained}
        return from_weights(weights, updated, x_shape, protocol)

    def buffers(self, model: nn.Module) -> tuple[Tensors, Tensors]:
        """What is no parameter, such as BatchNorm's statistics: before the round and after it."""
        before, after = _named(self.before, model), _named(self.after, model)
        names = [name for name, _ in model.named_buffers() if name in before and name in after]
        return {name: before[name] for name in names}, {name: after[name] for name in names}


def _named(arrays: Tensors, model: nn.Module) -> Tensors:
    """Arrays by the model's names: a list of arrays comes numbered, in the model's order."""
    own = list(model.state_dict())
    if arrays.keys() == {str(k) for k in range(len(own))}:
        return {name: arrays[str(k)] for k, name in enumerate(own)}
    arrays = models.renamed(arrays, own)
    unknown = sorted(arrays.keys() - set(own))
    if unknown:
        raise ValueError(
            f"arrays of another model: {', '.join(unknown)} are not among {', '.join(own)}; "
            "clients send model.state_dict()"
        )
    return arrays
