"""White coordinates: the same images, with unknowns of equal size."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlgutils import data


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 100))
def test_encode_and_decode_undo_each_other(channels, height, width, seed):
    x = torch.rand(
        2,
        channels,
        height,
        width,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )
    torch.testing.assert_close(whitened.decode(whitened.encode(x)), x)
    torch.testing.assert_close(whitened.encode(whitened.decode(x)), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mid_grey_is_zero_exactly(dtype):
    grey = torch.full((1, 3, 5, 7), 0.5, dtype=dtype)
    assert (whitened.encode(grey) == 0).all()
    assert whitened.decode(torch.zeros_like(grey)).equal(grey)


def test_a_uniform_image_is_one_number_of_known_size():
    """The first wave of an orthonormal transform is constant: its coefficient is the height times √(h · w)."""
    u = whitened.encode(torch.full((1, 1, 4, 9), 0.75, dtype=torch.float64))
    assert u[0, 0, 0, 0] == pytest.approx(0.25 * 6)
    assert u.flatten()[1:].abs().max() < 1e-12


def test_photographs_are_whiter_than_their_pixels():
    """Variances along the axes of the covariance of 1 393 photographs, largest over 900th; measured 122 against 1 860."""
    x = data.fruits().x.double()
    conditions = []
    for unknowns in (x, whitened.encode(x)):
        variances = torch.linalg.eigvalsh(unknowns.flatten(1).mT.cov()).flip(0)
        conditions.append(variances[0] / variances[900])
    assert conditions[1] < conditions[0] / 10


def test_waves_are_those_of_scipy():
    fft = pytest.importorskip("scipy.fft")
    x = torch.rand(1, 1, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    waves = torch.as_tensor(fft.dctn((x - 0.5).numpy(), axes=(-2, -1), norm="ortho"))
    f = torch.arange(6)[:, None] ** 2 + torch.arange(8) ** 2
    torch.testing.assert_close(whitened.encode(x), waves * (1 + f / 16).sqrt())
