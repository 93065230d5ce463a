"""The networks under attack: sizes, activations, and images of another shape."""

import pytest
import torch
from torch import nn

from dlgutils import models

SHAPE = (1, 6, 6)


@pytest.mark.parametrize(
    ("shape", "features"),
    [
        ((1, 28, 28), 588),
        ((3, 32, 32), 768),
        ((3, 64, 64), 3072),
        ((1, 8, 8), 48),
        ((3, 33, 47), 1296),
    ],
)
def test_lenet_takes_images_of_any_size(shape, features):
    net = models.lenet(shape, 7)
    assert net.fc.in_features == features
    assert net(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize(("shape", "features"), [((3, 32, 32), 4096), ((1, 7, 6), 64)])
def test_cnn_takes_images_of_any_size(shape, features):
    net = models.cnn(shape, 7, dropout=0.5)
    assert net.hidden.in_features == features
    assert net(torch.zeros(2, *shape)).shape == (2, 7)
    assert list(models.dropouts(net)) == ["dropout.mask"]


def test_mlp_has_the_hidden_layers_asked_for(seeded):
    net = models.mlp(SHAPE, hidden=(9, 8), classes=4, dropout=0.5)
    sizes = [tuple(w.shape) for name, w in net.named_parameters() if name.endswith("weight")]
    assert sizes == [(9, 36), (8, 9), (4, 8)]
    assert [tuple(layer.mask.shape) for layer in models.dropouts(net).values()] == [(9,), (8,)]
    assert net(torch.rand(3, *SHAPE, generator=seeded(0))).shape == (3, 4)


@pytest.mark.parametrize("maker", [models.lenet, models.cnn, models.mlp])
@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.ReLU, nn.Tanh])
def test_networks_have_the_activation_asked_for(maker, activation):
    layers = maker(SHAPE, activation=activation).modules()
    assert any(isinstance(layer, activation) for layer in layers)


@pytest.mark.parametrize("maker", ["lenet", "cnn", "mlp"])
@pytest.mark.parametrize("shape", [(3, 6, 6), (1, 7, 6), (1, 28, 28)])
def test_networks_refuse_images_of_another_shape(maker, shape):
    net = getattr(models, maker)(SHAPE)
    way_out = rf"models\.{maker}\(x_shape=\({shape[0]}, {shape[1]}, {shape[2]}\)\)"
    message = rf"got images of shape \({shape[0]}, .*built for \(1, 6, 6\).*{way_out}"
    with pytest.raises(ValueError, match=message):
        net(torch.zeros(1, *shape))


@pytest.mark.parametrize("p", [1.0, -0.1, 1.5, float("nan")])
def test_lenet_refuses_a_dropout_rate_outside_its_range(p):
    with pytest.raises(ValueError, match=rf"rate in \[0, 1\), got {p}; 0 keeps every unit"):
        models.lenet(SHAPE, dropout=p)
