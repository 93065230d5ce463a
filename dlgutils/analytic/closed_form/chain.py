"""The chain of modules that an image passes through, each of which can be inverted."""

import copy

import torch
from torch import Generator, nn

from dlgutils import models
from dlgutils.analytic.closed_form import activations
from dlgutils.analytic.closed_form.records import Step
from dlgutils.models.modules import observe
from dlgutils.types import Shared

_PASSED = (nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout)
"""Modules that leave every number as it is; `checks.check` refuses an active `nn.Dropout`."""

SMOOTH = (nn.Sigmoid, nn.Tanh, nn.ELU, nn.Softplus)
"""The activations through which the mean over a window can be inverted, by Newton's method."""


def chain(model: nn.Module, x_shape: tuple[int, ...]) -> list[Step]:
    """The modules that one image passes through, in order.

    model: in float64; x_shape: (batch, channels, height, width) of its images.
    Modules that leave every number as it is are left out. Raises ValueError unless the modules are
    all that happens to the image, each is used once, each can be inverted, and the last is linear.
    """
    generator = Generator().manual_seed(0)
    shape = (1, *x_shape[1:])
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    value = x.to(next(model.parameters()))
    calls, logits = observe(model, value)
    steps = []
    for call in calls:
        left = value.flatten()
        if not call.input.flatten().equal(left):
            raise ValueError(
                f"{call.name} does not get what left the module before it: a branch, a sum, or a "
                "function such as F.relu or F.max_pool2d between them; closed_form needs one chain "
                "of modules: attack this model with attacks.idlg"
            )
        check_invertible(call.name, call.module)
        if not is_idle(call.module):
            shape = tuple(call.input.shape[1:])
            steps.append(Step(call.name, call.module, shape))
        value = call.output
    _check_chain(model, steps, complete=value.equal(logits))
    return _join_pooled(steps)


def _join_pooled(steps: list[Step]) -> list[Step]:
    """The steps, with each average pool and what it pools as one: an `nn.Sequential`."""
    joined: list[Step] = []
    for step in steps:
        if isinstance(step.module, nn.AvgPool2d):
            step = _pooled(step, joined)
        joined.append(step)
    return joined


def _pooled(pool: Step, before: list[Step]) -> Step:
    """A convolution, its activation if it has one, and the pool; takes them from `before`."""
    modules = [pool.module]
    if before and type(before[-1].module) in SMOOTH:
        modules.insert(0, before.pop().module)
    if not (before and isinstance(before[-1].module, nn.Conv2d)):
        smooth = ", ".join(activation.__name__ for activation in SMOOTH)
        raise ValueError(
            f"{pool.name} averages the output of something else than a convolution, perhaps with "
            f"one of {smooth} after it, which closed_form cannot invert: attack this model with "
            "attacks.features"
        )
    conv = before.pop()
    return Step(conv.name, nn.Sequential(conv.module, *modules), conv.shape)


def in_float64(model: nn.Module, shared: Shared) -> nn.Module:
    """A copy of the model in float64 with the weights of this round."""
    model = copy.deepcopy(model).requires_grad_(False)
    model = model.to(shared.like.device, torch.float64)
    for name, parameter in model.named_parameters():
        parameter.copy_(shared.weights[name])
    return model


def _check_chain(model: nn.Module, steps: list[Step], *, complete: bool) -> None:
    """Raises ValueError unless the steps are the whole model, each used once, the last one linear.

    complete: whether what left the last module is what the model returns.
    """
    names = [step.name for step in steps]
    once = len(names) == len(set(names))
    last = steps[-1].module if steps else None
    linear = isinstance(last, nn.Linear)
    if not (complete and once and linear):
        raise ValueError(
            f"this {type(model).__name__} is not a chain of modules, each used once, that ends "
            f"with a linear classifier: it runs {names}; attack it with attacks.idlg"
        )


def is_idle(module: nn.Module) -> bool:
    """Whether the module leaves every number as it is."""
    if isinstance(module, models.Dropout):
        return module.p == 0
    return isinstance(module, _PASSED)


def check_invertible(name: str, module: nn.Module) -> None:
    """Raises ValueError for a module that cannot be inverted; name: what the model calls it."""
    if isinstance(module, nn.MaxPool2d):
        raise ValueError(
            f"{name} is {module}, which closed_form cannot invert: it passes on one unit of each "
            "window, and the gradient does not say which; attack this model with attacks.features"
        )
    if not _is_invertible(module):
        known = ", ".join(activation.__name__ for activation in activations.INVERTIBLE)
        raise ValueError(
            f"{name} is {module}, which closed_form cannot invert; it takes nn.Conv2d (one group, "
            f"padded with zeros), nn.AvgPool2d, nn.Linear, Dropout and {known}: attack this model "
            "with attacks.idlg"
        )


def _is_invertible(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        zeros = module.padding_mode == "zeros" and not isinstance(module.padding, str)
        return zeros and module.groups == 1
    if type(module) is nn.LeakyReLU:
        return module.negative_slope > 0
    if type(module) in activations.INVERTIBLE:
        return True
    return is_idle(module) or isinstance(module, (nn.AvgPool2d, nn.Linear, models.Dropout))
