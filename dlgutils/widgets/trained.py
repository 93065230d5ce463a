"""The lab's trained networks, and photographs that they have not seen.

`tools/data/train_lab_networks.py` makes the file.
"""

from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlgutils.types import Tensors


class Trained(NamedTuple):
    """Networks that know twelve fruits, and one photograph of each fruit, which was held out."""

    names: tuple[str, ...]  # of the fruits; entry k is class k
    images: Tensor  # (12, 3, 32, 32) in [0, 1], in the order of the names
    weights: dict[str, Tensors]  # {activation: weights of a `models.lenet` of 12 classes}


@cache
def trained_networks() -> Trained:
    """The two networks, of sigmoids and of ReLUs."""
    path = resources.files("dlgutils") / "weights" / "lenet_fruits.npz"
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        names = tuple(name.lower().replace("-", " ") for name in arrays["names"].tolist())
        images = torch.from_numpy(arrays["images"]).float() / 255
        weights: dict[str, Tensors] = {"sigmoid": {}, "relu": {}}
        for key in arrays.files:
            activation, _, name = key.partition(".")
            if name:
                weights[activation][name] = torch.from_numpy(arrays[key])
    return Trained(names, images, weights)


def as_numbers(weights: Tensors) -> bytes:
    """All numbers of the weights, one tensor after the other, as float32."""
    return b"".join(t.numpy().astype("<f4").tobytes() for t in weights.values())
