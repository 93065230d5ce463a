"""dlgutils: the helper library of the book *Gradients Leak*.

`share` is one honest round of federated learning; `invert` attacks what it shared. The rest lives in modules:
`data`, `models`, `attacks`, `labels`, `metrics`, `plots`, `widgets`.
"""

from dlgutils import attacks, data, labels, metrics, models
from dlgutils.client import share
from dlgutils.inversion import invert
from dlgutils.types import Attack, Batch, Result, Shared

__all__ = ["Attack", "Batch", "Result", "Shared", "attacks", "data", "invert", "labels", "metrics", "models", "share"]
__version__ = "0.1.0"
