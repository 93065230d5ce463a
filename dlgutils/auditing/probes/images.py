"""Images that a probe found, as a finding: completed to a batch, with their distance."""

from dataclasses import replace

import torch
from torch import Tensor

from dlgutils.analytic import label_counts
from dlgutils.auditing.records import Finding
from dlgutils.auditing.situation import Situation
from dlgutils.types import Batch, Tensors

UNKNOWN = -1  # the label of an image of which nothing is known
_GREY = 0.5  # what stands for an image that was not found


def with_images(
    situation: Situation,
    finding: Finding,
    told: str,
    x: Tensor,
    y: Tensor | None = None,
    masks: Tensors | None = None,
) -> Finding:
    """The finding with images, and how far their update is from the one that was sent.

    Args:
        situation: of the round.
        finding: without images.
        told: its new words.
        x: (n, channels, height, width), n at most the images of the round; the others are grey.
        y: (n,), their labels; None: what `situation.labels` says.
        masks: of dropout, by name, one an image; None: all ones.
    """
    missing = situation.images - len(x)
    x = x.to(situation.shared.like)
    if missing:
        x = torch.cat([x, x.new_full((missing, *x.shape[1:]), _GREY)])
        verb = "is" if missing == 1 else "are"
        told = f"{told} {missing} of {situation.images} images {verb} missing, and shown grey."
    named = finding.named if y is None else y
    labels = _all_labels(situation, y)
    if labels is None:
        unknown = torch.full((len(x),), UNKNOWN, device=x.device)
        return replace(finding, told=told, found=Batch(x, unknown), named=named)
    masks = masks or {}
    distance = None if missing and masks else situation.distance(x, labels, masks)
    found = Batch(x, labels)
    return replace(finding, told=told, found=found, masks=masks, named=labels, distance=distance)


def _all_labels(situation: Situation, y: Tensor | None) -> Tensor | None:
    """The labels of all images, (batch,): those found, then others that were read; or None."""
    reading = situation.labels
    if y is not None and len(y) == situation.images:
        return y
    if reading is None or y is None:
        return None if reading is None else reading.y
    labels = torch.cat([y, label_counts.without(reading.y, y)])[: situation.images]
    return labels if len(labels) == situation.images else None
