"""Example-level privacy: one step of DP-SGD as its server sees it, and training."""

import copy
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader, TensorDataset

from dlgutils import models
from dlgutils.federated import defenses
from dlgutils.federated.checks import check_batch, check_model
from dlgutils.federated.defenses.checks import require_generator
from dlgutils.federated.dp_sgd.backend import DPOptimizer, GradSampleModule, PrivacyEngine, quiet
from dlgutils.federated.dp_sgd.checks import (
    check_alone,
    check_called,
    check_delta,
    check_numbers,
    check_private,
)
from dlgutils.federated.inputs import check_arrays
from dlgutils.federated.local_training import trained_names
from dlgutils.protocol import Protocol
from dlgutils.types import Batch, Shared

MOMENTUM = partial(SGD, lr=0.5, momentum=0.9)
"""The optimiser of private training, unless another is given."""


class Private(NamedTuple):
    """A network trained by DP-SGD, and what that promises to each example."""

    model: nn.Module
    epsilon: float  # at `delta`, by Opacus' accountant
    delta: float
    noise_multiplier: float  # of the noise of a sum of clipped gradients, in units of the clip
    sample_rate: float  # the probability with which an example is in a step
    steps: int


def private_round(
    model: nn.Module,
    batch: Batch,
    generator: Generator,
    *,
    max_grad_norm: float,
    noise_multiplier: float,
) -> Shared:
    """One step of DP-SGD as its server sees it: the mean of clipped gradients, and noise.

    Each image's gradient is clipped to `max_grad_norm`, and N(0, (noise_multiplier ·
    max_grad_norm)²) is added to their sum, which is divided by their number: example-level privacy.
    The round's protocol has both, so that attacks repeat the clipping and know the noise.

    Args:
        model: its weights are those of the round; without BatchNorm and active dropout.
        batch: the images of the step and their labels.
        generator: on the CPU; draws the noise.
        max_grad_norm: the clip, C.
        noise_multiplier: the noise in units of C; 0 for none, which has no ε.

    Raises ValueError for a model that DP-SGD cannot train, and for numbers out of range.
    """
    model = _trainable(model, batch)
    check_numbers({"noise_multiplier": noise_multiplier, "max_grad_norm": max_grad_norm})
    generator = require_generator("the noise of DP-SGD", generator)
    weights = models.weights(model)
    size = len(batch.x)
    with quiet():
        sampled = GradSampleModule(model)
        optimizer = DPOptimizer(
            SGD(sampled.parameters(), lr=1.0),
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=size,
            generator=_on_device(generator, batch.x),
        )
        cross_entropy(sampled(batch.x), batch.y).backward()
        optimizer.pre_step()
    named = sampled._module.named_parameters()
    gradient = {name: p.grad.clone() for name, p in named if p.grad is not None}
    sigma = noise_multiplier * max_grad_norm / size
    row = (defenses.noise(sigma),) if sigma else ()
    soft = batch.y.is_floating_point()
    protocol = Protocol(example_norm=max_grad_norm, defenses=row, soft_targets=soft)
    return Shared(weights, gradient, tuple(batch.x.shape), protocol)


def train(
    model: nn.Module,
    data: Batch,
    generator: Generator,
    *,
    epochs: int,
    batch_size: int,
    noise_multiplier: float,
    delta: float = 1e-5,
    max_grad_norm: float = 1.0,
    optimizer: Callable[[Iterable[Tensor]], Optimizer] = MOMENTUM,
) -> Private:
    """A copy of the model, trained by DP-SGD, and its ε: Opacus does all of it.

    Every step takes each example with the probability 1 / ⌈n / batch_size⌉ (Poisson sampling), as
    the accountant assumes, so the size of a batch varies.

    Args:
        model: the network; without BatchNorm and active dropout.
        data: images and labels to train on.
        generator: on the CPU; draws batches and noise.
        epochs: passes over the data, on average.
        batch_size: examples of a step, on average.
        noise_multiplier: see `noise_multiplier_for`; 0 trains without privacy, ε = inf.
        delta: at which ε is told; less than one over the number of examples.
        max_grad_norm: the clip of each example's gradient.
        optimizer: of the parameters, such as `partial(torch.optim.SGD, lr=0.5)`.

    Raises ValueError for a model that DP-SGD cannot train, and for numbers out of range.
    """
    model = _trainable(model, data)
    numbers = {"noise_multiplier": noise_multiplier, "max_grad_norm": max_grad_norm}
    check_numbers({**numbers, "delta": delta, "epochs": epochs, "batch_size": batch_size})
    generator = require_generator("the batches and noise of DP-SGD", generator)
    check_delta(delta, len(data.x))
    size = min(batch_size, len(data.x))
    loader = DataLoader(TensorDataset(*data), batch_size=size, generator=generator)
    with quiet():
        engine = PrivacyEngine(accountant="rdp")
        sampled, private, loader = engine.make_private(
            module=model,
            optimizer=optimizer(model.parameters()),
            data_loader=loader,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            noise_generator=_on_device(generator, data.x),
        )
        for _ in range(epochs):
            for x, y in loader:
                private.zero_grad()
                cross_entropy(sampled(x), y).backward()
                private.step()
        spent = engine.get_epsilon(delta) if noise_multiplier else math.inf
    trained = sampled._module.eval()
    steps = epochs * len(loader)
    return Private(trained, max(float(spent), 0.0), delta, noise_multiplier, 1 / len(loader), steps)


def _trainable(model: nn.Module, batch: Batch) -> nn.Module:
    """A copy in train mode, if DP-SGD can train it on such images."""
    check_arrays(batch)
    model = models.unwrapped(model)
    check_private(model)
    check_model(model)
    check_batch(model, batch)
    check_alone(model, batch.x[:1])
    check_called(model, batch.x[:1])
    if not trained_names(model):
        raise ValueError(
            "no parameter of this model is trained: requires_grad is False everywhere, so there is "
            "no gradient to clip; call requires_grad_(True) on what the client trains"
        )
    model = copy.deepcopy(model).train()
    for layer in model.modules():
        if getattr(layer, "inplace", False):
            layer.inplace = False  # what hooks have seen may not be changed in place
    return model


def _on_device(generator: Generator, like: Tensor) -> Generator:
    """A generator on the device of a tensor: the same one, or another seeded from it."""
    if like.device == generator.device:
        return generator
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return Generator(like.device).manual_seed(seed)
