"""The image without descent: layer by layer from the classifier down, each step a linear system that is solved.

Who knows what left a layer, and how the loss changes with it, knows two things about what entered. With z = A u + b the
pre-activation of one image and dz = ∂loss/∂z,

    A u = z − b                 the layer itself, wherever its activation can be inverted;
    G(dz) u = ∂loss/∂weight     the shared gradient, which is linear in u too.

Together they give u, which left the layer below; the chain rule gives ∂loss/∂u; and so on down to the image. That is the
recursion of R-GAP (Zhu & Blaschko 2021, arXiv:2010.07733), to which three things are added. Dropout before a linear layer
does not stop it: the mask is read (`masks.read`), and the equations of dropped units are left out. Every number carries the
size of its error, from rounding or from noise, so that an equation counts for as much as it is worth: a sigmoid saturated
at 1 − 10⁻⁷ tells almost nothing about its pre-activation. And a prior, weak beside good equations, fills in what they do
not tell: hidden units lie in the range of their activation, and photographs are white noise in `coordinates.whitened`.
"""

import copy
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import unfold

from dlgutils import coordinates, models
from dlgutils.analytic import masks
from dlgutils.federated import checks
from dlgutils.types import Shared, Tensors

_CLEAR = 6  # standard errors above zero from which on a unit counts as active, or not dropped
_CONTRAST = 0.6  # the size of a photograph's white coordinates
_DRAWS = 32  # random images that measure the errors of a solution
_ROUNDING = 2e-14  # of a Cholesky factorisation in float64, relative to the largest entry: 100 units in the last place


class Layer(NamedTuple):
    """One step down: what entered a layer, and how well the equations determine it."""

    name: str
    equations: int
    unknowns: int
    rank: int  # directions of u that the equations tell more about than the prior does
    condition: float  # largest over smallest singular value of the equations, each divided by its error; inf: rank missing
    residual: float  # root mean square of what the equations leave, in units of their errors: of order 1 if all is well
    u: Tensor  # (1, ...): what entered the layer

    @property
    def determined(self) -> bool:
        """Whether the equations tell all of u; otherwise the prior chose the rest."""
        return self.rank == self.unknowns


@dataclass(frozen=True)
class Solution:
    """What the recursion found in the gradient of one image; `print` shows a line for each layer."""

    x: Tensor  # (1, channels, height, width), of the gradient's dtype; not clamped to [0, 1]
    y: Tensor  # (1,): its label
    masks: Tensors  # {name: (1, features)}
    layers: tuple[Layer, ...]  # from the classifier down to the image

    @property
    def determined(self) -> bool:
        """Whether every layer was determined; otherwise part of the image is the prior's guess."""
        return all(layer.determined for layer in self.layers)

    def __str__(self) -> str:
        """A table with a line for each layer."""
        width = max(len(layer.name) for layer in self.layers) + 2
        lines = [f"{'layer':<{width}}equations  unknowns  rank  condition  residual"]
        for name, equations, unknowns, rank, condition, residual, _ in self.layers:
            line = f"{name:<{width}}{equations:>9}{unknowns:>10}{rank:>6}{condition:>11.1e}{residual:>10.1e}"
            lines.append(line if rank == unknowns else f"{line}  underdetermined")
        return "\n".join(lines)


