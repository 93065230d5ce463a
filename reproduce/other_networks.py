"""Networks that other people wrote, for the fruits: Flower's quick start, ResNet-18 and VGG-11."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu


class QuickStart(nn.Module):
    """The network of Flower's quick start for PyTorch, (3, 32, 32) -> classes.

    Source: Flower's documentation; it is the network of PyTorch's tutorial on CIFAR-10.
    """

    def __init__(self, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (batch, classes), of images (batch, 3, 32, 32)."""
        x = max_pool2d(relu(self.conv1(x)), 2)
        x = max_pool2d(relu(self.conv2(x)), 2)
        x = relu(self.fc1(x.flatten(1)))
        x = relu(self.fc2(x))
        return self.fc3(x)


def resnet18(classes: int) -> nn.Module:
    """torchvision's ResNet-18 (He et al. 2016, arXiv:1512.03385), 512 features."""
    from torchvision.models import resnet18 as build

    return build(num_classes=classes)


def vgg11(classes: int) -> nn.Module:
    """torchvision's VGG-11 (Simonyan & Zisserman 2015, arXiv:1409.1556), without its dropout.

    In eval mode, its dropout does nothing; here it does nothing in training either.
    """
    from torchvision.models import vgg11 as build

    return build(num_classes=classes, dropout=0.0)


OTHERS: dict[str, Callable[[int], nn.Module]] = {
    "Flower quick start": QuickStart,
    "ResNet-18": resnet18,
    "VGG-11": vgg11,
}
"""A function for each network by name: classes -> network."""
