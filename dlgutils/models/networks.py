"""The networks under attack: two small convolutional ones and a fully connected one."""

import itertools
import math

from torch import Tensor, nn

from dlgutils.models.dropout import Dropout


class LeNet(nn.Module):
    """The small sigmoid network that DLG and iDLG attack; make it with `lenet`."""

    def __init__(
        self,
        x_shape: tuple[int, int, int],
        classes: int,
        dropout: float,
        activation: type[nn.Module],
    ):
        super().__init__()
        channels, height, width = x_shape
        features = 12 * math.ceil(height / 4) * math.ceil(width / 4)
        self.x_shape = tuple(x_shape)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 12, 5, stride=2, padding=2),
            activation(),
            nn.Conv2d(12, 12, 5, stride=2, padding=2),
            activation(),
            nn.Conv2d(12, 12, 5, stride=1, padding=2),
            activation(),
        )
        self.dropout = Dropout(dropout, (features,))
        self.fc = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (batch, classes), of images (batch, *x_shape)."""
        _check_shape(x, self.x_shape, "lenet")
        features = self.body(x).flatten(1)
        return self.fc(self.dropout(features))


class CNN(nn.Module):
    """A small network as people write it: pooling, two linear layers; make it with `cnn`."""

    def __init__(
        self,
        x_shape: tuple[int, int, int],
        hidden: int,
        classes: int,
        dropout: float,
        activation: type[nn.Module],
    ):
        super().__init__()
        channels, height, width = x_shape
        features = 64 * (height // 4) * (width // 4)
        self.x_shape = tuple(x_shape)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            activation(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            activation(),
            nn.MaxPool2d(2),
        )
        self.hidden = nn.Linear(features, hidden)
        self.activation = activation()
        self.dropout = Dropout(dropout, (hidden,))
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (batch, classes), of images (batch, *x_shape)."""
        _check_shape(x, self.x_shape, "cnn")
        features = self.body(x).flatten(1)
        hidden = self.activation(self.hidden(features))
        return self.fc(self.dropout(hidden))


class MLP(nn.Module):
    """A fully connected network; make it with `mlp`."""

    def __init__(
        self,
        x_shape: tuple[int, int, int],
        hidden: tuple[int, ...],
        classes: int,
        dropout: float,
        activation: type[nn.Module],
    ):
        super().__init__()
        self.x_shape = tuple(x_shape)
        widths = (math.prod(x_shape), *hidden)
        layers = []
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Linear(n_in, n_out), activation(), Dropout(dropout, (n_out,))]
        self.body = nn.Sequential(*layers)
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (batch, classes), of images (batch, *x_shape)."""
        _check_shape(x, self.x_shape, "mlp")
        return self.fc(self.body(x.flatten(1)))


def lenet(
    x_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 12,
    *,
    dropout: float = 0.0,
    activation: type[nn.Module] = nn.Sigmoid,
) -> LeNet:
    """The LeNet of DLG's public code: three 5×5 convolutions of 12 channels, one linear layer.

    The strides are 2, 2 and 1, so (1, 28, 28) images have 588 features before the linear layer, and
    (3, 32, 32) images 768. Source: Zhu, Liu & Han 2019, arXiv:1906.08935.

    Args:
        x_shape: (channels, height, width) of one image, of any size.
        classes: how many logits it returns.
        dropout: rate of Zheng's extra layer before the linear one (arXiv:2108.11106); 0: none.
        activation: a class of layers without arguments, such as `nn.ReLU`.

    Raises ValueError for a dropout rate outside [0, 1).
    """
    return LeNet(x_shape, classes, dropout, activation)


def cnn(
    x_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 12,
    *,
    hidden: int = 128,
    dropout: float = 0.0,
    activation: type[nn.Module] = nn.ReLU,
) -> CNN:
    """Two 3×3 convolutions of 32 and 64 channels, each with max-pooling, and two linear layers.

    Images of (3, 32, 32) have 4 096 features before the first linear layer.

    Args:
        x_shape: (channels, height, width) of one image, at least 4 pixels high and wide.
        classes: how many logits it returns.
        hidden: the number of units between the linear layers.
        dropout: rate of the dropout before the classifier; 0: none.
        activation: a class of layers without arguments, such as `nn.ReLU`.

    Raises ValueError for a dropout rate outside [0, 1).
    """
    return CNN(x_shape, hidden, classes, dropout, activation)


def mlp(
    x_shape: tuple[int, int, int] = (3, 32, 32),
    hidden: tuple[int, ...] = (256,),
    classes: int = 12,
    *,
    dropout: float = 0.0,
    activation: type[nn.Module] = nn.Sigmoid,
) -> MLP:
    """A fully connected network, whose first layer leaks its input exactly.

    Args:
        x_shape: (channels, height, width) of one image, of any size.
        hidden: the widths of the hidden layers.
        classes: how many logits it returns.
        dropout: rate of the dropout after each hidden layer; 0: none.
        activation: a class of layers without arguments, such as `nn.ReLU`.

    Raises ValueError for a dropout rate outside [0, 1).
    """
    return MLP(x_shape, hidden, classes, dropout, activation)


def _check_shape(x: Tensor, x_shape: tuple[int, ...], maker: str) -> None:
    got = tuple(x.shape[1:])
    if got != x_shape:
        last = got[-1:] + got[:-1] == x_shape
        remedy = f"build one for them: models.{maker}(x_shape={got})"
        raise ValueError(
            f"got images of shape {got}, this network was built for {x_shape}; "
            f"{'channels come first: x.permute(0, 3, 1, 2)' if last else remedy}"
        )
