"""Real images as tensors in [0, 1], and the tables of long experiments.

A few sets of images are part of the package; those of torchvision need a network connection.
"""

import hashlib
from functools import cache
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from dlgutils.types import Batch

if TYPE_CHECKING:
    import pandas

# md5 of the unpacked files, which torchvision does not check once they are on disk
_RAW_MD5 = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
_EMBEDDED = {"photos": "photos32", "fruits": "fruits32", "fashion": "fashion200"}
_TORCHVISION = ("MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "SVHN")


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
    return _batch(arrays["images"][rows], arrays["labels"][rows])


def fruits() -> Batch:
    """All 1 393 photographs of fruit in shops: x (1393, 3, 32, 32), y their class ids 0 … 13.

    Source: Klasson, Zhang & Kjellström 2019, arXiv:1901.00711, MIT licence.
    """
    arrays = _arrays("fruits32")
    return _batch(arrays["images"], arrays["labels"])


def fashion() -> Batch:
    """The first 20 test images of each class of Fashion-MNIST: x (200, 1, 28, 28), y 0 … 9.

    Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747, MIT licence.
    """
    arrays = _arrays("fashion200")
    return _batch(arrays["images"], arrays["labels"])


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


def torchvision_set(name: str, root: str | Path, *, train: bool = False) -> Batch:
    """A whole data set of torchvision: x (n, channels, height, width) in [0, 1], y (n,) class ids.

    torchvision checks the archives; the unpacked files of MNIST and FashionMNIST, which it does not
    check again, are checked here.

    name: MNIST, FashionMNIST, CIFAR10, CIFAR100 or SVHN. root: the folder to which the set is
    downloaded if it is not there. train: the training images instead of the test images.

    Raises ValueError for another name, ImportError if torchvision cannot be loaded, ConnectionError
    if the download fails, and OSError for damaged files. It never returns other images instead.
    """
    if name not in _TORCHVISION:
        raise ValueError(
            f"no data set is called {name!r} here; there are {', '.join(_TORCHVISION)}"
        )
    kind = getattr(_torchvision().datasets, name)
    options = {"train": train}
    if name == "SVHN":
        options = {"split": "train" if train else "test"}
    _check_raw_files(name, Path(root))
    try:
        dataset = kind(root, download=True, **options)
    except (OSError, RuntimeError) as error:
        alternative = "fashion()" if name in _RAW_MD5 else "photos() or fruits()"
        raise ConnectionError(
            f"{name} is not complete in {root} and could not be downloaded ({error}); "
            f"check the network, or use the embedded data.{alternative}"
        ) from error
    _check_raw_files(name, Path(root))
    labels = dataset.labels if name == "SVHN" else dataset.targets
    return _batch(np.asarray(dataset.data), np.asarray(labels))


def table(name: str) -> "pandas.DataFrame":
    """The table of an experiment that took too long for a chapter, as it was committed.

    "dropout_run": RMSE curves of six attackers on dropout. "batches", "separation": how batches
    come apart. The scripts that make them are in `reproduce/`. Raises ValueError for another name.
    """
    folder = resources.files("dlgutils") / "tables"
    files = [Path(file.name) for file in folder.iterdir()]
    names = sorted(file.stem for file in files if file.suffix == ".csv")
    if name not in names:
        raise ValueError(f"no committed table is called {name!r}; there are {', '.join(names)}")
    file = folder / f"{name}.csv"
    return read_table(file.read_text(encoding="utf-8"))


def read_table(content: str) -> "pandas.DataFrame":
    """The table in the text of a CSV file: types are found once, in whole columns; empty is NaN."""
    import pandas

    return pandas.read_csv(
        StringIO(content), keep_default_na=False, na_values=[""], low_memory=False
    )


def _torchvision():
    try:
        import torchvision
    except Exception as error:  # a torchvision built for another torch fails in many ways
        raise ImportError(
            f"torchvision cannot be loaded ({error}); install the release that matches "
            f"torch {torch.__version__}: pip install --upgrade torch torchvision"
        ) from error
    return torchvision


def _check_raw_files(name: str, root: Path) -> None:
    for file, md5 in _RAW_MD5.get(name, {}).items():
        path = root / name / "raw" / file
        if not path.exists():
            continue
        found = hashlib.md5(path.read_bytes())
        if found.hexdigest() != md5:
            raise OSError(
                f"{path} is damaged: its md5 is not {md5}; "
                f"delete the folder {path.parent} and try again"
            )


@cache
def _arrays(file: str) -> dict[str, np.ndarray]:
    path = resources.files("dlgutils") / "images" / f"{file}.npz"
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return dict(arrays)


def _batch(images: np.ndarray, labels: np.ndarray) -> Batch:
    """A batch of tensors from bytes in any of the layouts (n, h, w), (n, h, w, 3), (n, 3, h, w)."""
    x = torch.from_numpy(np.ascontiguousarray(images))
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[1] != 3:
        x = x.permute(0, 3, 1, 2)
    y = torch.from_numpy(labels.astype(np.int64))
    return Batch(x.contiguous().float() / 255, y)
