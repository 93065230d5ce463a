"""What the runs on dropout have in common: their images, rounds and scores, and where they run."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Generator, Tensor

from dlgutils import Batch, Result, data, federated, metrics, models
from reproduce.inputs import INITIALISERS, all_images, one_image

COUNT = 20
"""Images of each set."""
SETS = ("fruits", "photos")
"""The fruits were not used when the attacks were made; twelve of the photographs were."""
AXES = {"init": list(INITIALISERS), "images": SETS, "image": range(COUNT)}
"""The axes that one `invert` can take together."""


@cache
def secrets(images: str) -> Batch:
    """Twenty images of a set, with labels 0 … 11.

    images: "photos", of which the first twelve are the wide crops, or "fruits", of which twenty are
    drawn from the first twelve classes.
    """
    everything = all_images(images)
    if images == "photos":
        return Batch(everything.x[:COUNT], everything.y[:COUNT])
    classes = len(data.class_names("photos"))
    known = (everything.y < classes).nonzero()[:, 0]
    order = torch.randperm(len(known), generator=Generator().manual_seed(0))
    drawn = known[order[:COUNT]]
    return Batch(everything.x[drawn], everything.y[drawn])


def honest_round(cell: Mapping[str, Any], device: str = "cpu") -> federated.Round:
    """The round of one cell, whose image's number is the seed; weights and mask are drawn on a CPU.

    cell: {"image", "images", "init", "rate"}.
    """
    generator = Generator().manual_seed(cell["image"])
    drawn = one_image(secrets(cell["images"]), cell["image"])
    secret = Batch(drawn.x.to(device), drawn.y.to(device))
    model = models.lenet(dropout=cell["rate"]).to(device)
    return federated.honest(model, secret, generator, init=INITIALISERS[cell["init"]])


def scores(x: Tensor, cell: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of one reconstruction, (1, channels, height, width), clipped to [0, 1].

    Identified: nearer to its own image than to all others of its set, 24 photographs or 1 393
    fruits.
    """
    shown = x.cpu().nan_to_num().clamp(0, 1)
    truth = one_image(secrets(cell["images"]), cell["image"]).x
    everything = all_images(cell["images"]).x
    return {
        "mse": metrics.mse(shown, truth).item(),
        "ssim": metrics.ssim(shown, truth).item(),
        "identified": metrics.identified(shown, truth, everything).item(),
    }


def check_complete(result: Result) -> Result:
    """The result itself. Raises KeyboardInterrupt for an attack that Ctrl-C ended early."""
    if not result.complete:
        raise KeyboardInterrupt("Ctrl-C during a chunk, which is not kept; the same call goes on")
    return result


def prepare(device: str) -> None:
    """One thread a process, and on a GPU all digits of single precision."""
    torch.set_num_threads(1)
    if device == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def chunk_size(device: str) -> int:
    """How many cells one process takes at a time: a GPU takes all that can run together."""
    together = len(INITIALISERS) * len(SETS) * COUNT
    return together if device == "cuda" else 10
