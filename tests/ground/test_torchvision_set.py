"""The large sets of images: checked, and never silently replaced by others."""

import hashlib
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dlgutils import data
from dlgutils.data import torchvision_sets

RAW = tuple(torchvision_sets._RAW_MD5["MNIST"])


@pytest.fixture
def torchvision(monkeypatch):
    """torchvision(CIFAR10=kind): a torchvision of these data sets only."""

    def install(**kinds):
        module = SimpleNamespace(datasets=SimpleNamespace(**kinds))
        monkeypatch.setitem(sys.modules, "torchvision", module)

    return install


def dataset(images, **labels):
    """A class like torchvision's, which holds these arrays and remembers what it was asked for."""

    def kind(root, *, download, **split):
        kind.asked = {"download": download, **split}
        return SimpleNamespace(data=images, **labels)

    return kind


def offline(*_, **__):
    """A data set that cannot be downloaded."""
    raise RuntimeError("no route to host")


def random_bytes(*shape):
    """An array of random bytes."""
    generator = np.random.default_rng(0)
    return generator.integers(256, size=shape, dtype=np.uint8)


def raw_files(root, content):
    """Write the unpacked files of MNIST, all with this content."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for file in RAW:
        (folder / file).write_bytes(content)


def test_torchvision_set_lists_the_known_names_when_one_is_unknown(tmp_path):
    with pytest.raises(
        ValueError, match=r"called 'cifar10' here; there are MNIST, .*CIFAR10.*SVHN"
    ):
        data.torchvision_set("cifar10", tmp_path)


def test_torchvision_set_takes_colours_with_channels_last(torchvision, tmp_path):
    images = random_bytes(5, 32, 32, 3)
    torchvision(CIFAR10=dataset(images, targets=[3, 1, 4, 1, 5]))
    x, y = data.torchvision_set("CIFAR10", tmp_path)
    assert x.shape == (5, 3, 32, 32)
    assert (x[2, 1, 7, 9] * 255).round() == images[2, 7, 9, 1]
    assert y.tolist() == [3, 1, 4, 1, 5]


@pytest.mark.parametrize(("train", "split"), [(True, "train"), (False, "test")])
def test_torchvision_set_takes_colours_with_channels_first(torchvision, tmp_path, train, split):
    images = random_bytes(2, 3, 32, 32)
    kind = dataset(images, labels=np.array([9, 0]))
    torchvision(SVHN=kind)
    x, y = data.torchvision_set("SVHN", tmp_path, train=train)
    assert (x[1, 2, 7, 9] * 255).round() == images[1, 2, 7, 9]
    assert y.tolist() == [9, 0]
    assert kind.asked == {"download": True, "split": split}


def test_torchvision_set_takes_grey_images_with_whole_raw_files(torchvision, tmp_path, monkeypatch):
    raw_files(tmp_path, b"whole")
    md5 = hashlib.md5(b"whole").hexdigest()
    monkeypatch.setitem(torchvision_sets._RAW_MD5, "MNIST", dict.fromkeys(RAW, md5))
    images = torch.full((3, 28, 28), 255, dtype=torch.uint8)
    torchvision(MNIST=dataset(images, targets=torch.tensor([7, 2, 1])))
    x, y = data.torchvision_set("MNIST", tmp_path, train=True)
    assert x.equal(torch.ones(3, 1, 28, 28))
    assert y.tolist() == [7, 2, 1]


def test_torchvision_set_notices_damaged_raw_files(torchvision, tmp_path):
    raw_files(tmp_path, b"flipped bits")
    images = torch.zeros(1, 28, 28, dtype=torch.uint8)
    torchvision(MNIST=dataset(images, targets=torch.zeros(1)))
    with pytest.raises(OSError, match=r"ubyte is damaged: .*delete the folder .*raw and try again"):
        data.torchvision_set("MNIST", tmp_path)


def test_torchvision_set_notices_raw_files_that_torchvision_cannot_read(tmp_path):
    pytest.importorskip("torchvision")
    raw_files(tmp_path, b"<html>the captive portal of a hotel</html>")
    with pytest.raises(OSError, match=r"ubyte is damaged: .*delete the folder .*raw and try again"):
        data.torchvision_set("MNIST", tmp_path)


@pytest.mark.parametrize(
    ("name", "alternative"),
    [("MNIST", "data.fashion()"), ("FashionMNIST", "data.fashion()"), ("SVHN", "data.photos()")],
)
def test_torchvision_set_names_the_alternative_offline(torchvision, tmp_path, name, alternative):
    torchvision(**{name: offline})
    with pytest.raises(ConnectionError, match=rf"{name} .*no route to host.*network") as caught:
        data.torchvision_set(name, tmp_path)
    assert alternative in str(caught.value)


def test_torchvision_set_names_the_release_that_is_needed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    version = re.escape(torch.__version__)
    with pytest.raises(ImportError, match=rf"cannot be loaded.*torch {version}.*pip install"):
        data.torchvision_set("CIFAR10", tmp_path)
