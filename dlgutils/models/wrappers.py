"""Models inside wrappers, which put a prefix before the names of all tensors."""

import copy
from collections.abc import Iterable

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from dlgutils.types import Tensors

PREFIXES = ("_module", "module", "_orig_mod", "normalised")
"""What Opacus, `nn.DataParallel`, `torch.compile` and `normalised` call the model inside."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside its wrappers, however many there are; a model without one is returned as is.

    Known are `nn.DataParallel`, `DistributedDataParallel`, `AveragedModel`, what `torch.compile`
    returns, and Opacus's `GradSampleModule`, of which a copy is taken, without its hooks.
    """
    while True:
        if isinstance(model, nn.DataParallel | DistributedDataParallel | AveragedModel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod
        elif _is_of_opacus(model):
            model = copy.deepcopy(model).to_standard_module()
        else:
            return model


def plain_name(name: str) -> str:
    """The name of a tensor without the prefixes of wrappers: "module.fc.bias" is "fc.bias"."""
    return ".".join(part for part in name.split(".") if part not in PREFIXES)


def renamed(tensors: Tensors, names: Iterable[str]) -> Tensors:
    """The same tensors under these names where only the prefixes of wrappers differ.

    names: those of a model. A tensor of none of them keeps its name, and where prefixes are all
    that tells two of them apart, nothing is renamed.
    """
    names = list(names)
    known = {plain_name(name): name for name in names}
    plain = {plain_name(name) for name in tensors}
    if tensors.keys() <= set(names) or len(known) < len(names) or len(plain) < len(tensors):
        return tensors
    return {known.get(plain_name(name), name): tensor for name, tensor in tensors.items()}


def _is_of_opacus(model: nn.Module) -> bool:
    return type(model).__module__.startswith("opacus.") and hasattr(model, "to_standard_module")
