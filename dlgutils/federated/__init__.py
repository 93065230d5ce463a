"""The honest client, what leaves its device, and what is checked about it."""

from dlgutils.federated.averaging import average
from dlgutils.federated.client import from_weights, share
from dlgutils.federated.local_training import gradient, loss, update
from dlgutils.federated.rounds import Round, honest

__all__ = ["Round", "average", "from_weights", "gradient", "honest", "loss", "share", "update"]
