"""The guesses of many runs as one matrix of unknowns, and back."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dlgutils.types import Guess, Tensors


def flatten_guess(guess: Guess) -> Tensors:
    """The tensors of a guess by name: "x", "y", and the names of the masks."""
    tensors = {"x": guess.x, "y": guess.y, **guess.masks}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def unflatten_guess(tensors: Tensors) -> Guess:
    """The guess that `flatten_guess` took apart."""
    masks = {name: tensor for name, tensor in tensors.items() if name not in ("x", "y")}
    return Guess(tensors.get("x"), tensors.get("y"), masks)


def stack(runs: Sequence[Tensors]) -> dict[str, Tensor]:
    """The tensors of all runs by name, runs first, cut off from whatever graph made them."""
    names = runs[0].keys()
    for tensors in runs:
        if tensors.keys() != names:
            raise ValueError(
                f"the runs of an attack have the same tensors, got {sorted(names)} and "
                f"{sorted(tensors)}; invert them one by one"
            )
    stacked = {}
    for name in names:
        of_all_runs = [tensors[name].detach() for tensors in runs]
        stacked[name] = torch.stack(of_all_runs)
    return stacked


def flatten(tensors: Tensors) -> tuple[Tensor, Callable[[Tensor], Guess]]:
    """The guesses of all runs as z, (runs, n), and the way back for one run."""
    shapes = {name: tensor.shape[1:] for name, tensor in tensors.items()}
    sizes = [shape.numel() for shape in shapes.values()]

    def unflatten(z: Tensor) -> Guess:
        parts = zip(shapes.items(), z.split(sizes), strict=True)
        return unflatten_guess({name: part.view(shape) for (name, shape), part in parts})

    return torch.cat([tensor.flatten(1) for tensor in tensors.values()], 1), unflatten
