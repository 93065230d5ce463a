"""Real images as tensors in [0, 1]: a few embedded in the package, and torchvision's data sets for who is online."""

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
    import pandas as pd

# md5 of the uncompressed files, which torchvision does not check once they are on disk
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

    names: from `class_names("photos")`, e.g. "cat". size: 32 or 64 pixels. crop: 0 for the wide
    crop, 1 for the close one. Sources and licences: DATA-LICENSES.md beside the arrays. Raises
    ValueError for an unknown name, size or crop.
    """
    if size not in (32, 64) or crop not in (0, 1):
        raise ValueError(
            f"photographs come in sizes 32 and 64 and crops 0 and 1, got size={size}, crop={crop}"
        )
    known = class_names("photos")
    unknown = set(names) - set(known)
    if unknown:
        raise ValueError(
            f"no photograph is called {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    batch = _embedded(f"photos{size}")
    rows = [
        2 * known.index(name) + crop for name in names or known
    ]  # two crops of each photograph, one after the other
    return Batch(batch.x[rows], batch.y[rows])


def fruits() -> Batch:
    """All 1 393 photographs of fruit in shops: x (1393, 3, 32, 32), y their class ids 0 … 13.

    Source: Grocery Store Dataset (Klasson, Zhang & Kjellström 2019), MIT licence.
    """
    return _embedded("fruits32")


def fashion() -> Batch:
    """The first 20 test images of each class of Fashion-MNIST: x (200, 1, 28, 28), y 0 … 9.

    Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747, MIT licence.
    """
    return _embedded("fashion200")


def class_names(dataset: str) -> tuple[str, ...]:
    """The names of the classes of "photos", "fruits" or "fashion"; entry k belongs to label k.

    Raises ValueError for another name.
    """
    if dataset not in _EMBEDDED:
        raise ValueError(
            f"no embedded images are called {dataset!r}; there are {', '.join(_EMBEDDED)}"
        )
    return tuple(str(name) for name in _arrays(_EMBEDDED[dataset])["class_names"])


def torchvision_set(name: str, root: str | Path, *, train: bool = False) -> Batch:
    """A whole data set of torchvision as one batch: x (n, channels, height, width) in [0, 1], y (n,).

    name: MNIST, FashionMNIST, CIFAR10, CIFAR100 or SVHN. It is downloaded to `root` if it is not
    there. Archives are checked by torchvision; the unpacked files of MNIST and FashionMNIST,
    which it does not check again, by us. Raises ValueError for another name, ImportError if
    torchvision cannot be loaded, ConnectionError if the download fails, and OSError for damaged
    files. It never falls back on other images.
    """
    if name not in _TORCHVISION:
        raise ValueError(
            f"no data set is called {name!r} here; there are {', '.join(_TORCHVISION)}"
        )
    kind = getattr(_torchvision().datasets, name)
    _check_raw_files(name, Path(root))
    split = {"split": "train" if train else "test"} if name == "SVHN" else {"train": train}
    try:
        dataset = kind(root, download=True, **split)
    except (OSError, RuntimeError) as error:
        alternative = "fashion()" if name in _RAW_MD5 else "photos() or fruits()"
        raise ConnectionError(
            f"{name} is not complete in {root} and could not be downloaded ({error}); "
            f"check the network, or use the embedded data.{alternative}"
        ) from error
    _check_raw_files(name, Path(root))
    return _batch(
        np.asarray(dataset.data),
        np.asarray(getattr(dataset, "targets", getattr(dataset, "labels", None))),
    )


def table(name: str) -> "pd.DataFrame":
    """The table of an experiment that took too long for a chapter, as it was committed.

    "dropout_run": RMSE curves of six attackers on dropout; "batches", "separation": how batches
    come apart. The scripts that make them are in `reproduce/`. Raises ValueError for a name that
    is not there.
    """
    folder = resources.files("dlgutils") / "tables"
    names = sorted(Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".csv"))
    if name not in names:
        raise ValueError(f"no stored table is called {name!r}; there are {', '.join(names)}")
    return read_table((folder / f"{name}.csv").read_text(encoding="utf-8"))


def read_table(content: str) -> "pd.DataFrame":
    """The table in the text of a CSV file: types are found once, in whole columns; empty is NaN."""
    import pandas as pd

    return pd.read_csv(StringIO(content), keep_default_na=False, na_values=[""], low_memory=False)


def _torchvision():
    try:
        import torchvision
    except Exception as error:  # a torchvision built for another torch fails in many ways
        raise ImportError(
            f"torchvision cannot be loaded ({error}); install the release that matches torch {torch.__version__}: "
            "pip install --upgrade torch torchvision"
        ) from error
    return torchvision


def _check_raw_files(name: str, root: Path) -> None:
    for file, md5 in _RAW_MD5.get(name, {}).items():
        path = root / name / "raw" / file
        if path.exists() and hashlib.md5(path.read_bytes()).hexdigest() != md5:
            raise OSError(
                f"{path} is damaged: its md5 is not {md5}; delete the folder {path.parent} and try again"
            )


def _embedded(file: str) -> Batch:
    arrays = _arrays(file)
    return _batch(arrays["images"], arrays["labels"])


@cache
def _arrays(file: str) -> dict[str, np.ndarray]:
    path = resources.files("dlgutils") / "images" / f"{file}.npz"
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return dict(arrays)


def _batch(images: np.ndarray, labels: np.ndarray) -> Batch:
    """Bytes in any of the three layouts (n, h, w), (n, h, w, 3), (n, 3, h, w) as a batch of tensors."""
    x = torch.from_numpy(np.ascontiguousarray(images))
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[1] != 3:
        x = x.permute(0, 3, 1, 2)
    return Batch(x.contiguous().float() / 255, torch.from_numpy(labels.astype(np.int64)))