def recover(model: nn.Module, shared: Shared, *, noise: float = 0.0) -> Solution:
    """The image, label and masks of one round by linear algebra in float64: a `Solution`.

    model: a chain of `nn.Conv2d`, `nn.Linear`, activations (Sigmoid, Tanh, LeakyReLU, ELU, Softplus, ReLU), and `Dropout`
    before linear layers, that ends with the classifier. Layers may lack a bias.
    noise: the standard deviation of noise in every number of the gradient. Rounding is accounted for without being told.
    Look at `determined` before the image: with ReLU, noise, or few channels, part of it is the prior's guess. (That a ReLU
    leaves nothing negative is used where its equations do not suffice, and not counted as an equation.)
    A convolution of n unknowns takes about 50 n² bytes and n³/3 multiplications, and where a ReLU below it leaves it
    underdetermined some twenty times as many: n = 3 072 for the LeNet and 32×32 colour pixels.
    Raises ValueError for several images, a gradient of another model, with noise that was not announced, or zero for a
    whole linear layer, for a model that is no such chain, and a negative noise.
    """
    if not 0 <= noise < math.inf:
        raise ValueError(
            f"noise is a standard deviation, got {noise}; 0 for a gradient as it was computed"
        )
    checks.check(model, shared)
    reading = masks.read(model, _of_one_image(model, shared, noise) if noise else shared)
    like = next(iter(shared.gradient.values()))
    steps = _chain(_in_float64(model, shared), shared.x_shape)
    gradient = {name: g.double() for name, g in shared.gradient.items()}
    rounding = torch.finfo(like.dtype).eps
    unknown = torch.empty(0, dtype=torch.float64, device=like.device)
    message = _Message(unknown, unknown, reading.delta[0].double(), rounding)
    layers = []
    for k, (name, module, shape) in reversed(list(enumerate(steps))):
        if isinstance(module, nn.Linear):
            layer, message = _through_linear(name, module, message, gradient, noise, rounding)
            layers.append(layer)
        elif isinstance(module, nn.Conv2d):
            below = steps[k - 1].module if k else None
            equations = _equations(
                module, shape, message, gradient[f"{name}.weight"].flatten(1), noise
            )
            layer, message = _through_convolution(name, equations, below, message)
            layers.append(layer)
        elif isinstance(module, models.Dropout):
            message = _through_dropout(module, message, reading.masks[f"{name}.mask"][0].double())
        else:
            message = _through_activation(module, message)
    return Solution(
        message.value.view(tuple(shared.x_shape)).to(like), reading.y, reading.masks, tuple(layers)
    )


def linear_input(weight_gradient: Tensor, bias_gradient: Tensor) -> Tensor:
    """What entered a linear layer, (n_in,), from ∂loss/∂weight, (n_out, n_in), and ∂loss/∂bias, (n_out,), of one image.

    Row i of ∂loss/∂weight is ∂loss/∂biasᵢ times u, so every row gives u alone; this is the least-squares mean of them all.
    Source: Phong et al. 2018, doi:10.1109/TIFS.2017.2787987; Geiping et al. 2020, arXiv:2003.14053.
    Raises ValueError for a bias gradient of zeros: then the loss does not depend on the layer.
    """
    if not bias_gradient.any():
        raise ValueError(
            "∂loss/∂bias is zero everywhere, so the gradient tells nothing about what entered this layer: all of its units "
            "were off or dropped; ask the client for another round"
        )
    return bias_gradient @ weight_gradient / (bias_gradient @ bias_gradient)


class _Message(NamedTuple):
    """What is known at one place between two modules; it travels down the chain."""

    value: Tensor  # (n,) of the image at this place
    error: Tensor  # (n,) standard error of each value; inf where nothing is known
    slope: Tensor  # (n,) ∂loss/∂value
    slope_error: float  # relative to its length


