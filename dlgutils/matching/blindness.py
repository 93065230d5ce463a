"""Whether what an attack compares depends on the image at all."""

import warnings

import torch
from torch import Tensor

from dlgutils.matching.flat import unflatten_guess
from dlgutils.matching.objectives import relative_squared_error
from dlgutils.matching.problem import Problem, decode_guess, gradients
from dlgutils.types import Guess, Tensors

_ROUNDING = 4 * torch.finfo(torch.float32).eps  # in which clients compute
_CALLER_OF_INVERT = 5  # from here: attack_runs, _in_chunks, invert, its caller


def warn_if_blind(problem: Problem) -> None:
    """Warns if the gradients of two images are the same to rounding, so no search may be believed.

    It is no error: labels are right all the same, and each tensor by itself may still depend on the
    image, for an attack that weighs them in another way.
    """
    seen = image_dependence(problem)
    if seen < _ROUNDING:
        warnings.warn(
            "the gradient of this network hardly depends on the image: two quite different ones "
            f"change it by {seen:.0e} of its length, which is less than rounding, so what a search "
            "finds beside the label hangs on last bits that no other machine repeats. Deep "
            "networks are like this in eval mode before their BatchNorm layers have seen data: "
            "send images through the network in train mode before the round",
            stacklevel=_CALLER_OF_INVERT,
        )


@torch.no_grad()
def image_dependence(problem: Problem) -> float:
    """How far what is compared is apart for two images, relative: the start of a run, and a ramp.

    Label and weights are those of the first run, masks are as they start, or all ones.
    """
    known = unflatten_guess({name: tensor[0] for name, tensor in problem.given.known.items()})
    start = problem.unflatten(problem.start[0])
    guess = decode_guess(problem.model, problem.attack, start, known, protocol=problem.protocol)
    ramp = _ramp(guess.x)
    squared = relative_squared_error(
        _compared(problem, guess._replace(x=ramp)), _compared(problem, guess)
    )
    return float(squared.sqrt())


def _compared(problem: Problem, guess: Guess) -> Tensors:
    compare = problem.attack.compare or gradients
    weights = {name: tensor[0] for name, tensor in problem.given.weights.items()}
    whole = compare.of_guess(weights, problem.model, guess, problem.protocol)
    return {name: whole[name] for name in problem.given.target}


def _ramp(x: Tensor) -> Tensor:
    """An image from black to white, of the shape of x, another one for each of a batch."""
    return torch.linspace(0, 1, x.numel()).to(x).view_as(x)
