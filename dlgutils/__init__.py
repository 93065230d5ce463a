"""dlgutils: the helper library of the book *Gradients Leak*.

`share` is one honest round of federated learning; `invert` attacks what it shared; `audit` says
what a network of your own gives away. The rest lives in modules: `data`, `models`, `attacks`,
`metrics`, and the wings `federated`, `analytic`, and `matching`.
"""

from dlgutils import analytic, attacks, data, federated, metrics, models
from dlgutils.auditing.run import audit
from dlgutils.federated import share
from dlgutils.matching import invert
from dlgutils.protocol import Protocol
from dlgutils.types import Attack, Batch, Result, Shared

__all__ = [
    "Attack",
    "Batch",
    "Protocol",
    "Result",
    "Shared",
    "analytic",
    "attacks",
    "audit",
    "data",
    "federated",
    "invert",
    "metrics",
    "models",
    "share",
]
__version__ = "0.1.0"
