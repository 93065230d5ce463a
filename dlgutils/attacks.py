"""Recipes. An attack is a value; a variant is a changed copy: `replace(idlg, distance=...)`."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from dlgutils import coordinates, labels, masks, matching, models, optimizers
from dlgutils.types import Attack, Candidate, Shared, Tensors

Start = Callable[[nn.Module, Shared, Generator | None], Tensors]
"""(model, shared, generator) -> the first guess of what is optimised."""


def grey(_: nn.Module, shared: Shared, generator: Generator | None) -> Tensors:
    """Start from mid-grey, 0.5 everywhere; the images of a batch moved apart by N(0, 0.01²) noise."""
    return _apart({"x": _like(shared).new_full(shared.x_shape, 0.5)}, generator)


def uniform(_: nn.Module, shared: Shared, generator: Generator | None) -> Tensors:
    """Start from noise that is uniform over [0, 1]."""
    return {"x": torch.rand(shared.x_shape, generator=_needed(generator)).to(_like(shared))}


def noise(_: nn.Module, shared: Shared, generator: Generator | None) -> Tensors:
    """Start from N(0, 1) noise, as the public code of DLG does."""
    return {"x": torch.randn(shared.x_shape, generator=_needed(generator)).to(_like(shared))}


def pink(_: nn.Module, shared: Shared, generator: Generator | None) -> Tensors:
    """Start from pink noise: random clouds with the amplitudes of photographs, for restarts in white coordinates."""
    u = torch.randn(shared.x_shape, generator=_needed(generator)).to(_like(shared))
    return {"x": coordinates.white.decode(u)}


def undecided(start: Start) -> Start:
    """The same start, and the label to be found as well: all classes alike, apart by N(0, 0.01²) noise in a batch."""

    def with_logits(model: nn.Module, shared: Shared, generator: Generator | None) -> Tensors:
        logits = _like(shared).new_zeros(shared.x_shape[0], _classes(shared))
        return {**start(model, shared, generator), **_apart({"logits": logits}, generator)}

    return with_logits


def _apart(guess: Tensors, generator: Generator | None) -> Tensors:
    """The guesses of a batch moved apart by N(0, 0.01²) noise; the guess of one image as it is."""
    if any(len(t) == 1 for t in guess.values()):
        return guess
    if generator is None:
        raise ValueError(
            "the guesses of a batch must differ, or equal slopes keep them equal, and the difference is drawn from a "
            "generator; pass torch.Generator().manual_seed(0)"
        )
    return {name: t + 0.01 * torch.randn(t.shape, generator=generator).to(t) for name, t in guess.items()}


def _needed(generator: Generator | None) -> Generator:
    if generator is None:
        raise ValueError("a start of noise is drawn from a generator; pass torch.Generator().manual_seed(0)")
    return generator


def _noise_and_label(model: nn.Module, shared: Shared, generator: Generator | None) -> Tensors:
    x = noise(model, shared, generator)
    return {**x, "logits": torch.randn(shared.x_shape[0], _classes(shared), generator=generator).to(_like(shared))}


def _label_known(guess: Tensors) -> Candidate:
    return Candidate(guess["x"], guess["y"], _masks(guess))


def _label_optimised(guess: Tensors) -> Candidate:
    return Candidate(guess["x"], guess["logits"].softmax(-1), _masks(guess))


def _masks(guess: Tensors) -> Tensors:
    return {name: mask for name, mask in guess.items() if name not in ("x", "y", "logits")}


def _read_label(_: nn.Module, shared: Shared) -> Tensors:
    return {"y": labels.read(shared)}


def _fresh_masks(model: nn.Module, shared: Shared, generator: Generator | None) -> Tensors:
    return models.draw_masks(model, shared.x_shape[0], generator)


def reading_masks(attack: Attack) -> Attack:
    """The same attack by who reads the dropout masks off the gradient first (`masks.read`) and leaves them as they are."""

    def read(model: nn.Module, shared: Shared) -> Tensors:
        return {**attack.read(model, shared), **masks.read(model, shared).masks}

    return replace(attack, name=f"{attack.name}, mask read", read=read)


def _image_and_masks(model: nn.Module, shared: Shared, generator: Generator | None) -> Tensors:
    drawn = models.draw_masks(model, shared.x_shape[0], _needed(generator))
    return {**uniform(model, shared, generator), **{name: (mask > 0).to(mask) for name, mask in drawn.items()}}


def _read_label_and_scales(model: nn.Module, shared: Shared) -> Tensors:
    layers, like = models.active_dropouts(model), _like(shared)
    scales = {f"scale of {name}": like.new_tensor(1 / (1 - layer.p)) for name, layer in layers.items()}
    return {**_read_label(model, shared), **scales}


def _masks_optimised(guess: Tensors) -> Candidate:
    scaled = {name: guess[name] * guess[f"scale of {name}"] for name in guess if f"scale of {name}" in guess}
    return Candidate(guess["x"], guess["y"], scaled)


def _smooth(candidate: Candidate) -> Tensor:
    return 1e-5 * matching.total_variation(candidate.x)


def _smooth_and_rate_kept(candidate: Candidate) -> Tensor:
    return _smooth(candidate) + 1e-4 * sum((mask.mean() - 1).abs() for mask in candidate.masks.values())


def _like(shared: Shared) -> Tensor:
    return next(iter(shared.gradient.values()))


def _classes(shared: Shared) -> int:
    return len(list(shared.gradient.values())[-1])


dlg = Attack(
    name="DLG",
    start=undecided(grey),
    decode=_label_optimised,
    distance=matching.relative_squared_error,
    optimizer=optimizers.lbfgs(),
    coordinates=coordinates.white,
)
"""Deep Leakage from Gradients: image and label are optimised together (Zhu, Liu & Han 2019, arXiv:1906.08935).

