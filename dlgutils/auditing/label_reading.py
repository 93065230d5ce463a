"""What the classifier's gradient says about the labels of a round, and how sure that is."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dlgutils.analytic import label_counts, labels, unknown_scale, without_bias
from dlgutils.analytic.classifier import classifier_of
from dlgutils.federated.consistency import without_scale_and_decay
from dlgutils.federated.readable import NO_NOISE, require_all_seen
from dlgutils.protocol import Effect
from dlgutils.types import Shared

_ABOVE_NOISE = 1.2  # times what noise alone makes of the largest singular value
_KEEP_SCALE = frozenset({Effect.ADDS, Effect.SHORTENS, Effect.REMOVES, Effect.ROUNDS})
_COUNTED = 0.5  # of an image: the most that noise may move a count


@dataclass(frozen=True)
class LabelReading:
    """Labels of a round as its server reads them."""

    y: Tensor  # (batch,) int64, in no particular order
    told: str  # how they were read
    certificate: str  # what says that they are right; "": nothing does
    read_from: tuple[str, ...]
    visible: bool = True  # False: noise alone would look like this
    certain: bool = False  # whether the certificate is for all of them


def read_labels(shared: Shared) -> LabelReading:
    """The labels of one image or of a batch, certain or likely.

    Raises ValueError for losses other than plain cross-entropy, for images that no step came to,
    and where the classifier's gradient says nothing.
    """
    if not shared.protocol.is_cross_entropy:
        raise ValueError(
            "the rules of labels are those of cross-entropy of class ids, and the loss or the "
            "targets of this round are others"
        )
    require_all_seen(shared)
    return _of_batch(shared) if shared.x_shape[0] > 1 else _of_one(shared)


def _of_one(shared: Shared) -> LabelReading:
    if all(defense.effect in NO_NOISE for defense in shared.protocol.defenses):
        try:
            return _by_signs(shared)
        except ValueError:
            if shared.protocol.exact and shared.protocol.steps == 1:
                raise
    weight, bias = shared.classifier
    read_from = (weight, bias) if bias else (weight,)
    stands_out = _above_noise(shared)
    told = "The label is where the product δ uᵀ nearest to the classifier's gradient is smallest"
    if not shared.protocol.sigma:
        return LabelReading(labels.most_likely(shared), told, "", read_from)
    told += f"; that product is {stands_out:.1f} times as long as noise alone would make it"
    visible = stands_out > _ABOVE_NOISE
    return LabelReading(labels.most_likely(shared), told, "", read_from, visible)


def _by_signs(shared: Shared) -> LabelReading:
    y = labels.read(shared)
    weight, bias = shared.last_layer
    name = bias if bias in shared.gradient else weight
    told = f"The label is where the gradient of {name} is negative"
    if without_bias.is_assumed(shared):
        told += ", if what entered that layer is positive: it has no bias to tell two classes apart"
        return LabelReading(y, told, "", (name,))
    if shared.protocol.steps > 1:
        return LabelReading(y, told, "", (name,))
    certificate = f"one negative number of {shared.classes}, and all of them sum to zero"
    return LabelReading(y, told, certificate, (name,), certain=True)


def _above_noise(shared: Shared) -> float:
    """The classifier's gradient, its largest singular value, over that of noise alone.

    A matrix (m, n) of noise σ has about σ (√m + √n) for that.
    """
    weight, bias = shared.classifier
    g = shared.gradient[weight].double()
    joined = torch.cat([g, shared.gradient[bias].double()[:, None]], 1) if bias else g
    edge = shared.protocol.sigma * sum(math.sqrt(side) for side in joined.shape)
    return float(torch.linalg.matrix_norm(joined, 2)) / edge if edge else math.inf


def _of_batch(shared: Shared) -> LabelReading:
    weight, bias = shared.classifier
    images, protocol = shared.x_shape[0], shared.protocol
    if bias is None:
        raise ValueError(
            f"{weight} has no bias, whose gradient says how many images of each class there are"
        )
    plain = without_scale_and_decay(shared)
    told = f"The labels are counted by the sum of δ in the gradient of {bias}"
    stated = states_scale(shared)
    factor = _factor(plain) if stated else _guessed_factor(plain, images)
    told += "" if stated else ", multiplied by a number that is guessed from it"
    delta_sum = plain.gradient[bias].double() / factor
    counts = label_counts.of_untrained(delta_sum, plain.weights[bias].double(), images)
    y = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)[:images]
    if not protocol.exact:
        return _behind_defenses(y, told, bias, protocol.sigma / abs(factor))
    if protocol.steps > 1 or not stated:
        told += ", as if all steps saw the same weights" if protocol.steps > 1 else ""
        return LabelReading(y, told, "", (bias,))
    least = int(label_counts.lower_bounds(delta_sum).sum())
    told += ", the others as if the network were untrained" if least < images else ""
    certificate = f"{least} of {images} are certain: probabilities are not negative"
    certificate = certificate if least else ""
    return LabelReading(y, told, certificate, (bias,), certain=least == images)


def states_scale(shared: Shared) -> bool:
    """Whether the server knows by what the gradient of a batch was multiplied."""
    protocol = shared.protocol
    keeps = all(defense.effect in _KEEP_SCALE for defense in protocol.defenses)
    return protocol.scale is not None and not protocol.example_norm and keeps


def _factor(shared: Shared) -> float:
    """By what δ, summed over the images, was multiplied."""
    images, protocol = shared.x_shape[0], shared.protocol
    return protocol.scale / (1 if protocol.sums else images)


def _guessed_factor(shared: Shared, images: int) -> float:
    """The same, guessed: classes that no image has show the probabilities of the bias alone.

    Clipping leaves the sign of the update; a scale of which nothing is known may not.
    """
    if shared.protocol.scale is None:
        return unknown_scale.guesses(classifier_of(shared), images)[0]
    _, bias = shared.classifier
    gradient = shared.gradient[bias].double()
    others = gradient > 0
    if not others.any():
        raise ValueError(
            "every class has images, so nothing says by what the update was multiplied, and labels "
            "are counted in units of that"
        )
    expected = images * shared.weights[bias].double().softmax(0)
    return float((gradient / expected)[others].median())


def _behind_defenses(y: Tensor, told: str, bias: str, error: float) -> LabelReading:
    """The counts where each has an error, in images, of what noise adds."""
    if error:
        told += f", to which noise adds {error:.2g} images"
    return LabelReading(y, told, "", (bias,), error <= _COUNTED)
