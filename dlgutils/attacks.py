"""Recipes. An attack is a value; a variant is a changed copy: `replace(idlg, distance=...)`.

The parts come from `starts`, `objectives`, `optimizers` and `parts` of `matching`, and from what
`analytic.labels` and `analytic.masks` read off the gradient; see `types.Attack` for what each must
be.
"""

from dataclasses import replace

from torch import nn

from dlgutils import coordinates
from dlgutils.analytic import labels, masks
from dlgutils.analytic.features_of_one import infer_from_features, lowest_features
from dlgutils.matching import objectives, optimizers, starts
from dlgutils.matching.layer_inputs import linear_inputs
from dlgutils.matching.parts import (
    fresh_masks,
    label_for_each_mask,
    scale_masks,
    smooth,
    smooth_with_rates,
    twenty_masks,
)
from dlgutils.types import Attack, Comparison, Guess, Shared


def infer_label(_: nn.Module, shared: Shared) -> Guess:
    """The label of one image: `labels.read`, or behind defences `labels.most_likely`."""
    return Guess(y=labels.read(shared) if shared.protocol.exact else labels.most_likely(shared))


def reading_masks(attack: Attack) -> Attack:
    """The same attack with the masks known: `masks.read` takes them off the gradient first.

    `decode` sees them as it sees all masks, so DIA would scale them again: take `inverting`.
    """

    def infer(model: nn.Module, shared: Shared) -> Guess:
        guess = attack.infer(model, shared)
        return guess._replace(masks={**guess.masks, **masks.read(model, shared).masks})

    return replace(attack, name=f"{attack.name}, mask read", infer=infer)


dlg = Attack(
    name="DLG",
    start=starts.with_logits(starts.grey),
    distance=objectives.relative_squared_error,
    optimizer=optimizers.lbfgs(),
    transform=coordinates.whitened,
)
"""Deep Leakage from Gradients: image and label are optimised together.

Source: Zhu, Liu & Han 2019, arXiv:1906.08935. The idea is theirs; the optimiser is the robust one
of this library: mid-grey start, line search without absolute tolerances, whitened coordinates;
the loss is in units of ‖g‖², so that runs can be compared. For restarts: `replace(dlg,
start=starts.with_logits(starts.pink))`. In a batch of several images, equal guesses would have
equal slopes and stay equal, so N(0, 0.01²) noise from the generator makes them differ: a batch
needs a generator, one image does not.
"""

idlg = replace(dlg, name="iDLG", start=starts.grey, infer=infer_label)
"""iDLG: the label is read off the gradient first, then the image is optimised.

Source: Zhao, Mopuri & Bilen 2020, arXiv:2001.02610.
"""

dlg_reference = replace(
    dlg,
    name="DLG, reference loop",
    start=starts.noise_with_logits,
    transform=None,
    distance=objectives.squared_error,
    optimizer=optimizers.lbfgs(line_search=False),
)
"""DLG as its public code runs it: N(0, 1) start, unscaled loss, L-BFGS with lr 1, no line search.

It may diverge.
"""

idlg_reference = replace(
    idlg,
    name="iDLG, reference loop",
    start=starts.noise,
    transform=None,
    distance=objectives.squared_error,
    optimizer=optimizers.lbfgs(line_search=False),
)
"""iDLG as its public code runs it, with the same optimiser as `dlg_reference`."""

idlg_fresh_masks = replace(
    idlg, name="iDLG, fresh masks", draw=fresh_masks, optimizer=optimizers.adam(lr=0.1)
)
"""iDLG against a network with dropout, by an attacker who drops units too, anew each time.

The objective is another function at every evaluation, so a line search would compare values of
different functions; hence Adam, which was made for noisy slopes. Without dropout it finds the image
too, only more slowly.
"""

idlg_mean_over_masks = replace(
    idlg_fresh_masks,
    name="iDLG, mean over masks",
    draw=twenty_masks,
    decode=label_for_each_mask,
)
"""The same attacker, who matches the mean of the gradients under twenty fresh masks.

The mean is steadier than the gradient under one mask: the expectation over transformation by which
Athalye et al. 2018, arXiv:1802.00420, attack randomised defences. For one image.
"""

mask_reading = reading_masks(idlg)
"""iDLG by an attacker who reads the dropout mask off the zero columns of the gradient first."""

features = replace(
    idlg,
    name="Features",
    infer=infer_from_features,
    compare=Comparison(linear_inputs, lowest_features),
)
"""What entered the lowest linear layer is read off the gradient exactly, and matched.

The part of the network below that layer is all that has to be undone, and first derivatives
suffice: there is no gradient of a gradient. Neither training nor saturation of the layers above
makes it harder. For one image; a batch is taken apart first, by `features.split`. Where the
classifier is the only linear layer, it is the classifier's input that is matched. A prior, as in
`replace(features, prior=smooth)`, helps where fewer features are on than there are pixels.
"""

inverting = replace(
    idlg,
    name="Inverting Gradients",
    start=starts.uniform,
    distance=objectives.cosine_distance,
    optimizer=optimizers.adam(lr=0.1, signed=True, box=(0, 1), patience=800),
    transform=None,
    prior=smooth,
)
"""Angle instead of distance, total variation, the box [0, 1], and Adam on the signs of the slope.

Source: Geiping et al. 2020, arXiv:2003.14053, with the constants and the step rule that the public
code of DIA gives it. Against dropout it assumes a mask of ones. Differences: the label is read, and
pixels are in [0, 1], where theirs are normalised, so that a step is about four times as long here.
"""

dia = replace(
    inverting,
    name="DIA",
    start=starts.uniform_with_masks,
    decode=scale_masks,
    prior=smooth_with_rates,
)
"""The Dropout Inversion Attack: image and masks are optimised together.

Source: Scheliga, Mäder & Seeland 2023, arXiv:2208.06163. Masks start at random, with the model's
rate, stay in [0, 1], and are pulled towards the right mean by 1e-4 of their deviation. For dropout
that cannot be read, inside a network's body; where `mask_reading` works, it needs less. Differences
to the public code: those of `inverting`; pixels start uniform in [0, 1], where there they are
normalised and start as N(0, 1) noise, so a step here is about four times as long; the signs are
taken of the masks' slope too; the deviation is that of the scaled masks. `reproduce/dia.py` follows
the public code, and gets farther.
"""
