"""The images that are part of the package, as tensors in [0, 1]."""

from functools import cache
from importlib import resources

import numpy as np

from dlgutils.data.pictures import batch_of_bytes
from dlgutils.types import Batch

_EMBEDDED = {"photos": "photos32", "fruits": "fruits32", "fashion": "fashion200"}


def photos(*names: str, size: int = 32, crop: int = 0) -> Batch:
    """The named photographs, or all twelve: x (batch, 3, size, size), y their class ids 0 … 11.

    names: from `class_names("photos")`, such as "cat". size: 32 or 64 pixels. crop: 0 for the wide
    crop, 1 for the close one. Sources and licences are in DATA-LICENSES.md beside the arrays.
    Raises ValueError for an unknown name, size or crop.
    """
    if size not in (32, 64) or crop not in (0, 1):
        raise ValueError(
            f"photographs come in sizes 32 and 64 and crops 0 and 1, got size={size}, crop={crop}"
        )
    known = class_names("photos")
    unknown = set(names) - set(known)
    if unknown:
        wrong = ", ".join(sorted(unknown))
        raise ValueError(f"no photograph is called {wrong}; there are {', '.join(known)}")
    arrays = _arrays(f"photos{size}")
    # two crops of each photograph, one after the other
    rows = [2 * known.index(name) + crop for name in names or known]
    return batch_of_bytes(arrays["images"][rows], arrays["labels"][rows])


def fruits() -> Batch:
    """All 1 393 photographs of fruit in shops: x (1393, 3, 32, 32), y their class ids 0 … 13.

    Source: Klasson, Zhang & Kjellström 2019, arXiv:1901.00711, MIT licence.
    """
    arrays = _arrays("fruits32")
    return batch_of_bytes(arrays["images"], arrays["labels"])


def fashion() -> Batch:
    """The first 20 test images of each class of Fashion-MNIST: x (200, 1, 28, 28), y 0 … 9.

    Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747, MIT licence.
    """
    arrays = _arrays("fashion200")
    return batch_of_bytes(arrays["images"], arrays["labels"])


def class_names(dataset: str) -> tuple[str, ...]:
    """The names of the classes of "photos", "fruits" or "fashion"; entry k belongs to label k.

    Raises ValueError for another name.
    """
    if dataset not in _EMBEDDED:
        raise ValueError(
            f"no embedded images are called {dataset!r}; there are {', '.join(_EMBEDDED)}"
        )
    arrays = _arrays(_EMBEDDED[dataset])
    return tuple(arrays["class_names"].tolist())


@cache
def _arrays(file: str) -> dict[str, np.ndarray]:
    path = resources.files("dlgutils") / "images" / f"{file}.npz"
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return dict(arrays)
