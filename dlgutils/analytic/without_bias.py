"""What one image leaves in a classifier without a bias: the columns of δ uᵀ, but not δ alone.

Here u is what entered it, and every column is δ times an entry of u, of unknown size and sign.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from dlgutils.types import Shared

_ONE_SIGN = 0.8  # of the sum of sizes: a sum of numbers that are nearly all of one sign
_LENGTHS, _ZOOMS = 8_193, 3  # tries of the length of δ at once, and turns after the first
_NEAR = 0.05  # the error of a try beside a length that fits
_FITS = 1e-3  # the same of a length that fits
_FLAT, _STEEP = 1e-3, 0.1  # the error grows by less than a tenth of the way: the length is lost


def weight_of(shared: Shared) -> str:
    """The name of the last matrix among the weights. Raises ValueError if it was not shared."""
    matrices = [name for name, w in shared.weights.items() if w.ndim == 2]
    if not matrices:
        raise ValueError(
            f"there is no linear classifier among {list(shared.weights)}: "
            "a weight of shape (classes, features)"
        )
    shared.require(matrices[-1])
    return matrices[-1]


def column(shared: Shared) -> Tensor:
    """The longest column of a classifier's gradient, (classes,), with the signs of δ.

    Of three classes or more, the label is the one whose sign no other has. Of two, u is taken as
    positive; raises ValueError where it has entries of either sign.
    """
    weight = weight_of(shared)
    g = shared.gradient[weight]
    longest = _longest_column(g)
    if not _has_one_of_each(longest):
        return -longest if _looks_reversed(longest) else longest
    row = g[longest.argmin()]
    if row.sum().abs() < _ONE_SIGN * row.abs().sum():
        raise ValueError(
            f"{weight} has no bias, and what entered it has entries of either sign: of two "
            "classes, features h of one label and -h of the other leave the same gradient; "
            "optimise label and image with attacks.dlg"
        )
    return turned(longest, shared)


def is_assumed(shared: Shared) -> bool:
    """Whether only the belief that u is positive tells which of two classes is the label."""
    _, bias = shared.last_layer
    if bias in shared.gradient:
        return False
    return _has_one_of_each(_longest_column(shared.gradient[weight_of(shared)]))


def turned(delta: Tensor, shared: Shared) -> Tensor:
    """A δ that was multiplied by the scale of its protocol, (classes,), with its own signs.

    A negative scale reversed all signs, and so may one that is unknown; of two classes, nobody
    could tell.
    """
    scale = shared.protocol.scale
    return -delta if (_looks_reversed(delta) if scale is None else scale < 0) else delta


def _longest_column(g: Tensor) -> Tensor:
    return g[:, g.norm(dim=0).argmax()]


def _has_one_of_each(delta: Tensor) -> bool:
    return int((delta < 0).sum()) == int((delta > 0).sum()) == 1


def _looks_reversed(delta: Tensor) -> bool:
    return int((delta > 0).sum()) == 1 and int((delta < 0).sum()) > 1


# The longest column gives the direction of δ, with the sign that makes the entry at the label
# negative. A length ℓ of δ implies the features u = Gᵀδ / ℓ², and these imply a δ of their own,
# softmax(W u) − onehot(y). At the true length both agree. But of two classes, softmax says that
# p (log(1 − p) − log p) is known, where p is the probability of the wrong one, and below one half
# there are two such p. So it is with many classes where the network wavers between two.
def delta_without_bias(shared: Shared, y: Tensor) -> Tensor:
    """δ of a classifier without bias, (classes,); y: (1,), the label.

    Raises ValueError if no δ of one image fits the gradient, or more than one does.
    """
    weight, _ = shared.classifier
    W = shared.weights[weight].double()
    gradient = shared.gradient[weight].double()
    longest = _longest_column(gradient)
    direction = longest / longest.norm() * -longest[y].sign()
    logits = W @ (direction @ gradient)  # of a δ of length one
    target = one_hot(y, len(W))[0]

    def error(lengths: Tensor) -> Tensor:
        each = lengths[..., None]
        implied = (logits / each).softmax(-1) - target
        return (implied - each * direction).norm(dim=-1) / lengths

    lengths = _lowest(error, 2**0.5, direction)  # no δ is longer than √2
    return (_only_length(error, lengths, shared) * direction).to(shared.gradient[weight])


def _lowest(error: Callable[[Tensor], Tensor], longest: float, like: Tensor) -> Tensor:
    """All lengths at which an error has a minimum near zero, (n,); none is above `longest`."""
    part = torch.linspace(0, 1, _LENGTHS).to(like)
    tries = (math.log(1e-8) * (1 - part) + math.log(longest) * part)[None]
    errors = pad(error(tries[0].exp()), (1, 1), value=math.inf)
    middle = errors[1:-1]
    k = ((middle <= errors[:-2]) & (middle < errors[2:]) & (middle < _NEAR)).nonzero()
    tries = tries.expand(len(k), -1)
    for _ in range(_ZOOMS):
        low = tries.gather(1, (k - 1).clamp(min=0))
        high = tries.gather(1, (k + 1).clamp(max=_LENGTHS - 1))
        tries = low + (high - low) * part
        k = error(tries.exp()).argmin(1, keepdim=True)
    return tries.gather(1, k)[:, 0].exp()


def _only_length(error: Callable[[Tensor], Tensor], lengths: Tensor, shared: Shared) -> Tensor:
    """The one of these lengths of δ, (n,), that fits. Raises ValueError for none, or several."""
    weight, _ = shared.classifier
    errors = error(lengths)
    least = float(errors.min()) if len(errors) else math.inf
    if least > _FITS:
        raise ValueError(
            f"no length makes the columns of {weight}'s gradient a softmax − onehot: noise, "
            "another loss or another scale; optimise label and mask with attacks.dia"
        )
    length = lengths[errors.argmin()]
    rounding = 100 * torch.finfo(shared.precision).eps
    alike = int((errors < 10 * least + rounding).sum())
    beside = error(length * (1 + _FLAT * length.new_tensor([-1.0, 1.0])))
    any_scale = shared.protocol.scale is None and shared.classes == 2
    if any_scale or alike > 1 or beside.max() < _STEEP * _FLAT:
        raise ValueError(
            f"{weight} has no bias, and δ of more than one length fits its gradient, as it does "
            "where the network decides between two classes: what entered it is known up to a "
            "number only; match the gradient with attacks.idlg"
        )
    return length
