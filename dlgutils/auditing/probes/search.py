"""Searches: images whose features, or whose update, are those that were sent."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from dlgutils import attacks, models
from dlgutils.analytic import features, masks
from dlgutils.analytic.features_of_one import feature_error
from dlgutils.auditing.probes.images import UNKNOWN, with_images
from dlgutils.auditing.records import Finding
from dlgutils.auditing.situation import Situation
from dlgutils.auditing.words import counted, percent
from dlgutils.matching import invert, weighing_noise
from dlgutils.matching.descent import Watch
from dlgutils.protocol import takes_class_ids
from dlgutils.types import Attack, Batch, Guess, Result, Shared, Tensors

_EVALUATIONS = 300
_UNTRACED = 999  # evaluations · (runs + 12) up to which `invert` makes no program first
_PROGRAM = 80  # evaluations that take as long as a program, and some of its own evaluations
_PILOT = 2  # evaluations that are timed
_AT_ONCE = 8  # images of a batch that was taken apart: what bounds the memory
_MATCHED = 1e-6  # a distance at which a second search is not worth its time
_OF_FEATURES, _OF_FIRST, _OF_LAST = 0.35, 0.6, 0.8  # shares of the time that is left


def feature_matching(situation: Situation) -> Finding:
    """Images whose features are those that were read. Raises ValueError where none can be read."""
    model, shared = situation.model, situation.shared
    rounds, attack = [shared], attacks.features
    if situation.images > 1:
        rounds = features.split(model, shared, situation.separation.reading)
    else:
        error = feature_error(model, shared)
        attack = weighing_noise(attack, error) if error else attack
    result = _search(situation, rounds, attack, _OF_FEATURES)
    x, y = result.x[:, 0], result.y[:, 0]
    told = f"Images with the features that were read, {_evaluations(result)}."
    weight, *_ = shared.classifier
    finding = Finding("feature matching", "leak", told, read_from=(weight,))
    known = _known(situation)
    return _measured(situation, with_images(situation, finding, told, x, y, known.masks))


def gradient_matching(situation: Situation) -> Finding:
    """Images whose update is that which was sent, by the searches that suit the round."""
    best = None
    recipes = _recipes(situation)
    for k, (attack, known) in enumerate(recipes):
        last = k == len(recipes) - 1
        result = _search(situation, [situation.shared], attack, _OF_LAST if last else _OF_FIRST)
        finding = _found(situation, result, known)
        if best is None or finding.distance < best.distance:
            best = finding
        if situation.clock.interrupted or not situation.clock.left or best.distance < _MATCHED:
            break
    return _measured(situation, best)


def _recipes(situation: Situation) -> list[tuple[Attack, Guess]]:
    """Attacks, the best first, and what each takes as known.

    Where labels are not certain, the second search looks for them, too.
    """
    known, protocol = _known(situation), situation.shared.protocol
    hidden = bool(models.active_dropouts(situation.model)) and not known.masks
    by_labels = situation.weighed(knowing(attacks.idlg, known))
    if hidden and protocol.steps == 1 and known.y is not None:
        return [(knowing(attacks.dia, known), known), (by_labels, known)]
    masks_alone = Guess(masks=known.masks)
    free = (situation.weighed(knowing(attacks.dlg, masks_alone)), masks_alone)
    if known.y is None:
        return [free]
    if situation.apart is None and not situation.labels.certain:
        return [(by_labels, known), free]
    others = [] if protocol.sigma else [(knowing(attacks.inverting, known), known)]
    return [(by_labels, known), *others]


def knowing(attack: Attack, known: Guess) -> Attack:
    """The attack by somebody who knows so much, and infers nothing."""

    def infer(_: nn.Module, __: Shared) -> Guess:
        return known

    return replace(attack, infer=infer)


def _known(situation: Situation) -> Guess:
    """Labels and masks, as far as they were read, of the same order."""
    reading = situation.apart
    if reading is not None:
        return Guess(y=reading.y, masks=reading.masks)
    labels = situation.labels
    y = None if labels is None else labels.y
    return Guess(y=y, masks=_read_masks(situation))


def _read_masks(situation: Situation) -> Tensors:
    """The masks of one image, where they can be read."""
    if situation.images > 1 or not models.active_dropouts(situation.model):
        return {}
    try:
        return masks.read(situation.model, situation.shared).masks
    except ValueError:
        return {}


def _search(situation: Situation, rounds: Sequence[Shared], attack: Attack, share: float) -> Result:
    """One search, which ends with a share of the time that is left, or with Ctrl-C.

    A program makes evaluations faster, but takes long itself, and is made only where there is time.
    """
    until = situation.clock.part(share)
    untraced = _UNTRACED // (min(len(rounds), _AT_ONCE) + 12)

    def run(steps: int, watch: Watch | None = None) -> Result:
        seeds = range(situation.seed, situation.seed + len(rounds))
        return invert(
            situation.model,
            rounds,
            attack,
            seeds=seeds,
            steps=steps,
            frames=1,
            chunk=_AT_ONCE,
            watch=watch,
        )

    steps = min(_EVALUATIONS, untraced)
    result = run(_PILOT)
    if result.complete and until.left:
        if until.left > _PROGRAM * until.spent / _PILOT:
            steps = _EVALUATIONS
        result = run(steps, lambda *_: not until.left)
    if not result.complete and until.left:
        situation.clock.interrupted = True
    return result


def _found(situation: Situation, result: Result, known: Guess) -> Finding:
    """What gradient matching found, measured; where only the search knows its targets, by these."""
    told = f"{result.attack}, {_evaluations(result)}."
    read_from = tuple(situation.shared.gradient)
    finding = Finding("gradient matching", "leak", told, read_from=read_from)
    x, y = result.x[0], result.y[0]
    if not situation.shared.protocol.is_cross_entropy:
        is_class = takes_class_ids(situation.shared.protocol.loss)
        labels = y if is_class else torch.full((len(x),), UNKNOWN)
        named, distance = (y if is_class else None), float(result.best_loss)
        return replace(finding, found=Batch(x, labels), named=named, distance=distance)
    return with_images(situation, finding, told, x, y, known.masks)


def _measured(situation: Situation, finding: Finding) -> Finding:
    """The finding with its distance in words. Raises ValueError for one that is no number."""
    distance, protocol = finding.distance, situation.shared.protocol
    if distance is None:
        return finding
    if not math.isfinite(distance):
        raise ValueError("the search found nothing whose update is finite")
    off = percent(math.sqrt(abs(distance)))
    told = f"The update of these images differs from the one that was sent by {off} of its length"
    if protocol.sigma and not protocol.clips_noise:
        numbers = sum(g.numel() for g in situation.shared.gradient.values())
        told = (
            f"Their update is off by {math.sqrt(2 * abs(distance) / numbers):.2f} times the noise; "
            "that of the true images is by about 1"
        )
    return replace(finding, told=f"{finding.told} {told}.")


def _evaluations(result: Result) -> str:
    return counted(int((~result.loss.isnan()).sum(1).max()), "evaluation")
