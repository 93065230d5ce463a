"""What is public about a round: what a client does with its images before it sends anything."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from numbers import Real

from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

Loss = Callable[[Tensor, Tensor], Tensor]
"""A loss: (outputs of the model, targets), both images first, -> a scalar."""


class Effect(Enum):
    """What a defence leaves of a gradient: a reading says which of these it can read through."""

    UNKNOWN = "it is changed in a way that is not known"
    ADDS = "every number has noise"
    SCALES = "all numbers are multiplied by the same one"
    REMOVES = "some numbers are zero"
    SHORTENS = "numbers have fewer digits"
    ROUNDS = "numbers are whole multiples of a step"
    SIGNS = "only the signs of the numbers are left"


def _as_made(made: Mapping[str, Tensor], _: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return made


@dataclass(frozen=True)
class Defense:
    """What a client does to its gradient before it leaves, and what its attacker makes of that.

    Gradients are tensors by name. `imitate` takes one that the attacker made of a guess and the one
    that was sent, and moves the first to the nearest gradient that would have been sent as the
    second: it returns what was sent, to the last bit, if the guess may be right, and is
    differentiable in what was made.
    """

    name: str  # such as "noise, σ = 0.001"
    apply: Callable[[Mapping[str, Tensor], Generator | None], Mapping[str, Tensor]]
    # (gradient, generator on the CPU) -> a gradient of the same names and shapes
    imitate: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Mapping[str, Tensor]] = _as_made
    effect: Effect = Effect.UNKNOWN
    sigma: float = 0.0  # the standard deviation of what it adds to every number
    bound: float = math.inf  # the greatest length, √Σg², of what leaves it
    made_by: Callable[[], "Defense"] | None = field(
        default=None, init=False, repr=False, compare=False
    )  # what pickle calls to make it again; None: nothing, and pickle takes its parts

    def __call__(
        self, gradient: Mapping[str, Tensor], generator: Generator | None = None
    ) -> Mapping[str, Tensor]:
        """The gradient as it leaves; generator: on the CPU, for defences that draw."""
        return self.apply(gradient, generator)

    def __deepcopy__(self, _: dict) -> "Defense":
        """Itself: nothing in it changes."""
        return self

    def __reduce_ex__(self, protocol: int) -> tuple:
        """For pickle: the call that made it, since its functions are local to that."""
        return (self.made_by, ()) if self.made_by else super().__reduce_ex__(protocol)


def probabilities(unknowns: Tensor) -> Tensor:
    """Free numbers, (batch, classes), as targets of cross-entropy: their softmax."""
    return unknowns.softmax(-1)


@dataclass(frozen=True)
class Protocol:
    """How an honest client makes its update, which server and attacker know.

    The client takes `steps` steps of SGD, each on the next `batch_size` of its images, from the
    first image again after the last. It sends scale · (weights before − after) / (lr · steps):
    after one step, the gradient times `scale`. E passes over n images in batches of b are
    E·⌈n/b⌉ steps. The default is one step on all images at once: the gradient. Before it leaves,
    it passes the `defenses` one after the other.
    """

    loss: Loss = cross_entropy  # of the model's outputs and the targets
    steps: int = 1  # of local training
    batch_size: int | None = None  # images of one step; None: all
    shuffle: bool = False  # from the second pass on, the order of the images is drawn, in secret
    lr: float = 0.1  # of a step; it does not matter where there is only one
    momentum: float = 0.0
    weight_decay: float = 0.0
    scale: float | None = 1.0  # None: unknown
    sent: tuple[str, ...] | None = None  # names of the tensors that leave; None: all trained ones
    soft_targets: bool = False  # probabilities instead of class ids, as mixup makes them
    example_norm: float | None = None  # to which each image's gradient is clipped before the mean
    defenses: tuple[Defense, ...] = ()  # what the scaled update passes before it leaves, in order
    as_targets: Callable[[Tensor], Tensor] = probabilities  # of an attacker's free unknowns

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no client can work with."""
        _check_count("steps", self.steps)
        if self.batch_size is not None:
            _check_count("batch_size", self.batch_size)
        if not (isinstance(self.lr, Real) and 0 < self.lr < math.inf):
            raise ValueError(f"lr is a positive number, got {self.lr!r}")
        for name in ("momentum", "weight_decay"):
            number = getattr(self, name)
            if not (isinstance(number, Real) and 0 <= number < math.inf):
                raise ValueError(f"{name} is a number from 0 on, got {number!r}")
        scale = 1.0 if self.scale is None else self.scale
        if not (isinstance(scale, Real) and math.isfinite(scale) and scale != 0):
            raise ValueError(
                f"scale is a finite number other than zero, got {scale!r}; "
                "None says that it is unknown"
            )
        if self.sent is not None and (isinstance(self.sent, str) or not self.sent):
            raise ValueError(
                f"sent has the names of the tensors that leave, got {self.sent!r}; pass a tuple "
                "such as ('fc.weight', 'fc.bias'), or None for all"
            )
        norm = 1.0 if self.example_norm is None else self.example_norm
        if not (isinstance(norm, Real) and 0 < norm < math.inf):
            raise ValueError(f"example_norm is a positive number, or None, got {norm!r}")
        row = self.defenses
        if not (isinstance(row, tuple) and all(isinstance(each, Defense) for each in row)):
            came = f"{row.name!r} alone" if isinstance(row, Defense) else f"a {type(row).__name__}"
            raise ValueError(
                f"defenses are a tuple of defences, got {came}; make them with "
                "federated.defenses, as in (defenses.clip(1.0), defenses.noise(0.001))"
            )

    def passes(self, images: int) -> list[list[range]]:
        """The steps, grouped by passes: which of `images` images, by their place in the pass."""
        size = min(self.batch_size or images, images)
        one_pass = [range(first, min(first + size, images)) for first in range(0, images, size)]
        whole, rest = divmod(self.steps, len(one_pass))
        remainder = [one_pass[:rest]] if rest else []
        return [one_pass] * whole + remainder

    def visits(self, images: int) -> int:
        """How many images all steps see together, each as often as it is seen."""
        steps = [step for one_pass in self.passes(images) for step in one_pass]
        return sum(len(step) for step in steps)

    @property
    def exact(self) -> bool:
        """Whether the update leaves as it was computed."""
        return not self.defenses

    @property
    def sigma(self) -> float:
        """The standard deviation of what all defences together add to every number.

        Where a clip comes after the noise, what is left of it is smaller: `clips_noise`.
        """
        return math.hypot(*(defense.sigma for defense in self.defenses))

    @property
    def clips_noise(self) -> bool:
        """Whether a clip comes after noise, and makes it smaller by a factor that is not known."""
        clips = [k for k, each in enumerate(self.defenses) if each.effect is Effect.SCALES]
        return any(each.sigma for each in self.defenses[: max(clips, default=0)])

    @property
    def is_cross_entropy(self) -> bool:
        """Whether it is cross-entropy of ids without weights, smoothing or an ignored class."""
        return not self.soft_targets and _settings_of_cross_entropy(self.loss) is not None

    @property
    def sums(self) -> bool:
        """Whether the loss is the sum over the images of a batch, where the usual one is a mean."""
        settings = _settings_of_cross_entropy(self.loss) or {}
        return settings.get("reduction") == "sum"


def _check_count(name: str, number: int) -> None:
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"{name} is a whole number from 1 on, got {number!r}")


def takes_class_ids(loss: Loss) -> bool:
    """Whether the loss is cross-entropy, with class weights and smoothing or without."""
    function = loss.func if isinstance(loss, partial) else loss
    return function is cross_entropy or isinstance(loss, nn.CrossEntropyLoss)


def _settings_of_cross_entropy(loss: Loss) -> dict[str, object] | None:
    """The settings of plain cross-entropy; None: it is another loss."""
    if isinstance(loss, nn.CrossEntropyLoss):
        names = ("weight", "ignore_index", "reduction", "label_smoothing")
        settings = {name: getattr(loss, name) for name in names}
    elif isinstance(loss, partial) and loss.func is cross_entropy and not loss.args:
        settings = loss.keywords
    elif loss is cross_entropy:
        settings = {}
    else:
        return None
    even = settings.get("weight") is None and not settings.get("label_smoothing")
    plain = even and settings.get("ignore_index", -1) < 0  # class ids begin with 0
    return settings if plain and settings.get("reduction") in (None, "mean", "sum") else None
