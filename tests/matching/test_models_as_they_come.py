"""Architectures that people bring: the attack runs, or one clear sentence says why it does not."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import grad

from dlgutils import Batch, attacks, invert, models, share
from dlgutils.matching.problem import objective
from dlgutils.types import Guess

vision = pytest.importorskip("torchvision.models")
X_SHAPE = (3, 32, 32)


class Rows(nn.Module):
    """A recurrent network that reads an image row by row."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(96, 16, batch_first=True)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        """Logits."""
        return self.fc(self.rnn(x.transpose(1, 2).flatten(2))[0][:, -1])


class Encoder(nn.Module):
    """A transformer that reads an image row by row."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(96, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        """Logits."""
        rows = self.embed(x.transpose(1, 2).flatten(2))
        return self.fc(self.encoder(rows).mean(1))


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.fc = nn.Linear(3072, 10), nn.Linear(10, 10), nn.Linear(10, 10)
        self.fc.weight = self.second.weight

    def forward(self, x):
        """Logits."""
        return self.fc(self.second(self.first(x.flatten(1)).sigmoid()).sigmoid())


def frozen():
    """A LeNet of which only the classifier is trained."""
    model = models.lenet(X_SHAPE, 10)
    model.body.requires_grad_(False)
    return model


def vit():
    """A small vision transformer."""
    return vision.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10)


RUNS = {
    "LSTM": Rows,
    "TransformerEncoder": Encoder,
    "ViT": vit,
    "tied": Tied,
    "frozen": frozen,
    "MobileNet-V3": lambda: vision.mobilenet_v3_small(num_classes=10),
    "ResNet-18": lambda: vision.resnet18(num_classes=10),
    "EfficientNet-B0": lambda: vision.efficientnet_b0(num_classes=10),
}
REFUSED = {
    "ResNet-18 in train mode": (RUNS["ResNet-18"], r"bn1 is a BatchNorm2d in train mode"),
    "TransformerEncoder in train mode": (Encoder, r"self_attn is a MultiheadAttention in train"),
    "MobileNet-V3 in train mode": (RUNS["MobileNet-V3"], r"BatchNorm2d in train mode"),
}


def alive(make):
    """The model in float64 and eval mode, with statistics and a head that let the image through."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = make().double().train()
        x = torch.rand(8, *X_SHAPE, dtype=torch.float64)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
        with torch.no_grad():
            model(x)
            for parameter in model.parameters():
                if not parameter.any():
                    parameter.normal_(0, 0.1)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_attack_runs_and_its_slope_is_right(name, seeded):
    """Slow: second derivatives of whole architectures, about half a minute for all."""
    model = alive(RUNS[name])
    x = torch.rand(1, *X_SHAPE, generator=seeded(0), dtype=torch.float64)
    shared = share(model, Batch(x, torch.tensor([3])))
    truth = invert(model, shared, attacks.idlg, start=x[None], steps=1)
    assert truth.loss[0, 0] < 1e-18
    result = invert(model, [shared] * 2, attacks.idlg, steps=3)
    assert result.loss.isfinite().all()
    assert result.y.flatten().tolist() == [3, 3]

    def loss(x):
        plain = replace(attacks.idlg, transform=None)
        known = Guess(y=torch.tensor([3]))
        return objective(model, plain, Guess(x), known, shared.weights, shared.gradient)

    # so short that no ReLU switches on the way, where the matching loss would jump
    step = 1e-9 * torch.randn(x.shape, generator=seeded(1), dtype=torch.float64)
    grey = torch.full_like(x, 0.5) + 0.1 * x
    by_difference = (loss(grey + step) - loss(grey - step)) / 2
    torch.testing.assert_close(
        (grad(loss)(grey) * step).sum(), by_difference, rtol=1e-3, atol=1e-13
    )


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_run_is_refused_in_one_sentence(name, seeded):
    make, message = REFUSED[name]
    batch = Batch(torch.rand(1, *X_SHAPE, generator=seeded(0)), torch.tensor([3]))
    with pytest.raises(ValueError, match=message):
        share(make().train(), batch)


def test_only_what_is_trained_is_shared(seeded):
    batch = Batch(torch.rand(1, *X_SHAPE, generator=seeded(0)), torch.tensor([3]))
    shared = share(frozen(), batch)
    assert list(shared.gradient) == ["fc.weight", "fc.bias"]
    assert "body.0.weight" in shared.weights


def test_the_classifier_of_tied_weights_is_no_other_layers(seeded):
    batch = Batch(torch.rand(1, *X_SHAPE, generator=seeded(0)), torch.tensor([3]))
    with pytest.raises(ValueError, match=r"not linear: second\.bias .*tied to another layer"):
        share(Tied(), batch).classifier  # noqa: B018
