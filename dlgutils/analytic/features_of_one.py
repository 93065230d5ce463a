"""What `features.read` finds about one image, as parts of an attack."""

from torch import nn

from dlgutils import models
from dlgutils.analytic import features, labels, rank_one_fit
from dlgutils.analytic.linear_chain import Link, linear_chain
from dlgutils.analytic.masks import units_kept
from dlgutils.analytic.once import once_for_each_round
from dlgutils.analytic.rank_one import SIGNIFICANT
from dlgutils.federated.readable import NO_NOISE, require_one_step, require_sight
from dlgutils.protocol import Effect
from dlgutils.types import Guess, Shared, Tensors

_AMBIGUOUS = frozenset({Effect.REMOVES, Effect.ROUNDS})


def infer_from_features(model: nn.Module, shared: Shared) -> Guess:
    """The label of one image, and the masks before linear layers, as `features.read` finds them.

    Behind noise, pruning or rounding the label is the most likely one, and the mask that before the
    lowest linear layer.

    Raises ValueError for several images, and as `features.read` and `rank_one_fit.fit` do.
    """
    if _is_estimated(shared):
        return _estimated(model, shared)[0]
    found = _read_one(model, shared)
    return Guess(y=found.y, masks=found.masks)


def lowest_features(model: nn.Module, shared: Shared) -> Tensors:
    """What entered the lowest linear layer that `features.read` can read, {weight: (1, n_in)}.

    Behind noise, pruning or rounding it is estimated (`rank_one_fit.fit`), and NaN where nothing is
    left of it.

    Raises ValueError as `infer_from_features` does.
    """
    if _is_estimated(shared):
        return _estimated(model, shared)[1]
    lowest = _read_one(model, shared).layers[-1]
    return {f"{lowest.name}.weight": lowest.inputs}


def feature_error(model: nn.Module, shared: Shared) -> float:
    """The standard error of each number of `lowest_features`: of noise and of quantisation.

    With it, `weighing_noise(attacks.features, feature_error(model, shared))` weighs the features
    against what is known of photographs. 0 without both. Raises ValueError as `lowest_features`.
    """
    if not _is_estimated(shared):
        return 0.0
    return _fit_lowest(model, shared)[1].error


def _is_estimated(shared: Shared) -> bool:
    """Whether a defence of this round leaves no exact features."""
    _require_one(shared)
    return any(defense.effect not in NO_NOISE for defense in shared.protocol.defenses)


def _estimated(model: nn.Module, shared: Shared) -> tuple[Guess, Tensors]:
    """The likely label and mask, and the likely input of the lowest linear layer with a bias."""
    link, found = _fit_lowest(model, shared)
    masks = _mask(model, shared, link, found) if link.dropout else {}
    inputs = {link.weight: found.inputs[None].to(shared.like)}
    return Guess(y=labels.most_likely(shared), masks=masks), inputs


@once_for_each_round
def _fit_lowest(model: nn.Module, shared: Shared) -> tuple[Link, rank_one_fit.Fit]:
    """The lowest linear layer whose weight and bias were shared, and what is left of it."""
    require_one_step(shared.protocol)
    require_sight(shared.protocol, rank_one_fit.READABLE)
    links, _ = linear_chain(model, shared.x_shape)
    sent = [k for k in links if k.weight in shared.gradient and k.bias in shared.gradient]
    if not sent:
        raise ValueError(
            "no linear layer of this round has a bias whose gradient was shared, so that the scale "
            "of its input is not known behind its defences; match the gradient with attacks.idlg"
        )
    return sent[-1], rank_one_fit.fit(shared, sent[-1].weight, sent[-1].bias)


# The standard error of a number of u is the noise over ‖δ‖, as in `rank_one.project`.
def _mask(model: nn.Module, shared: Shared, link: Link, found: rank_one_fit.Fit) -> Tensors:
    """The mask of dropout before a linear layer, {name: (1, *mask)}: units that show were kept."""
    if any(defense.effect in _AMBIGUOUS for defense in shared.protocol.defenses):
        raise ValueError(
            f"{link.dropout} cannot be read: a defence of this round makes zeros, too; optimise "
            "the mask together with the image: attacks.dia"
        )
    layer = models.dropouts(model)[link.dropout]
    kept = units_kept(found.inputs.abs()[None] > SIGNIFICANT * found.error, layer)
    return {link.dropout: kept.to(shared.like) / (1 - layer.p)}


@once_for_each_round
def _read_one(model: nn.Module, shared: Shared) -> features.Features:
    _require_one(shared)
    return features.read(model, shared)


def _require_one(shared: Shared) -> None:
    batch = shared.x_shape[0]
    if batch != 1:
        raise ValueError(
            f"matching features needs one image, got a batch of {batch}; take it apart: "
            "invert(model, analytic.features.split(model, shared), attacks.features)"
        )
