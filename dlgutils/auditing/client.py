"""The client of an audit, and what its server sees."""

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Generator, nn

from dlgutils import federated
from dlgutils.federated import Round
from dlgutils.federated.alignment import align
from dlgutils.federated.local_training import PLAIN
from dlgutils.protocol import Defense, Protocol
from dlgutils.types import Batch

_HALF = math.log(2)


def client_round(
    model: nn.Module,
    batch: Batch,
    generator: Generator,
    protocol: Protocol = PLAIN,
    defenses: Iterable[Defense] = (),
) -> Round:
    """One honest round with the model's own weights, in its dtype, and its secrets.

    A scale of None is drawn, between a half and two, and the server is not told.

    Args:
        model: the network.
        batch: the client's images and labels.
        generator: on the CPU; draws the scale, masks, orders, and what defences draw.
        protocol: how the client trains.
        defenses: what the update passes before it leaves, after those of the protocol.

    Raises ValueError as `share` does.
    """
    stated = protocol
    if protocol.scale is None:
        exponent = 2 * torch.rand((), generator=generator).item() - 1
        stated = replace(protocol, scale=math.exp(_HALF * exponent))
    secret = federated.honest(
        model, batch, generator, init=None, protocol=stated, defenses=defenses
    )
    told = replace(secret.shared.protocol, scale=protocol.scale)
    _, (shared,) = align(model, replace(secret.shared, protocol=told))
    return secret._replace(shared=shared)
