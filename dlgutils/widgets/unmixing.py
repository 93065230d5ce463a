"""A batch that comes apart under the reader's hands, computed in the page without a kernel."""

from collections.abc import Sequence

from torch import Tensor
from traitlets import Bool, Bytes, Float, Int, List

from dlgutils.widgets.base import Widget, as_bytes, front_end, synced

TURNS = 30


class Unmixing(Widget):
    """A gradient of several pictures, taken apart turn by turn; make it with `unmixing`."""

    _esm = front_end("unmixing")
    # [height, width, channels] of every picture
    shape = synced(List())
    # the pictures, one after the other
    images = synced(Bytes())
    names = synced(List())
    # of the classifier
    classes = synced(Int(12))
    # how many of the pictures are in the batch
    batch = synced(Int(8))
    # of the dropout on the pixels, in [0, 0.9]
    rate = synced(Float(0.0))
    # whether the first two pictures have one class
    alike = synced(Bool(False))
    # whether each turn goes half of its way
    half = synced(Bool(False))
    # the most turns, and which is shown; 0: a row of the gradient
    turns = synced(Int(TURNS))
    turn = synced(Int(TURNS))

    def __repr__(self) -> str:
        """What is printed where widgets cannot be shown."""
        return f"{self.batch} pictures in one gradient, dropout {self.rate:g}, turn {self.turn}"


def unmixing(
    x: Tensor, names: Sequence[str], *, batch: int | None = None, rate: float = 0.0
) -> Unmixing:
    """A batch of pictures on a classifier of one linear layer, which the page takes apart.

    The page draws weights as PyTorch does, drops pixels, shares the one gradient of the batch, and
    reads every picture back from it: with the labels known, δ and pictures are computed from one
    another in turns. The reader chooses the size of the batch, the rate, whether the first two
    pictures have one class, and whether a turn goes half of its way, which such a pair needs.

    Args:
        x: two to eight pictures, (n, channels, height, width); picture k has class k.
        names: of the pictures.
        batch: how many of them are in the batch at first; None: all.
        rate: of the dropout at first, in [0, 0.9].

    Raises ValueError for another number of pictures or names, and a batch or rate that cannot be
    chosen.
    """
    if not 2 <= len(x) <= 8 or len(names) != len(x):
        raise ValueError(
            f"two to eight pictures come apart here, each with a name, got {len(x)} pictures and "
            f"{len(names)} names; choose some, such as data.photos().x[:8]"
        )
    batch = len(x) if batch is None else batch
    if not (2 <= batch <= len(x) and 0 <= rate <= 0.9):
        raise ValueError(
            f"a batch has 2 to {len(x)} pictures and a rate of 0 to 0.9, got {batch} and {rate}"
        )
    *_, channels, height, width = x.shape
    return Unmixing(
        shape=[height, width, channels],
        images=as_bytes(x),
        names=list(names),
        batch=batch,
        rate=rate,
    )
