"""Parts of recipes: what an attack draws anew, how it decodes a guess, and priors of its images.

Those of starts and distances are in `starts` and `objectives`; see `types.Attack`.
"""

from torch import Generator, Tensor, nn

from dlgutils import models
from dlgutils.matching import objectives
from dlgutils.types import Guess, Shared


def fresh_masks(model: nn.Module, shared: Shared, generator: Generator | None) -> Guess:
    """Fresh dropout masks, drawn as the client draws its own."""
    return Guess(masks=models.draw_masks(model, shared.x_shape[0], generator))


def twenty_masks(model: nn.Module, shared: Shared, generator: Generator | None) -> Guess:
    """Twenty fresh dropout masks for one image, drawn as the client draws its own."""
    return Guess(masks=models.draw_masks(model, 20, generator))


def label_for_each_mask(_: nn.Module, guess: Guess) -> Guess:
    """The guess of one image with its label once for each mask: the loss is the mean over them.

    The image stays alone, since masks of shape (masks, features) take all of them at once.
    """
    for mask in guess.masks.values():
        guess = guess._replace(y=guess.y.expand(len(mask), *guess.y.shape[1:]))
    return guess


def scale_masks(model: nn.Module, guess: Guess) -> Guess:
    """The guess with its masks, of zeros and ones, times 1/(1 − p), as dropout scales its own.

    A mask that the guess does not have stays all ones.
    """
    layers = models.active_dropouts(model)
    scaled = {}
    for name, mask in guess.masks.items():
        scaled[name] = mask * (1 / (1 - layers[name].p)) if name in layers else mask
    return guess._replace(masks=scaled)


def smooth(guess: Guess) -> Tensor:
    """A prior: the total variation of the images, times 1e-5. A scalar."""
    return 1e-5 * objectives.total_variation(guess.x)


def smooth_with_rates(guess: Guess) -> Tensor:
    """A prior: `smooth`, and the deviation of each scaled mask's mean from one, times 1e-4."""
    return smooth(guess) + 1e-4 * sum((mask.mean() - 1).abs() for mask in guess.masks.values())
