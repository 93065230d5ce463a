"""Large sets of images from torchvision, which need a network connection once."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from dlgutils.data.pictures import batch_of_bytes
from dlgutils.types import Batch

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
_TORCHVISION = ("MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "SVHN")


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
    return batch_of_bytes(np.asarray(dataset.data), np.asarray(labels))


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
