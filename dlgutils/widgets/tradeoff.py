"""Accuracy against leakage: a point for each defence, to walk along."""

import zlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from traitlets import Bytes, Int, List

from dlgutils.metrics import Rate
from dlgutils.widgets.base import Widget, as_bytes, front_end, synced


class Tradeoff(Widget):
    """Defences by what they cost and what they leave; make it with `tradeoff`."""

    _esm = front_end("tradeoff")
    # of the defences, in the order in which the slider visits them
    names = synced(List())
    # of each defence, in [0, 1]
    accuracy = synced(List())
    # names of the situations between which a selector switches
    scenes = synced(List())
    # [scene][defence]: [share, low, high] of what leaked, in [0, 1]
    leakage = synced(List())
    # [scene][defence]: what is shown, in words
    captions = synced(List())
    # [height, width, channels] of a row of pictures
    shape = synced(List())
    # [scene]: the rows of pictures of all defences, one after the other, compressed (zlib)
    frames = synced(List())
    # the row of the client's own pictures
    truth = synced(Bytes())
    # which situation and which defence are shown
    scene = synced(Int(0))
    point = synced(Int(0))

    def __repr__(self) -> str:
        """What is printed where widgets cannot be shown."""
        return self.captions[self.scene][self.point]


def tradeoff(
    accuracy: Mapping[str, float],
    identified: Mapping[str, Sequence[Rate]],
    pictures: Mapping[str, Tensor],
    truth: Tensor,
) -> Tradeoff:
    """A plot of test accuracy across and identified images up, and pictures beside each point.

    Args:
        accuracy: of the network trained under each defence, in [0, 1], by the defence's name.
        identified: how many of the client's images an attacker identifies under each defence, in
            the same order, with an interval; by the name of a situation, such as "fresh network".
            A selector switches between them.
        pictures: what the attacker found under each defence, (defences, images, channels, height,
            width) in [0, 1], by the same names.
        truth: the client's images, (images, channels, height, width).

    Raises ValueError for no situations, and for names or numbers that do not fit each other.
    """
    rates = {scene: len(each) for scene, each in identified.items()}
    rows = {scene: len(each) for scene, each in pictures.items()}
    wanted = dict.fromkeys(rates, len(accuracy))
    if not wanted or rates != wanted or rows != wanted:
        raise ValueError(
            f"each situation has a rate and a row of pictures for each of {len(accuracy)} "
            f"defences, got rates {rates} and rows {rows}"
        )
    strip = _side_by_side(truth[None])
    channels, height, width = strip.shape[1:]
    return Tradeoff(
        names=list(accuracy),
        accuracy=list(accuracy.values()),
        scenes=list(identified),
        leakage=[_shares(rates) for rates in identified.values()],
        captions=[_captions(scene, accuracy, rates) for scene, rates in identified.items()],
        shape=[height, width, channels],
        frames=[zlib.compress(as_bytes(_side_by_side(row)), 9) for row in pictures.values()],
        truth=as_bytes(strip),
    )


def _side_by_side(pictures: Tensor) -> Tensor:
    """Rows of pictures, (rows, images, channels, h, w), as one picture each: (rows, …, h, n·w)."""
    return torch.cat(pictures.unbind(1), dim=-1)


def _shares(rates: Sequence[Rate]) -> list[list[float]]:
    return [[rate.successes / rate.total, rate.low, rate.high] for rate in rates]


def _captions(scene: str, accuracy: Mapping[str, float], rates: Sequence[Rate]) -> list[str]:
    captions = []
    for (name, share), rate in zip(accuracy.items(), rates, strict=True):
        captions.append(f"{name}, {scene}: accuracy {share:.0%}, identified {rate}")
    return captions
