"""The network that a command names: made by a function of somebody's module, with weights."""

import difflib
import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from torch import nn

from dlgutils import storage
from dlgutils.models import wrappers
from dlgutils.types import Tensors


def model_of(target: str) -> nn.Module:
    """The model that a function returns, called without arguments; or the model of that name.

    target: "package.module:function", importable from here or from the current folder. Raises
    ValueError, in one sentence, if the module cannot be imported, has no such function, or if what
    it returns is no `torch.nn.Module`, or it raises.
    """
    name, _, attribute = target.partition(":")
    if not name or not attribute:
        raise ValueError(
            f"{target!r} names no function; write it as package.module:make_model, the module and "
            "the function that returns the model"
        )
    made = _attribute(_imported(name), attribute)
    if not isinstance(made, nn.Module):
        made = _called(made, target)
    if not isinstance(made, nn.Module):
        raise ValueError(
            f"{target} returned {type(made).__name__}, where a torch.nn.Module is wanted"
        )
    return made


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Put the weights of a file into the model; prefixes of wrappers make no difference.

    Raises ValueError unless names and shapes agree, and as `storage.read_weights` does.
    """
    own = model.state_dict()
    weights = wrappers.renamed(storage.read_weights(path), own)
    missing, unknown = own.keys() - weights.keys(), weights.keys() - own.keys()
    if missing or unknown:
        raise ValueError(
            f"{path} does not fit the model: missing {_some(missing)}; unknown {_some(unknown)}"
        )
    _check_shapes(path, weights, own)
    model.load_state_dict(weights)


def told(error: BaseException) -> str:
    """An error in one line: its type and its words, shortened."""
    words = " ".join(str(error).split())
    short = words if len(words) <= 300 else f"{words[:299]}…"
    return f"{type(error).__name__}: {short}" if short else type(error).__name__


def _imported(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{name} cannot be imported ({told(error)}); run this in the folder that its package "
            "lies in"
        ) from error


def _attribute(module: ModuleType, name: str) -> object:
    if not hasattr(module, name):
        public = [other for other in vars(module) if not other.startswith("_")]
        near = difflib.get_close_matches(name, public, 3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"{module.__name__} has nothing called {name}{hint}")
    return getattr(module, name)


def _called(factory: object, target: str) -> object:
    if not callable(factory):
        raise ValueError(f"{target} is {type(factory).__name__}, and no function or model")
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{target} raised {told(error)}; it is called without arguments, and returns the model"
        ) from error


def _check_shapes(path: str | Path, weights: Tensors, own: Tensors) -> None:
    wrong = [name for name in own if weights[name].shape != own[name].shape]
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"{path} does not fit the model: {name} has the shape {tuple(weights[name].shape)} "
            f"there and {tuple(own[name].shape)} in the model"
        )


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return (
        f"{', '.join(names[:3])} and {len(names) - 3} more"
        if len(names) > 3
        else ", ".join(names) or "nothing"
    )
