"""A gradient whose blank columns the reader marks, and a score of what was marked."""

from torch import Tensor
from traitlets import Float, List

from dlgutils.widgets.base import Widget, front_end, synced

MOST = 64  # columns


class BlankColumns(Widget):
    """Columns of a gradient to mark, and a score; make it with `blank_columns`."""

    _esm = front_end("blank_columns")
    # [column][class]: the gradient
    columns = synced(List())
    # [column]: whether the client dropped the unit
    dropped = synced(List())
    # the entry at which a colour is strongest
    limit = synced(Float())
    # places of the columns that the reader has marked, in order
    marked = synced(List())

    def __repr__(self) -> str:
        """What is printed where widgets cannot be shown."""
        blank = sum(not any(column) for column in self.columns)
        return f"{len(self.columns)} columns of a gradient, {blank} of them blank"


def blank_columns(gradient: Tensor, mask: Tensor) -> BlankColumns:
    """The columns of a classifier's gradient, to be marked by the reader and compared with a mask.

    The reader marks the columns that look blank, with a pointer or with arrow keys and Space, and
    is told how many of the dropped units they have found. It works without a kernel; with one,
    `marked` holds the marked columns.

    gradient: of the weight for one image, (classes, features). mask: the client's, (features,),
    zero where a unit was dropped.

    Raises ValueError for another shape, a mask of another length, and more than 64 columns.
    """
    if gradient.ndim != 2 or mask.shape != gradient.shape[1:]:
        raise ValueError(
            "blank_columns takes a gradient (classes, features) and a mask (features,), "
            f"got {tuple(gradient.shape)} and {tuple(mask.shape)}; give G[:, :24] and mask[:24]"
        )
    features = len(mask)
    if not 1 <= features <= MOST:
        raise ValueError(
            f"1 to {MOST} columns can be marked, got {features}; give G[:, :24] and mask[:24]"
        )
    columns = []
    for column in gradient.T:
        columns.append([float(f"{value:.3g}") for value in column.tolist()])
    sizes = gradient[gradient != 0].abs()
    limit = 3 * sizes.median().item() if len(sizes) else 1.0
    return BlankColumns(columns=columns, dropped=(mask == 0).tolist(), limit=limit)
