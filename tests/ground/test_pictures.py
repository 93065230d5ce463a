"""A picture of the reader's own: any size and mode, or a clear error."""

import numpy as np
import pytest
import torch
from PIL import Image

from dlgutils import data


@pytest.fixture
def saved(tmp_path):
    """saved(image, name): the path of an image on disk."""

    def save(image, name="picture.png", **options):
        path = tmp_path / name
        image.save(path, **options)
        return path

    return save


def halves(width, height):
    """Red on the left, blue on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return Image.fromarray(pixels)


RED = torch.tensor([1.0, 0.0, 0.0])
BLUE = torch.tensor([0.0, 0.0, 1.0])


def test_picture_of_the_right_size_comes_back_unchanged(saved):
    x = data.photos("cat").x
    pixels = (x[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert data.picture(saved(Image.fromarray(pixels))).equal(x)


@pytest.mark.parametrize(("width", "height"), [(90, 40), (40, 90), (7, 7), (1, 1), (1000, 31)])
@pytest.mark.parametrize("size", [16, 32])
def test_picture_of_any_shape_is_a_square_in_the_unit_range(saved, width, height, size):
    x = data.picture(saved(halves(width, height)), size=size)
    assert x.shape == (1, 3, size, size)
    assert x.dtype == torch.float32
    assert x.min() >= 0
    assert x.max() <= 1


def test_picture_of_two_sizes_has_this_height_and_width(saved):
    x = data.picture(saved(halves(90, 40)), size=(12, 20))
    assert x.shape == (1, 3, 12, 20)
    assert x[0, :, 6, 0].equal(RED)


@pytest.mark.parametrize("name", ["large.jpg", "large.png"])
def test_picture_of_a_hundred_million_pixels_is_reduced_or_refused(saved, name, tmp_path):
    """Their files are small; unpacked they would have 300 megabytes."""
    path = saved(Image.new("L", (10_000, 10_000), 255), name)
    if name.endswith("jpg"):
        assert data.picture(path).min() > 0.98
    else:
        with pytest.raises(ValueError, match="10000 × 10000 pixels are too many to unpack"):
            data.picture(path)


def test_picture_keeps_the_central_square(saved):
    x = data.picture(saved(halves(96, 32)))
    assert x[0, :, 16, 4].equal(RED)
    assert x[0, :, 16, 27].equal(BLUE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I"])
def test_picture_of_any_mode_has_three_channels(saved, mode):
    grey = Image.new("L", (40, 40), 255)
    if mode.startswith("I"):
        image = Image.fromarray(np.full((40, 40), 65535, np.uint16))
        image = image if mode == "I;16" else image.convert("I")
    else:
        image = grey.convert("RGB").convert(mode)
    name = "picture.tiff" if mode in ("CMYK", "I", "LA") else "picture.png"
    x = data.picture(saved(image, name))
    assert x.shape == (1, 3, 32, 32)
    assert x.min() > 0.98


def test_picture_of_sixteen_bits_keeps_its_middle_grey(saved):
    image = Image.fromarray(np.full((40, 40), 32768, np.uint16))
    assert data.picture(saved(image)).mean().item() == pytest.approx(0.5, abs=0.01)


def test_picture_lays_transparency_on_white(saved):
    x = data.picture(saved(Image.new("RGBA", (32, 32), (255, 0, 0, 0))))
    assert (x == 1).all()


def test_picture_is_turned_upright_as_the_camera_noted(saved):
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    x = data.picture(saved(halves(32, 32), exif=exif))
    assert x[0, :, 16, 4].equal(BLUE)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n broken"])
def test_picture_of_a_file_that_is_not_one_names_it(tmp_path, content):
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"notes\.png cannot be read as a picture"):
        data.picture(path)


def test_picture_of_a_file_that_ends_early_names_it(saved):
    path = saved(Image.effect_noise((200, 200), 80), "short.jpg")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"short\.jpg cannot be read as a picture"):
        data.picture(path)


def test_picture_of_real_numbers_is_refused(saved):
    path = saved(Image.new("F", (8, 8)), "depth.tiff")
    with pytest.raises(ValueError, match="real numbers of an unknown range"):
        data.picture(path)


def test_picture_of_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        data.picture(tmp_path / "nothing.png")


def test_picture_of_no_size_is_refused(saved):
    with pytest.raises(ValueError, match="at least 1 pixel, got 0"):
        data.picture(saved(halves(8, 8)), size=0)
