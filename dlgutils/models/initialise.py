"""Fresh weights from a generator, and the weights of a model as a value."""

import copy

import torch
from torch import Generator, nn

from dlgutils.models.wrappers import unwrapped
from dlgutils.types import Tensors


def init_default(model: nn.Module, generator: Generator) -> nn.Module:
    """A copy of `model` with fresh weights as PyTorch initialises them.

    They follow from a seed drawn from `generator`, on the CPU. The `reset_parameters` of every
    layer is called, so any model will do; parameters of layers without it are kept. Those of
    convolutions and linear layers are U(−1/√fan_in, 1/√fan_in). The global random state is left as
    it was.
    """
    fresh = copy.deepcopy(model).cpu()
    seed = torch.randint(2**62, (), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(seed))
        for layer in fresh.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return fresh.to(next(model.parameters()))


def init_uniform(model: nn.Module, generator: Generator, bound: float = 0.5) -> nn.Module:
    """A copy of `model` with weights *and biases* from U(−bound, bound).

    Drawn on the CPU; the bound of 0.5 is the initialisation that the book calls wide. Source: the
    public code of Zhu, Liu & Han 2019, arXiv:1906.08935.
    """
    fresh = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in fresh.parameters():
            uniform = torch.rand(parameter.shape, generator=generator)
            parameter.copy_((uniform * 2 - 1) * bound)
    return fresh


def weights(model: nn.Module) -> Tensors:
    """A detached copy of the model's parameters, {name: tensor}, without prefixes of wrappers."""
    parameters = unwrapped(model).named_parameters()
    return {name: p.detach().clone() for name, p in parameters}
