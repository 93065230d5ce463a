"""A traced function does what the function does, and convolutions are products in it."""

import pytest
import torch
from torch.func import grad_and_value, vmap
from torch.nn.functional import conv2d

from dlgutils.matching.tracing import traced

CONVOLUTIONS = {  # stride, padding, dilation, groups
    "plain": ((1, 1), (0, 0), (1, 1), 1),
    "strides": ((2, 1), (0, 0), (1, 1), 1),
    "padding": ((1, 1), (1, 2), (1, 1), 1),
    "dilation": ((1, 1), (0, 0), (2, 1), 1),
    "all": ((2, 3), (3, 2), (2, 1), 1),
    "groups": ((1, 1), (0, 0), (1, 1), 2),
    "same": ((1, 1), "same", (1, 1), 1),
}


def images(seeded):
    """Images (runs, batch, channels, height, width) and a weight and a bias for each run."""
    gen = seeded(0)
    shapes = ((3, 2, 2, 9, 8), (3, 4, 2, 3, 3), (3, 4))
    return [torch.randn(shape, generator=gen, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
def test_traced_convolves_as_torch_does(seeded, name, with_bias):
    *options, groups = CONVOLUTIONS[name]
    x, weight, bias = images(seeded)

    def function(x, weight, bias):
        return conv2d(x, weight, bias if with_bias else None, *options, groups)

    alone = x[0], weight[0, :, : 2 // groups], bias[0]
    graph = traced(function, *alone)
    torch.testing.assert_close(graph(*alone), function(*alone))
    assert ("convolution" in graph.code) == (name in ("groups", "same"))


def test_traced_writes_no_convolution_where_a_layer_calls_it(seeded):
    x, weight, bias = images(seeded)
    layer = torch.nn.Conv2d(2, 4, 3, stride=2, padding=1).double()

    def function(x, weight, bias):
        weights = {"weight": weight, "bias": bias}
        return torch.func.functional_call(layer, weights, (x,)).square().sum()

    every_run = vmap(grad_and_value(function))
    graph = traced(every_run, x, weight, bias)
    assert "convolution" not in graph.code
    torch.testing.assert_close(graph(x, weight, bias), every_run(x, weight, bias))


def test_traced_takes_methods_and_mappings():
    class Bowl:
        def value(self, z, options):
            return (z**2 * options["scale"]).sum()

    z = torch.ones(2, 3)
    options = {"scale": torch.arange(6.0).view(2, 3)}
    graph = traced(vmap(Bowl().value), z, options)
    assert graph(2 * z, options).equal(torch.tensor([12.0, 48.0]))
