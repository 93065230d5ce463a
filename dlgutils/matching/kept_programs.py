"""Programs kept from one attack to the next, and what must be equal for one to be used again."""

from collections import OrderedDict
from collections.abc import Collection, Hashable, Mapping, Set

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from dlgutils.matching.programs import Program

_MOST = 16  # programs that are kept, those used last
_kept: OrderedDict[Hashable, Program] = OrderedDict()


def keep(key: Hashable, program: Program) -> None:
    """Keep a program under this key; the one that was unused for longest goes."""
    _kept[key] = program
    _kept.move_to_end(key)
    if len(_kept) > _MOST:
        _kept.popitem(last=False)


def kept(key: Hashable) -> Program | None:
    """The program that was kept under this key."""
    if key in _kept:
        _kept.move_to_end(key)
    return _kept.get(key)


def sizes(args: object) -> Hashable:
    """The names, shapes, strides, dtypes and devices of all tensors in these arguments."""
    tensors, spec = tree_flatten(args)
    return str(spec), tuple((t.shape, t.stride(), t.dtype, t.device) for t in tensors)


def architecture(model: nn.Module, given: Collection[str]) -> Hashable:
    """What a model computes with the tensors of these names given to it, as far as it can be read.

    That is: the classes of its modules with their settings, which of its parameters are trained,
    and the values of all its other tensors. What `forward` reads elsewhere is not in it.
    """
    modules = tuple((name, type(m), _settings(m)) for name, m in model.named_modules())
    trained = tuple((name, p.requires_grad) for name, p in model.named_parameters())
    own = [*model.named_parameters(), *model.named_buffers()]
    values = tuple((name, _Numbers(t)) for name, t in own if name not in given)
    return modules, trained, values


def comparable(value: object) -> Hashable:
    """The value to compare by: mappings, lists and sets by their parts; others may equal none."""
    if isinstance(value, Mapping):
        value = tuple(value.items())
    if isinstance(value, (list, tuple)):
        return tuple(comparable(part) for part in value)
    if isinstance(value, Set):
        return frozenset(value)
    return value if isinstance(value, Hashable) else object()


def _settings(module: nn.Module) -> Hashable:
    registered = ("_parameters", "_buffers", "_modules")
    settings = {name: value for name, value in vars(module).items() if name not in registered}
    return comparable(settings)


class _Numbers:
    """The numbers of a tensor as they are now, equal to the same numbers in another."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor.detach().clone()

    def __eq__(self, other: object) -> bool:
        """Whether the other is of the same numbers, dtype and device too."""
        if not isinstance(other, _Numbers) or hash(self) != hash(other):
            return False
        return self.tensor.equal(other.tensor)

    def __hash__(self) -> int:
        return hash((self.tensor.shape, self.tensor.dtype, self.tensor.device))
