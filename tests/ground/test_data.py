"""Images: in [0, 1], by name, with their licences; the large sets checked, never silently replaced."""

import hashlib
import re
import sys
from importlib import resources
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dlgutils import data

RAW = tuple(data._RAW_MD5["MNIST"])


@pytest.fixture
def torchvision(monkeypatch):
    """torchvision({"CIFAR10": kind}): a torchvision of these data sets only."""

    def install(**kinds):
        monkeypatch.setitem(
            sys.modules, "torchvision", SimpleNamespace(datasets=SimpleNamespace(**kinds))
        )

    return install


def dataset(images, **labels):
    """A class like torchvision's, which holds these arrays and remembers what it was asked for."""

    def kind(root, *, download, **split):
        kind.asked = {"download": download, **split}
        return SimpleNamespace(data=images, **labels)

    return kind


def offline(*_, **__):
    raise RuntimeError("no route to host")


@pytest.mark.parametrize(
    ("batch", "shape", "classes"),
    [
        (data.photos(), (12, 3, 32, 32), 12),
        (data.photos(size=64), (12, 3, 64, 64), 12),
        (data.fruits(), (1393, 3, 32, 32), 14),
        (data.fashion(), (200, 1, 28, 28), 10),
    ],
    ids=["photos", "photos64", "fruits", "fashion"],
)
def test_embedded_images(batch, shape, classes):
    assert batch.x.shape == shape
    assert (batch.x.dtype, batch.y.dtype) == (torch.float32, torch.int64)
    assert batch.x.min() >= 0
    assert 0.9 < batch.x.max() <= 1
    assert batch.y.unique().tolist() == list(range(classes))


def test_every_photograph_goes_by_its_name():
    names = data.class_names("photos")
    assert len(set(names)) == 12
    for label, name in enumerate(names):
        x, y = data.photos(name)
        assert x.shape == (1, 3, 32, 32)
        assert y.tolist() == [label]
        assert x.equal(data.photos().x[label : label + 1])


def test_photographs_come_in_the_order_asked_for():
    both = data.photos("rocket", "cat")
    assert both.x[1:].equal(data.photos("cat").x)
    assert both.y.tolist() == [data.class_names("photos").index(name) for name in ("rocket", "cat")]


@pytest.mark.parametrize("size", [32, 64])
def test_the_two_crops_are_different_pictures_of_the_same_thing(size):
    wide, close = (data.photos(size=size, crop=crop) for crop in (0, 1))
    assert wide.y.equal(close.y)
    assert ((wide.x - close.x) ** 2).mean((1, 2, 3)).min() > 1e-3


def test_the_large_photograph_shows_what_the_small_one_shows():
    large = torch.nn.functional.avg_pool2d(data.photos(size=64).x, 2)
    assert ((large - data.photos().x) ** 2).mean() < 5e-3


@pytest.mark.parametrize(("name", "classes"), [("photos", 12), ("fruits", 14), ("fashion", 10)])
def test_every_class_has_a_name(name, classes):
    assert len(set(data.class_names(name))) == classes


def test_a_batch_may_be_changed_without_changing_the_next():
    data.photos("cat").x.zero_()
    assert data.photos("cat").x.any()


@pytest.mark.parametrize("file", ["DATA-LICENSES.md", "LICENSE-grocery.txt"])
def test_the_licences_lie_beside_the_arrays(file):
    assert "MIT" in (resources.files("dlgutils") / "images" / file).read_text(encoding="utf-8")


def test_every_array_is_named_in_the_licences():
    images = resources.files("dlgutils") / "images"
    text = (images / "DATA-LICENSES.md").read_text(encoding="utf-8")
    stems = [
        path.name.removesuffix(".npz").rstrip("0123456789")
        for path in images.iterdir()
        if path.suffix == ".npz"
    ]
    assert stems
    assert all(stem in text for stem in stems)


def test_an_unknown_photograph_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"(?s)called dog, kat; there are.*cat.*pagoda"):
        data.photos("kat", "cat", "dog")


