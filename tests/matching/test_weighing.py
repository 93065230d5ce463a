"""The most probable image: noise weighed against what is known of photographs."""

from dataclasses import replace

import pytest
import torch

from dlgutils import Batch, attacks, coordinates, data, invert, metrics, models
from dlgutils.federated import defenses, honest
from dlgutils.matching import weighing_noise
from dlgutils.matching.weighing import noise_floor, unlikely_image
from dlgutils.types import Guess

photograph = unlikely_image(coordinates.whitened, coordinates.CONTRAST)


def test_unlikely_image_is_least_at_grey_and_has_the_variance_of_photographs():
    x = torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64)
    assert photograph(Guess(x)) < 1e-20
    u = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = coordinates.whitened.decode(u * coordinates.CONTRAST**0.5)
    torch.testing.assert_close(photograph(Guess(drawn)), u.square().sum() / 2)


def test_weighing_noise_says_about_half_of_each_number_at_the_truth():
    model, secret, shared, _ = noisy_round(1e-3)
    told = replace(attacks.idlg, infer=lambda *_: Guess(y=secret.y), transform=None)
    weighed = weighing_noise(told, shared.protocol.sigma)
    loss = invert(model, shared, weighed, start=secret.x[None], steps=1).loss[0, 0]
    n = sum(g.numel() for g in shared.gradient.values())
    prior = photograph(Guess(secret.x))
    assert float(loss - prior) == pytest.approx(n / 2, rel=0.05)


def test_weighing_noise_beats_the_nearest_gradient_where_noise_is_strong():
    model, secret, shared, _ = noisy_round(1e-2)
    told = replace(attacks.idlg, infer=lambda *_: Guess(y=secret.y))
    errors = []
    for attack in (told, weighing_noise(told, shared.protocol.sigma)):
        found = invert(model, shared, attack, steps=150)
        errors.append(float(metrics.mse(found.x[0], secret.x)))
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("sigma", [1e-4, 1e-2])
def test_noise_floor_is_the_loss_at_the_truth(sigma):
    model, secret, shared, _ = noisy_round(sigma)
    told = replace(attacks.idlg, infer=lambda *_: Guess(y=secret.y), transform=None)
    loss = invert(model, shared, told, start=secret.x[None], steps=1).loss[0, 0]
    assert float(loss) == pytest.approx(noise_floor(shared), rel=0.05)
    assert noise_floor(defenses.defend(shared, [])) > 0
    assert noise_floor(honest(model, secret, torch.Generator(), init=None).shared) == 0


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_weighing_noise_refuses_what_is_not_noise(sigma):
    with pytest.raises(ValueError, match="sigma is above zero and finite"):
        weighing_noise(attacks.idlg, sigma)


def test_weighing_noise_refuses_images_without_a_variance():
    with pytest.raises(ValueError, match="variance is above zero and finite, got inf"):
        weighing_noise(attacks.idlg, 1e-3, variance=float("inf"))


def noisy_round(sigma):
    """The cat in 16×16 pixels, seen through noise, in float64."""
    x, _ = data.photos("cat")
    small = torch.nn.functional.avg_pool2d(x, 2).double()
    generator = torch.Generator().manual_seed(0)
    model = models.lenet((3, 16, 16), 4).double()
    batch = Batch(small, torch.tensor([1]))
    return honest(model, batch, generator, defenses=[defenses.noise(sigma)])
