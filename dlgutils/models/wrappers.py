"""Models inside wrappers, which put a prefix before the names of all tensors."""

import copy
from collections.abc import Collection, Iterable

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
    """The same tensors under these names where only prefixes differ, as `renaming` finds them."""
    new = renaming(tensors, names)
    if all(old == name for old, name in new.items()):
        return tensors
    return {new[name]: tensor for name, tensor in tensors.items()}


def renaming(names: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Names, each with that of the wanted ones that only prefixes tell from it; or with itself.

    Prefixes are those of known wrappers, wherever they stand in a name, and one more that all names
    have, or all wanted ones: a module of your own that keeps the network as `self.net` puts "net."
    before all of them. Where prefixes are all that tells two names apart, nothing is renamed.
    """
    names, wanted = list(names), list(wanted)
    same = dict(zip(names, names, strict=True))
    plain = {name: plain_name(name) for name in names}
    known = {plain_name(name): name for name in wanted}
    alike = len(known) < len(wanted) or len(set(plain.values())) < len(names)
    if alike or set(names) <= set(wanted):
        return same
    found = _by_common_prefix(list(plain.values()), set(known))
    return {name: known.get(found.get(short, short), name) for name, short in plain.items()}


def _by_common_prefix(names: list[str], wanted: set[str]) -> dict[str, str]:
    """For each name, the wanted one that is left or made by a prefix of all; {}: none, or several.

    It is in all names or in all wanted ones: what the wrapper of a whole model puts before them.
    """
    found = []
    for cut in _prefixes(names):
        found.append({name: name.removeprefix(cut) for name in names})
    for added in _prefixes(wanted):
        found.append({name: added + name for name in names})
    fitting = [new for new in found if wanted.issuperset(new.values())]
    return fitting[0] if len(fitting) == 1 else {}


def _prefixes(names: Collection[str]) -> list[str]:
    """All that stands before a dot at the beginning of all names, with the dot."""
    first = next(iter(names), "")
    found = []
    for place, letter in enumerate(first):
        begin = first[: place + 1]
        if letter == "." and all(name.startswith(begin) for name in names):
            found.append(begin)
    return found


def _is_of_opacus(model: nn.Module) -> bool:
    return type(model).__module__.startswith("opacus.") and hasattr(model, "to_standard_module")
