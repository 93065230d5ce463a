"""The honest client, what leaves its device, and what is checked about it."""

from dlgutils.federated.client import gradient, loss, share
from dlgutils.federated.rounds import Round, honest

__all__ = ["Round", "gradient", "honest", "loss", "share"]
