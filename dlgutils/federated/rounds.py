"""One honest round from a generator: what experiments repeat for many images, weights and masks."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Generator, nn

from dlgutils import models
from dlgutils.federated.client import share
from dlgutils.federated.local_training import PLAIN
from dlgutils.protocol import Protocol
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
) -> Round:
    """One honest round: weights, one mask per image and dropout layer, one shared gradient.

    Args:
        model: the network; with fresh weights, the round uses a copy.
        secret: the client's images and labels, of the model's dtype and device.
        generator: on the CPU; draws the weights first, then the masks.
        init: how the weights are drawn, such as `models.init_uniform`; None: the model's own are
            kept.
        protocol: how the client trains, and what it sends.

    Raises ValueError as `share` does.
    """
    model = model if init is None else init(model, generator)
    masks = models.draw_masks(model, protocol.visits(len(secret.x)), generator)
    orders = generator if protocol.shuffle else None
    shared = share(model, secret, orders, masks=masks, protocol=protocol)
    return Round(model, secret, shared, masks)
