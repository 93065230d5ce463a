"""Where a search begins: first guesses of the image, and of the label or the masks with it.

A start takes the model, what was shared, and a generator on the CPU, and returns a `Guess`.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from dlgutils import coordinates, models
from dlgutils.types import Guess, Shared

Start = Callable[[nn.Module, Shared, Generator | None], Guess]
"""(model, shared, generator) -> the first guess of what is optimised."""

_SYMMETRY_NOISE = 0.01  # standard deviation; it makes the guesses of a batch differ


def grey(_: nn.Module, shared: Shared, generator: Generator | None) -> Guess:
    """Mid-grey images, 0.5; in a batch, N(0, 0.01²) noise makes them differ."""
    x = shared.like.new_full(shared.x_shape, 0.5)
    return Guess(_break_symmetry(x, generator))


def uniform(_: nn.Module, shared: Shared, generator: Generator | None) -> Guess:
    """Images of noise that is uniform over [0, 1]."""
    x = torch.rand(shared.x_shape, generator=_require_generator(generator))
    return Guess(x.to(shared.like))


def noise(_: nn.Module, shared: Shared, generator: Generator | None) -> Guess:
    """Images of N(0, 1) noise, as in the public code of DLG."""
    return Guess(_normal(shared.x_shape, shared.like, generator))


def pink(_: nn.Module, shared: Shared, generator: Generator | None) -> Guess:
    """Images of pink noise: random clouds with the amplitudes of photographs.

    For restarts in whitened coordinates.
    """
    u = _normal(shared.x_shape, shared.like, generator)
    return Guess(coordinates.whitened.decode(u))


def with_logits(start: Start) -> Start:
    """The same start, with logits to optimise as well: zero, or made to differ in a batch."""

    def start_with_logits(model: nn.Module, shared: Shared, generator: Generator | None) -> Guess:
        guess = start(model, shared, generator)
        logits = shared.like.new_zeros(shared.x_shape[0], shared.classes)
        return guess._replace(y=_break_symmetry(logits, generator))

    return start_with_logits


def noise_with_logits(model: nn.Module, shared: Shared, generator: Generator | None) -> Guess:
    """Images and logits of N(0, 1) noise, as in the public code of DLG."""
    guess = noise(model, shared, generator)
    logits = _normal((shared.x_shape[0], shared.classes), shared.like, generator)
    return guess._replace(y=logits)


def uniform_with_masks(model: nn.Module, shared: Shared, generator: Generator | None) -> Guess:
    """Images of uniform noise, and random masks of zeros and ones at the rates of the model."""
    masks = models.draw_masks(model, shared.x_shape[0], _require_generator(generator))
    ones = {name: (mask > 0).to(mask) for name, mask in masks.items()}
    return uniform(model, shared, generator)._replace(masks=ones)


def _normal(shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    return torch.randn(shape, generator=_require_generator(generator)).to(like)


def _break_symmetry(batch: Tensor, generator: Generator | None) -> Tensor:
    """The guesses of several images with N(0, 0.01²) noise; the guess of one image as it is."""
    if len(batch) == 1:
        return batch
    if generator is None:
        raise ValueError(
            "the guesses of a batch must differ, or equal slopes keep them equal, and the "
            "difference is drawn from a generator; pass torch.Generator().manual_seed(0)"
        )
    return batch + _SYMMETRY_NOISE * torch.randn(batch.shape, generator=generator).to(batch)


def _require_generator(generator: Generator | None) -> Generator:
    if generator is None:
        raise ValueError(
            "a start of noise is drawn from a generator; pass torch.Generator().manual_seed(0)"
        )
    return generator