The idea is theirs; the optimiser is the robust one of this library: mid-grey start, line search without absolute
tolerances, coordinates in which photographs are white; the loss is in units of ‖g‖², so that runs can be compared. For
restarts: `replace(dlg, start=undecided(pink))`.
In a batch of several images, equal guesses would have equal slopes and stay equal, so N(0, 0.01²) noise from the generator
moves them apart: a batch needs a generator, one image does not.
"""

idlg = replace(dlg, name="iDLG", start=grey, read=_read_label, decode=_label_known)
"""iDLG: the label is read off the gradient first, then the image is optimised (Zhao et al. 2020, arXiv:2001.02610)."""

dlg_reference = replace(
    dlg,
    name="DLG, reference loop",
    start=_noise_and_label,
    coordinates=None,
    distance=matching.squared_error,
    optimizer=optimizers.lbfgs(line_search=False),
)
"""DLG as its public code runs it: N(0, 1) start, unscaled loss, L-BFGS with lr 1 and no line search. It may diverge."""

idlg_reference = replace(
    idlg,
    name="iDLG, reference loop",
    start=noise,
    coordinates=None,
    distance=matching.squared_error,
    optimizer=optimizers.lbfgs(line_search=False),
)
"""iDLG as its public code runs it, with the same optimiser as `dlg_reference`."""

idlg_fresh_masks = replace(idlg, name="iDLG, fresh masks", draw=_fresh_masks, optimizer=optimizers.adam(lr=0.1))
"""iDLG against a network with dropout by an attacker who trains along: a new random mask at every evaluation.

The objective is another function each time, so a line search would compare apples with pears; hence Adam, which was made
for noisy slopes and finds the image without dropout too, only more slowly.
"""

mask_reading = reading_masks(idlg)
"""iDLG by who reads the dropout mask off the zero columns of the gradient, then attacks as if there were no dropout."""

inverting = replace(
    idlg,
    name="Inverting Gradients",
    start=uniform,
    distance=matching.cosine_distance,
    optimizer=optimizers.adam(lr=0.1, signed=True, box=(0, 1), patience=800),
    coordinates=None,
    prior=_smooth,
)
"""Angle instead of distance, a total variation prior of 1e-5, the box [0, 1] and Adam on the signs of the slope.

Source: Geiping et al. 2020, arXiv:2003.14053, with the constants and the step rule that the public code of DIA gives it.
Against dropout it assumes a mask of ones. Differences: the label is read, and pixels are in [0, 1], where theirs are
normalised, so that a step is about four times as long here.
"""

dia = replace(
    inverting,
    name="DIA",
    start=_image_and_masks,
    read=_read_label_and_scales,
    decode=_masks_optimised,
    prior=_smooth_and_rate_kept,
)
"""The Dropout Inversion Attack: image and masks are optimised together (Scheliga et al. 2023, arXiv:2208.06163).

Masks start as random ones of the model's rate, stay in [0, 1] and are drawn to the right mean by 1e-4 of their deviation.
For dropout that cannot be read, inside a network's body; where `mask_reading` works, it needs less. Differences to the
public code: those of `inverting`; the signs are taken of the masks' slope too; the deviation is that of the scaled masks.
"""