@pytest.mark.parametrize("options", [{"size": 28}, {"crop": 2}, {"crop": -1}])
def test_an_unknown_size_or_crop_names_the_known_ones(options):
    with pytest.raises(ValueError, match=r"sizes 32 and 64 and crops 0 and 1, got"):
        data.photos("cat", **options)


def test_unknown_class_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"called 'cifar'; there are photos, fruits, fashion"):
        data.class_names("cifar")


def test_an_unknown_data_set_lists_the_known_ones(tmp_path):
    with pytest.raises(
        ValueError, match=r"called 'cifar10' here; there are MNIST, .*CIFAR10.*SVHN"
    ):
        data.torchvision_set("cifar10", tmp_path)


def test_colour_images_with_channels_last(torchvision, tmp_path):
    images = np.random.default_rng(0).integers(256, size=(5, 32, 32, 3), dtype=np.uint8)
    torchvision(CIFAR10=dataset(images, targets=[3, 1, 4, 1, 5]))
    x, y = data.torchvision_set("CIFAR10", tmp_path)
    assert x.shape == (5, 3, 32, 32)
    assert (x[2, 1, 7, 9] * 255).round() == images[2, 7, 9, 1]
    assert y.tolist() == [3, 1, 4, 1, 5]


@pytest.mark.parametrize(("train", "split"), [(True, "train"), (False, "test")])
def test_colour_images_with_channels_first(torchvision, tmp_path, train, split):
    images = np.random.default_rng(0).integers(256, size=(2, 3, 32, 32), dtype=np.uint8)
    torchvision(SVHN=dataset(images, labels=np.array([9, 0])))
    x, y = data.torchvision_set("SVHN", tmp_path, train=train)
    assert (x[1, 2, 7, 9] * 255).round() == images[1, 2, 7, 9]
    assert y.tolist() == [9, 0]
    assert sys.modules["torchvision"].datasets.SVHN.asked == {"download": True, "split": split}


def test_grey_images_whose_raw_files_are_whole(torchvision, tmp_path, monkeypatch):
    raw_files(tmp_path, b"whole")
    monkeypatch.setitem(
        data._RAW_MD5, "MNIST", dict.fromkeys(RAW, hashlib.md5(b"whole").hexdigest())
    )
    images = torch.full((3, 28, 28), 255, dtype=torch.uint8)
    torchvision(MNIST=dataset(images, targets=torch.tensor([7, 2, 1])))
    x, y = data.torchvision_set("MNIST", tmp_path, train=True)
    assert x.equal(torch.ones(3, 1, 28, 28))
    assert y.tolist() == [7, 2, 1]


def raw_files(root, content):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for file in RAW:
        (folder / file).write_bytes(content)


def test_damaged_raw_files_are_noticed(torchvision, tmp_path):
    raw_files(tmp_path, b"flipped bits")
    torchvision(MNIST=dataset(torch.zeros(1, 28, 28, dtype=torch.uint8), targets=torch.zeros(1)))
    with pytest.raises(OSError, match=r"ubyte is damaged: .*delete the folder .*raw and try again"):
        data.torchvision_set("MNIST", tmp_path)


def test_raw_files_that_torchvision_cannot_even_read_are_noticed(tmp_path):
    pytest.importorskip("torchvision")
    raw_files(tmp_path, b"<html>the captive portal of a hotel</html>")
    with pytest.raises(OSError, match=r"ubyte is damaged: .*delete the folder .*raw and try again"):
        data.torchvision_set("MNIST", tmp_path)


@pytest.mark.parametrize(
    ("name", "alternative"),
    [("MNIST", "data.fashion()"), ("FashionMNIST", "data.fashion()"), ("SVHN", "data.photos()")],
)
def test_offline_names_the_embedded_alternative(torchvision, tmp_path, name, alternative):
    torchvision(**{name: offline})
    with pytest.raises(ConnectionError, match=rf"{name} .*no route to host.*network") as caught:
        data.torchvision_set(name, tmp_path)
    assert alternative in str(caught.value)


def test_a_broken_torchvision_says_which_release_is_needed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(
        ImportError, match=rf"cannot be loaded.*torch {re.escape(torch.__version__)}.*pip install"
    ):
        data.torchvision_set("CIFAR10", tmp_path)
