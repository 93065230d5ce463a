"""Nothing of the engine stays on the CPU when the gradients are elsewhere, found without a GPU.

Under `FakeTensorMode` tensors have shapes and devices and no numbers, and tensors of two devices
refuse to meet. Autograd asks the driver of CUDA for a context even then, so without a GPU the other
device is "meta". What is read off numbers (labels, masks, features) is read before, on the CPU.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from tqdm.auto import tqdm

from dlgutils import attacks, coordinates, models
from dlgutils.matching.descent import descend
from dlgutils.matching.problem import Problem
from dlgutils.testing import tiny_round
from dlgutils.types import Attack, Comparison, Guess, Shared

DEVICE = "cuda" if torch.cuda.is_available() else "meta"
RECIPES = [value for value in vars(attacks).values() if isinstance(value, Attack)]


@pytest.fixture
def fake():
    """Tensors within are fake; matrices that were computed before are not taken from the store."""
    coordinates._waves.cache_clear()
    with FakeTensorMode():
        yield
    coordinates._waves.cache_clear()


def elsewhere(tensors):
    """Fake tensors of the same shapes on the other device, {name: tensor}."""
    return {name: there(tensor) for name, tensor in tensors.items()}


def there(tensor):
    """A fake tensor of this shape on the other device; None stays None."""
    if tensor is None:
        return None
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=DEVICE)


def moved(model):
    """The model with its parameters and buffers on the other device."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(there(parameter)))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, there(buffer))
    return model


@pytest.fixture(scope="module", params=RECIPES, ids=lambda a: a.name)
def read_before(request):
    """A recipe, the shapes of its round, what it infers, and what it compares."""
    attack = request.param
    here = tiny_round(dtype=torch.float32)
    target = attack.compare.of_round(here.model, here.shared) if attack.compare else None
    return attack, here.shared, attack.infer(here.model, here.shared), target


def fake_problem(attack, shared, known, target):
    """Two runs of the attack on the other device, which infers and compares what is given."""
    model = moved(models.lenet((1, 8, 8), 4, dropout=0.5))
    rounds = Shared(elsewhere(shared.weights), elsewhere(shared.gradient), shared.x_shape)
    inferred = Guess(there(known.x), there(known.y), elsewhere(known.masks))
    attack = replace(attack, infer=lambda *_: inferred)
    if target is not None:
        of_round = elsewhere(target)
        compare = Comparison(attack.compare.of_guess, lambda *_: of_round)
        attack = replace(attack, compare=compare)
    return Problem(model, [rounds] * 2, attack, [0, 1], None)


def test_every_recipe_stays_where_the_gradients_are(read_before, fake):
    problem = fake_problem(*read_before)
    result = descend(problem, 3, {1, 3}, tqdm(disable=True), None)
    assert result.complete
    for found in (result.x, result.y, result.loss, result.frames):
        assert found.device.type == DEVICE


def test_a_tensor_that_was_left_on_the_cpu_is_found(fake):
    here = torch.ones(4)
    with pytest.raises(RuntimeError, match="same device"):
        there(here) + here