class _Step(NamedTuple):
    """A module of the chain, and the shape of what it gets of one image."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]


_INVERSES = {
    nn.Sigmoid: lambda _, a: a.value.logit(eps=1e-15),
    nn.Tanh: lambda _, a: a.value.clamp(-1 + 1e-15, 1 - 1e-15).atanh(),
    nn.LeakyReLU: lambda layer, a: torch.where(
        a.value > 0, a.value, a.value / layer.negative_slope
    ),
    nn.ELU: lambda layer, a: torch.where(
        a.value > 0, a.value, (a.value / layer.alpha).clamp(min=-1 + 1e-15).log1p()
    ),
    nn.Softplus: lambda layer, a: (
        a.value + (-torch.expm1(-layer.beta * a.value.clamp(min=1e-15))).log() / layer.beta
    ),
    nn.ReLU: lambda _, a: torch.where(a.value > _CLEAR * a.error, a.value, 0),
}
"""The pre-activation z of what left an activation; where the activation is flat, any z will do that is flat too."""

_PASSED = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.Dropout,
)  # active nn.Dropout does not pass checks.check


def _in_float64(model: nn.Module, shared: Shared) -> nn.Module:
    """A copy of the model in float64 with the weights of this round."""
    like = next(iter(shared.weights.values()))
    model = copy.deepcopy(model).to(like.device, torch.float64).requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.copy_(shared.weights[name])
    return model


def _chain(model: nn.Module, x_shape: tuple[int, ...]) -> list[_Step]:
    """The modules that one image passes, in order. Raises ValueError unless they are all that happens to it."""
    calls: list[tuple[_Step, Tensor, Tensor]] = []
    hooks = [
        module.register_forward_hook(
            lambda m, got, out, name=name: calls.append(
                (_Step(name, m, tuple(got[0].shape[1:])), got[0], out)
            )
        )
        for name, module in model.named_modules()
        if next(module.children(), None) is None
    ]
    like = next(model.parameters())
    value = torch.rand(
        (1, *x_shape[1:]), generator=Generator().manual_seed(0), dtype=torch.float64
    ).to(like)
    logits = model(value)
    for hook in hooks:
        hook.remove()
    for (name, module, _), got, out in calls:
        if not got.flatten().equal(value.flatten()):
            raise ValueError(
                f"{name} does not get what left the module before it: a branch, a sum, or a function such as F.relu or "
                "F.max_pool2d between them; closed_form needs one chain of modules: attack this model with attacks.idlg"
            )
        _check_module(name, module)
        value = out
    steps = [step for step, _, _ in calls if not _passes(step.module)]
    names = [step.name for step in steps]
    if (
        not value.equal(logits)
        or not isinstance(steps[-1].module, nn.Linear)
        or len(names) > len(set(names))
    ):
        raise ValueError(
            f"this {type(model).__name__} is no chain of modules, each used once, that ends with a linear classifier: "
            f"it runs {names}; attack it with attacks.idlg"
        )
    return steps


def _passes(module: nn.Module) -> bool:
    return isinstance(module, _PASSED) or (isinstance(module, models.Dropout) and module.p == 0)


def _check_module(name: str, module: nn.Module) -> None:
    plain = type(module) in _INVERSES or isinstance(module, (nn.Linear, models.Dropout, *_PASSED))
    if isinstance(module, nn.Conv2d):
        plain = (
            module.groups == 1
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
        )
    if isinstance(module, nn.LeakyReLU):
        plain = module.negative_slope > 0
    if not plain:
        raise ValueError(
            f"{name} is {module}, which closed_form cannot invert; it takes nn.Conv2d (one group, padded with zeros), "
            f"nn.Linear, Dropout and {', '.join(t.__name__ for t in _INVERSES)}: attack this model with attacks.idlg"
        )


def _of_one_image(model: nn.Module, shared: Shared, noise: float) -> Shared:
    """The round with linear layers as one image leaves them: gradients δ uᵀ, none of u below its error, δ of sum zero."""
    gradient = dict(shared.gradient)
    for name in (
        f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)
    ):
        left, size, right = torch.linalg.svd(gradient[name].double(), full_matrices=False)
        row = size[0] * right[0]
        gradient[name] = (left[:, :1] * torch.where(row.abs() > _CLEAR * noise, row, 0)).to(
            gradient[name]
        )
    *_, (name, delta) = gradient.items()
    if delta.ndim == 1:
        wrong = torch.arange(len(delta), device=delta.device) != delta.argmin()
        others = torch.where(wrong, delta.clamp(min=0), 0)
        gradient[name] = torch.where(wrong, others, -others.sum())
    return replace(shared, gradient=gradient)


def _through_linear(
    name: str, module: nn.Linear, above: _Message, gradient: Tensors, noise: float, rounding: float
) -> tuple[Layer, _Message]:
    """Its gradient alone tells what entered it, and ∂loss/∂bias is ∂loss/∂z; of the classifier that was read already."""
    g = gradient[f"{name}.weight"]
    dz = gradient.get(f"{name}.bias", above.slope) if len(above.value) else above.slope
    u = linear_input(g, dz)
    slope_error = max(rounding, noise / float(dz.norm()))
    error = torch.hypot(rounding * u, noise / dz.norm() * (1 + u.square()).sqrt())
    left = (g - dz[:, None] * u) / (
        noise**2 + (slope_error * g).square() + torch.finfo(g.dtype).tiny
    ).sqrt()
    layer = Layer(name, g.numel(), len(u), len(u), 1.0, float(left.square().mean().sqrt()), u[None])
    return layer, _Message(u, error, dz @ module.weight, slope_error)


def _through_dropout(module: models.Dropout, above: _Message, mask: Tensor) -> _Message:
    """Of a unit that was dropped nothing is known, and nothing depends on it."""
    keep = 1 - module.p
    error = torch.where(mask > 0, keep * above.error, math.inf)
    return above._replace(value=keep * above.value, error=error, slope=mask * above.slope)


def _through_activation(module: nn.Module, above: _Message) -> _Message:
    """Its inverse, with errors that grow where it is flat; ∂loss/∂z is as uncertain as the place on the curve."""
    z = _INVERSES[type(module)](module, above)
    derivative = _derivative(module, z)
    error = torch.where(derivative > 0, above.error / derivative, math.inf)
    # a unit that seems off is on with a chance of its error over the size of those that are on
    chance = (above.error / above.value.abs().max()).clamp(max=1)
    steeper = torch.where(derivative > 0, _derivative(module, z + error), chance) - derivative
    slope = derivative * above.slope
    length = slope.norm().clamp(min=torch.finfo(slope.dtype).tiny)
    return _Message(
        z,
        error,
        slope,
        math.hypot(above.slope_error, float((steeper * above.slope).norm() / length)),
    )


def _derivative(module: nn.Module, z: Tensor) -> Tensor:
    return torch.func.vjp(module, z)[1](torch.ones_like(z))[0]


def _through_convolution(
    name: str, equations: "_Equations", below: nn.Module | None, above: _Message
) -> tuple[Layer, _Message]:
    """Least squares with a prior, through the normal equations."""
    prior = (
        _photograph(equations.z, equations.shape)
        if below is None
        else _hidden(below, equations, above)
    )
    normal = equations.normal_matrix()
    # a prior that rounding would hide is made stronger where it only guides the solver; refinement takes that back
    strength = max(
        1.0, float(_ROUNDING * normal.diagonal().max() / prior.precision.diagonal().min())
    )
    matrix = torch.add(normal, prior.precision, alpha=strength)
    factor = torch.linalg.cholesky(matrix)
    u = _refined(equations, prior, factor)
    draws = _draws(factor, prior, strength)
    guessed = float((draws * (prior.precision @ draws)).sum()) / _DRAWS
    condition = math.inf
    if guessed < 0.5:
        condition = _condition(normal, factor, draws)
    else:
        guessed = strength * float((prior.precision * torch.cholesky_inverse(factor)).sum())
        if isinstance(below, nn.ReLU):
            u, draws = _positive(equations, prior, matrix, u, strength)
    rank = equations.unknowns - round(guessed)
    layer = Layer(
        name,
        equations.count(),
        equations.unknowns,
        rank,
        condition,
        equations.residual(u),
        u.view(1, *equations.shape),
    )
    slope = equations.spread(equations.weight.T @ equations.slope)
    return layer, _Message(u, draws.square().mean(1).sqrt(), slope, above.slope_error)


@dataclass(frozen=True)
class _Equations:
    """Both systems of one convolution, on the patches of u that its kernel meets: (taps, places), taps = (in, kh, kw)."""

    index: Tensor  # (taps, places): which unknown is met; `unknowns` for padding
    shape: tuple[int, int, int]  # of u
    weight: Tensor  # (out, taps)
    slope: Tensor  # (out, places): ∂loss/∂z
    z: Tensor  # (out, places): pre-activations without bias
    gradient: Tensor  # (out, taps): ∂loss/∂weight
    z_trust: Tensor  # (out, places): 1/error² of z, zero where it is unknown
    gradient_trust: (
        Tensor  # (out, 1): 1/error² of the gradient, zero where no place of a channel has a slope
    )

    @property
    def unknowns(self) -> int:
        return math.prod(self.shape)

    def count(self) -> int:
        """How many equations say anything."""
        return int((self.z_trust > 0).sum()) + int((self.gradient_trust > 0).sum()) * len(
            self.index
        )

    def left(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """What u, (unknowns,), leaves of both right-hand sides."""
        patches = torch.cat([u, u.new_zeros(1)])[self.index]
        return self.z - self.weight @ patches, self.gradient - self.slope @ patches.T

    def residual(self, u: Tensor) -> float:
        """Root mean square of what u leaves, in units of the errors."""
        z, g = self.left(u)
        return math.sqrt(
            float((self.z_trust * z**2).sum() + (self.gradient_trust * g**2).sum())
            / max(self.count(), 1)
        )

    def spread(self, patches: Tensor) -> Tensor:
        """The transpose of taking patches: each entry is added to the unknown that it came from, (unknowns,)."""
        return patches.new_zeros(self.unknowns + 1).index_add_(
            0, self.index.flatten(), patches.flatten()
        )[:-1]

    def pull(self, u: Tensor) -> Tensor:
        """Minus the slope of half the weighted squared error at u, (unknowns,)."""
        z, g = self.left(u)
        return self.spread(
            self.weight.T @ (self.z_trust * z) + (self.gradient_trust * g).T @ self.slope
        )

    def normal_matrix(self) -> Tensor:
        """Its second derivative, (unknowns, unknowns).

        The convolution's part is the sum over places of products of the kernel's taps; the gradient's part is the same
        (pixels, pixels) block for every channel of u.
        """
        n, (channels, height, width) = self.unknowns, self.shape
        products = torch.einsum("ot,op,os->pts", self.weight, self.z_trust, self.weight)
        pairs = self.index.T[:, :, None] * (n + 1) + self.index.T[:, None, :]
        matrix = products.new_zeros((n + 1) ** 2).index_add_(0, pairs.flatten(), products.flatten())
        matrix = matrix.view(n + 1, n + 1)[:n, :n]
        out, taps, pixels = len(self.weight), len(self.index) // channels, height * width
        index = self.index[:taps].clamp(max=pixels).expand(out, -1, -1)
        rows = products.new_zeros(out, taps, pixels + 1).scatter_add_(
            2, index, self.slope[:, None].expand(-1, taps, -1)
        )
        rows = (self.gradient_trust.sqrt()[..., None] * rows[..., :-1]).flatten(0, 1)
        matrix.view(channels, pixels, channels, pixels).diagonal(dim1=0, dim2=2).add_(
            (rows.T @ rows)[..., None]
        )
        return matrix


def _equations(
    conv: nn.Conv2d, shape: tuple[int, ...], above: _Message, gradient: Tensor, noise: float
) -> _Equations:
    out, n = len(gradient), math.prod(shape)
    numbers = torch.arange(1, n + 1, dtype=torch.float64, device=gradient.device).view(1, *shape)
    index = (
        unfold(numbers, conv.kernel_size, conv.dilation, conv.padding, conv.stride)[0].long() - 1
    )
    slope = above.slope.view(out, -1)
    trust = torch.where(above.error > 0, above.error**-2, 0).view(out, -1)
    bias = 0 if conv.bias is None else conv.bias[:, None]
    z = torch.where(trust > 0, above.value.view(out, -1) - bias, 0)
    variance = noise**2 + (above.slope_error * gradient.abs().amax(1, keepdim=True)) ** 2
    gradient_trust = torch.where(slope.any(1, keepdim=True) & (variance > 0), 1 / variance, 0)
    index = torch.where(index < 0, n, index)
    return _Equations(
        index, tuple(shape), conv.weight.flatten(1), slope, z, gradient, trust, gradient_trust
    )


class _Prior(NamedTuple):
    """A normal distribution of u."""

    mean: Tensor  # (n,)
    precision: Tensor  # (n, n)


def _photograph(like: Tensor, shape: tuple[int, int, int]) -> _Prior:
    """White coordinates of size `_CONTRAST`. They act on channels and on pixels apart, so the precision is a product."""
    channels, height, width = shape

    def square(images: Tensor) -> Tensor:
        white = coordinates.whitened.encode(0.5 + images).flatten(1) / math.sqrt(_CONTRAST)
        return white @ white.T

    colours = square(torch.eye(channels).to(like).view(-1, channels, 1, 1))
    pixels = square(torch.eye(height * width).to(like).view(-1, 1, height, width))
    return _Prior(like.new_full((math.prod(shape),), 0.5), torch.kron(colours, pixels))


def _hidden(below: nn.Module, equations: _Equations, above: _Message) -> _Prior:
    """Independent units, in the range of the activation that they left; without one, of the size of what is known above."""
    like, n = equations.z, equations.unknowns
    ends = like.new_tensor([-math.inf, math.inf])
    low, high = below(ends).tolist() if type(below) in _INVERSES else ends.tolist()
    mean, size = (low + high) / 2, (high - low) / 2
    if not math.isfinite(size):
        mean, size = 0.0, 10 * float(above.value.abs().max()) or 1.0
    return _Prior(like.new_full((n,), mean), torch.eye(n).to(like) / size**2)


def _refined(equations: _Equations, prior: _Prior, factor: Tensor) -> Tensor:
    """The minimum of squared error and prior: Newton steps with a factorised matrix that is only nearly the right one."""
    u = prior.mean
    for _ in range(8):
        pull = equations.pull(u) - prior.precision @ (u - prior.mean)
        step = torch.cholesky_solve(pull[:, None], factor)[:, 0]
        u = u + step
        if step.norm() <= 1e-9 * u.norm():
            break
    return u


def _draws(factor: Tensor, prior: _Prior, strength: float) -> Tensor:
    """Errors as they may be, (n, draws): normal, with the inverse of the factorised matrix as covariance.

    Where the equations tell nothing, the error is that of the prior itself, not of the prior made stronger.
    """
    normal = torch.randn(
        len(factor), _DRAWS, generator=Generator().manual_seed(0), dtype=torch.float64
    ).to(factor)
    draws = torch.linalg.solve_triangular(factor.T, normal, upper=True)
    if strength == 1:
        return draws
    guessed = torch.cholesky_solve(strength * (prior.precision @ draws), factor)
    return draws + (math.sqrt(strength) - 1) * guessed


def _condition(normal: Tensor, factor: Tensor, draws: Tensor) -> float:
    """The root of largest over smallest eigenvalue, to a few per cent, by iterating on a block of vectors."""
    small = large = draws
    for _ in range(2):
        small = torch.linalg.qr(torch.cholesky_solve(small, factor)).Q
        large = torch.linalg.qr(normal @ large).Q
    lowest = torch.linalg.eigvalsh(small.T @ normal @ small)[0].clamp(
        min=torch.finfo(normal.dtype).tiny
    )
    return math.sqrt(float(torch.linalg.eigvalsh(large.T @ normal @ large)[-1] / lowest))


def _positive(
    equations: _Equations, prior: _Prior, matrix: Tensor, u: Tensor, strength: float
) -> tuple[Tensor, Tensor]:
    """The minimum over u ≥ 0, and draws of its errors: Mehrotra's primal-dual interior point method (1992).

    Half of what leaves a ReLU is zero, and that no unit is negative often determines what the equations do not.
    """

    def slope(u: Tensor) -> Tensor:
        return prior.precision @ (u - prior.mean) - equations.pull(u)

    def longest(v: Tensor, step: Tensor) -> float:
        return min(1.0, float(torch.where(step < 0, -v / step, math.inf).min()))

    u = u.clamp(min=0.03 * float(u.abs().max()))
    y = (
        slope(u).clamp(min=0) + 0.01 * (slope(u).abs() * u).mean() / u
    )  # (n,): the price of u ≥ 0; at the end u y = 0
    for _ in range(60):
        factor = torch.linalg.cholesky(matrix + torch.diag(y / u))
        gap = (u * y).mean()
        if gap < 1e-3:
            break

        def newton(
            target: Tensor, u: Tensor = u, y: Tensor = y, factor: Tensor = factor
        ) -> tuple[Tensor, Tensor]:
            du = torch.cholesky_solve((target / u - slope(u))[:, None], factor)[:, 0]
            return du, (target - y * du) / u - y

        du, dy = newton(torch.zeros_like(u))
        after = ((u + longest(u, du) * du) * (y + longest(y, dy) * dy)).mean()
        du, dy = newton((after / gap) ** 3 * gap - du * dy)
        size = 0.995 * min(longest(u, du), longest(y, dy))
        u, y = u + size * du, y + size * dy
    return u, _draws(factor, prior, strength)
