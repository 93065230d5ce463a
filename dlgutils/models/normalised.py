"""A model that normalises its images itself, so that they stay in [0, 1] outside."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalised(nn.Module):
    """A model behind (x − mean) / std of each channel; make it with `normalised`."""

    def __init__(self, model: nn.Module, mean: Tensor, std: Tensor):
        super().__init__()
        self.normalised = model
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """What the model returns for images (batch, channels, height, width) in [0, 1]."""
        return self.normalised((x - self.mean) / self.std)


def normalised(
    model: nn.Module, mean: float | Sequence[float], std: float | Sequence[float]
) -> Normalised:
    """The model with the normalisation inside: it takes images in [0, 1], its gradient is the same.

    The model is not copied. Its parameters are named as before, with a prefix that `invert` and the
    readings recognise. So `share` and `invert` work with images in [0, 1] instead of those after
    `torchvision.transforms.Normalize(mean, std)`.

    model: takes normalised images.
    mean, std: as in `Normalize`, one number for each channel, or one for all.

    Raises ValueError for another number of means than of standard deviations, and for a standard
    deviation that is not positive.
    """
    like = next(model.parameters())
    means, stds = (torch.as_tensor(t, dtype=like.dtype).reshape(-1, 1, 1) for t in (mean, std))
    if means.shape != stds.shape:
        raise ValueError(
            f"there are {len(means)} means and {len(stds)} standard deviations; "
            "pass one of each for every channel"
        )
    if not (stds > 0).all():
        raise ValueError(
            f"standard deviations are positive, got {std}; pass those of Normalize(mean, std)"
        )
    return Normalised(model, means.to(like), stds.to(like))
