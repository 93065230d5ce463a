"""One honest round from a generator: what experiments repeat for many images, weights and masks."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from torch import Generator, nn

from dlgutils import models
from dlgutils.federated.client import share
from dlgutils.federated.defenses.checks import require_row
from dlgutils.federated.local_training import PLAIN
from dlgutils.protocol import Defense, Protocol
from dlgutils.types import Batch, Shared, Tensors


class Round(NamedTuple):
    """A client's model and secrets, and what the server sees of them."""

    model: nn.Module
    secret: Batch
    shared: Shared
    masks: Tensors  # of the client's dropout layers with p > 0: a secret, too


def honest(
    model: nn.Module,
    secret: Batch,
    generator: Generator,
    *,
    init: Callable[[nn.Module, Generator], nn.Module] | None = models.init_default,
    protocol: Protocol = PLAIN,
    defenses: Iterable[Defense] = (),
) -> Round:
    """One honest round: weights, one mask per image and dropout layer, one shared gradient.

    Args:
        model: the network; with fresh weights, the round uses a copy.
        secret: the client's images and labels, of the model's dtype and device.
        generator: on the CPU; draws the weights first, then the masks, then what defences draw.
        init: how the weights are drawn, such as `models.init_uniform`; None: the model's own are
            kept.
        protocol: how the client trains, and what it sends.
        defenses: what the update passes before it leaves, after those of the protocol.

    Raises ValueError as `share` does.
    """
    model = model if init is None else init(model, generator)
    masks = models.draw_masks(model, protocol.visits(len(secret.x)), generator)
    defenses = (*protocol.defenses, *require_row(defenses))
    drawn = generator if protocol.shuffle or defenses else None
    protocol = replace(protocol, defenses=())
    shared = share(model, secret, drawn, masks=masks, protocol=protocol, defenses=defenses)
    return Round(model, secret, shared, masks)
