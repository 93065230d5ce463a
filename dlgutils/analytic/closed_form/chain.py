"""The chain of modules that an image passes through, each of which can be inverted."""

import copy

import torch
from torch import Generator, nn

from dlgutils.analytic.closed_form.layers import check_invertible, is_idle
from dlgutils.analytic.closed_form.records import Step
from dlgutils.models.modules import observe
from dlgutils.types import Shared


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
    return steps


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
