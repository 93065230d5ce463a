"""What attacks on one photograph find while its network is trained: a film of epochs."""

import zlib
from collections.abc import Mapping, Sequence

from torch import Tensor

from dlgutils import metrics
from dlgutils.widgets.base import as_bytes
from dlgutils.widgets.film import Film


def by_epoch(
    pictures: Mapping[str, Tensor], epochs: Mapping[str, Sequence[int]], truth: Tensor
) -> Film:
    """A film with a frame for each epoch, to scrub through, with or without a kernel.

    Args:
        pictures: what each attack found, (frames, channels, height, width) in [0, 1], by its name;
            a selector switches between the attacks.
        epochs: after how many epochs each frame's gradient was shared, by the same names.
        truth: the photograph, (channels, height, width).

    Raises ValueError for no pictures, and for names or numbers of epochs that do not fit them.
    """
    sizes = {name: len(found) for name, found in pictures.items()}
    wanted = {name: len(each) for name, each in epochs.items()}
    if not sizes or sizes != wanted:
        raise ValueError(
            f"each picture needs its epoch, got pictures {sizes} and epochs {wanted}; "
            "pass as many epochs as pictures, by the same names"
        )
    errors = {name: metrics.rmse(found, truth).tolist() for name, found in pictures.items()}
    channels, height, width = truth.shape
    return Film(
        axes=["attack"],
        scenes=[[name] for name in pictures],
        captions=[_captions(name, epochs[name], errors[name]) for name in pictures],
        frames=[zlib.compress(as_bytes(found), 9) for found in pictures.values()],
        evaluations=[list(epochs[name]) for name in pictures],
        unit="epochs",
        measure="RMSE",
        errors=list(errors.values()),
        shape=[height, width, channels],
        truth=as_bytes(truth[None]),
        frame=max(sizes.values()) - 1,
    )


def _captions(name: str, epochs: Sequence[int], errors: Sequence[float]) -> list[str]:
    """What each frame of an attack shows."""
    rows = zip(epochs, errors, strict=True)
    return [f"{name}, {epoch} epochs, RMSE {error:.3f}" for epoch, error in rows]
