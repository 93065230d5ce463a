"""Whitened coordinates: the same images, with unknowns of about equal size."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlgutils import data
from dlgutils.coordinates import measured, whitened


def random_images(*shape, seed=0):
    """Images of this shape, uniform over [0, 1], in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


@given(
    channels=st.integers(1, 4),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 100),
)
def test_whitened_encode_and_decode_undo_each_other(channels, height, width, seed):
    x = random_images(2, channels, height, width, seed=seed)
    torch.testing.assert_close(whitened.decode(whitened.encode(x)), x)
    torch.testing.assert_close(whitened.encode(whitened.decode(x)), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whitened_is_exactly_zero_at_mid_grey(dtype):
    grey = torch.full((1, 3, 5, 7), 0.5, dtype=dtype)
    assert (whitened.encode(grey) == 0).all()
    assert whitened.decode(torch.zeros_like(grey)).equal(grey)


def test_whitened_makes_a_uniform_image_one_number_of_known_size():
    """The first wave of an orthonormal transform is constant.

    So its coefficient is the height times √(h · w).
    """
    x = torch.full((1, 1, 4, 9), 0.75, dtype=torch.float64)
    u = whitened.encode(x)
    assert u[0, 0, 0, 0] == pytest.approx(0.25 * 6)
    assert u.flatten()[1:].abs().max() < 1e-12


@pytest.mark.slow
def test_whitened_photographs_are_whiter_than_their_pixels():
    """Variances along the axes of the covariance of 1 393 photographs, largest over 900th.

    Slow: all eigenvalues of two matrices of 3 072 rows. Measured: 122 against 1 860.
    """
    x = data.fruits().x.double()
    conditions = []
    for unknowns in (x, whitened.encode(x)):
        covariance = unknowns.flatten(1).mT.cov()
        variances = torch.linalg.eigvalsh(covariance).flip(0)
        conditions.append(variances[0] / variances[900])
    assert conditions[1] < conditions[0] / 10


@given(channels=st.integers(1, 4), height=st.integers(1, 6), width=st.integers(1, 6))
def test_measured_encode_and_decode_undo_each_other(channels, height, width):
    transform = measured(random_images(4, channels, height, width, seed=1))
    x = random_images(2, channels, height, width)
    torch.testing.assert_close(transform.decode(transform.encode(x)), x)
    torch.testing.assert_close(transform.encode(transform.decode(x)), x)


def test_measured_images_have_coordinates_of_mean_zero_and_variance_one():
    x = random_images(200, 3, 4, 6)
    u = measured(x).encode(x)
    torch.testing.assert_close(u.mean(0), torch.zeros_like(u[0]))
    torch.testing.assert_close(u.std(0), torch.ones_like(u[0]), rtol=1e-3, atol=0)


def test_measured_images_that_are_all_the_same_vary_by_rounding_to_bytes():
    x = random_images(1, 3, 4, 4).expand(2, -1, -1, -1)
    u = measured(x).encode(x[:1] + 1 / 255)
    assert u[0, 0, 0, 0] == pytest.approx(48**0.5 * 12**0.5)


def test_measured_keeps_the_dtype():
    transform = measured(random_images(5, 3, 4, 4))
    assert transform.encode(torch.zeros(1, 3, 4, 4)).dtype == torch.float32


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (5, 4, 4)])
def test_measured_needs_images(shape):
    with pytest.raises(ValueError, match="two or more images"):
        measured(random_images(*shape))


def test_whitened_uses_the_waves_of_scipy():
    fft = pytest.importorskip("scipy.fft")
    x = random_images(1, 1, 6, 8)
    waves = fft.dctn((x - 0.5).numpy(), axes=(-2, -1), norm="ortho")
    down = torch.arange(6)[:, None]
    across = torch.arange(8)
    frequency = down**2 + across**2
    u = torch.as_tensor(waves) * (1 + frequency / 16).sqrt()
    torch.testing.assert_close(whitened.encode(x), u)
