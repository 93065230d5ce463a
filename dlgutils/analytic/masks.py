"""What dropout gives away: the mask of a single image is written in the gradient of the layer after it.

A linear layer z = W u + b that gets one image has ∂loss/∂W = δ uᵀ with δ = ∂loss/∂z. Where dropout switched a unit off,
u is zero, and so is that column of the gradient; where it did not, a sigmoid leaves u positive. A ReLU may be zero by
itself and then looks dropped: that mistake is harmless, since zero times either mask is zero, and so is its slope.

In a batch these products add up, and with them the zeros are covered. They can be uncovered, since the masks of the images
are independent: `separate` says how.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot

from dlgutils import models
from dlgutils.analytic import labels
from dlgutils.federated import checks
from dlgutils.types import Shared, Tensors

_ROWS_TRIED = 200  # starts of the search, one for each image in a try
_UNANNOUNCED = (
    0.25  # the share of zeros looked for without dropout: ReLUs may have them, sigmoids have none
)
_SPREAD = 0.8  # of a unit around "dropped" and "kept", in standard deviations of all units
_STEPS = 100  # the most of an iteration; it ends by itself before
_WORK_EPS = 1e-12  # relative error of the decompositions, which are in double precision


class Reading(NamedTuple):
    """What the last layer's gradient tells of every image, without any optimisation."""

    y: Tensor  # (batch,) labels, int64
    delta: Tensor  # (batch, classes): ∂loss/∂logits, where loss is the mean over the batch
    features: Tensor  # (batch, features): what entered the classifier, after dropout
    masks: Tensors  # {name: (batch, features)}, entries 0 or 1/(1 − p); layers with p = 0 have none


class Separation(NamedTuple):
    """What became of a batch: a reading if it is certain, and how far the search came if not."""

    reading: Reading | None  # only with a certificate; its images come in no particular order
    n_found: int  # images whose features were told apart
    residual: float  # ‖gradient − Σ δ hᵀ‖ / ‖gradient‖, with δ recomputed from the features; nan if they were not all found
    reason: str  # why there is no reading; empty if there is one


def read(model: nn.Module, shared: Shared) -> Reading:
    """Label, features and dropout masks of a single image, read off its gradient: a `Reading` with batch 1.

    The masks are those of all `models.Dropout` layers with p > 0, each from the zero columns of the linear layer that gets
    its output; they equal the client's except at units that were zero anyway. The features are δᵀ ∂loss/∂W / δᵀδ of the
    classifier, the model's last layer: exact up to rounding. Its δ is ∂loss/∂b; without a bias, δ is known but for its
    length, which is found from softmax(W u) − onehot(y) = δ.
    Raises ValueError for several images, a gradient that is none of one image (noise, another loss, another model), and
    for dropout whose output no linear layer gets: its mask is not to be seen.
    """
    checks.check(model, shared)
    if shared.x_shape[0] != 1:
        raise ValueError(
            f"zero columns tell the mask of one image, got a batch of {shared.x_shape[0]}, in which a column is zero only "
            "where every image dropped the unit; use separation.separate"
        )
    layers = _linear_after(model, shared.x_shape)
    dropouts = models.active_dropouts(model)
    if hidden := [name for name in dropouts if name not in layers]:
        raise ValueError(
            f"no linear layer gets the output of {', '.join(hidden)}, so its zeros are no columns of a gradient; "
            "optimise that mask together with the image: attacks.dia"
        )
    weight, bias = _classifier(shared)
    y = labels.read(shared)
    delta = shared.gradient[bias] if bias else _delta_without_bias(shared, weight, y)
    masks = {}
    for name, linear in layers.items():
        _check_one_image(linear, shared.gradient[linear])
        kept = shared.gradient[linear].any(0)
        masks[name] = kept.to(delta)[None] / (1 - dropouts[name].p)
    _check_one_image(weight, shared.gradient[weight])
    features = delta @ shared.gradient[weight] / (delta @ delta)
    return Reading(y, delta[None], features[None], masks)


def separate(model: nn.Module, shared: Shared) -> Separation:
    """Labels, features and dropout masks of every image of a batch, from the classifier's gradient: a `Separation`.

    The gradient of z = W h + b is a sum over the images, ∂loss/∂W = Σ δ hᵀ and ∂loss/∂b = Σ δ, and h, what entered the
    classifier, is zero where dropout switched a unit off. If the δ are linearly independent, some combination w of the
    gradient's rows has w·δ = 1 for one image and 0 for all others, so wᵀ ∂loss/∂W is the h of that image. **The images are
    the combinations with many zeros.** Independent components come near them; choosing the smallest entries, and making
    them smaller, gets there.

    The reading is that of `masks.read` for several images, with the mask of the dropout layer before the classifier alone;
    who comes first in it is arbitrary. It comes with a certificate: its features and labels are put through the classifier,
    and the gradient that they yield is the shared one to rounding, relative residual below 100 eps of the dtype.
    Features are exact up to rounding times the condition of the δ, which is large for images of equal labels; masks equal
    the client's except at units that were zero to rounding anyway. Fewer images than classes are needed, since the δ sum to
    zero and must be independent, and zeros: dropout's, or those of ReLUs (Dimitrov et al. 2024, arXiv:2403.03945). Sigmoids
    without dropout have none. The same input gives the same output.
    Raises ValueError for a single image, a gradient of another model, and a classifier without bias.
    """
    checks.check(model, shared)
    batch = shared.x_shape[0]
    if batch == 1:
        raise ValueError("a batch of one needs no separation; use masks.read")
    weight, bias = _classifier(shared)
    if bias is None:
        raise ValueError(
            f"{weight} has no bias, whose gradient tells how long each δ is; ask for one image a round: masks.read"
        )
    gradient = torch.cat([shared.gradient[weight], shared.gradient[bias][:, None]], 1)
    rate, name = _dropout_before(model, shared, weight)
    rank, rows = _rows(gradient, batch)
    if rank != batch:
        return Separation(None, 0, math.nan, _why_rank(rank, batch, len(gradient)))
    w = _sparse(
        rows, (rate - rate**batch) / (1 - rate**batch)
    )  # of the units that not every image dropped
    if len(w) < batch:
        return Separation(None, len(w), math.nan, _why_hidden(len(w), batch, rate if name else 0.0))
    x = w @ rows.y
    inputs = (x / x[:, -1:]).where(x.abs() > rows.rounding(w), 0)  # that of the bias is one
    y = (torch.linalg.lstsq(x.T, gradient.to(x).T).solution * x[:, -1:]).argmin(1)
    delta = _delta(
        inputs, torch.cat([shared.weights[weight], shared.weights[bias][:, None]], 1).to(x), y
    )
    residual = float((gradient - delta.T @ inputs).norm() / gradient.norm())
    if not residual <= 100 * rows.eps:
        return Separation(None, 0, residual, _why_other(residual, batch))
    features = inputs[:, :-1].to(gradient)
    kept = {name: (features != 0).to(features) / (1 - rate)} if name else {}
    return Separation(Reading(y, delta.to(gradient), features, kept), batch, residual, "")


def _linear_after(model: nn.Module, x_shape: tuple[int, ...]) -> dict[str, str]:
    """{name of a mask: weight that its layer's output is multiplied with}, where p > 0 and there is such a weight."""
    layers, after, outputs = models.active_dropouts(model), {}, {}
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}

    def follow(name: str, u: Tensor) -> None:
        for mask, output in outputs.items():
            if (u.data_ptr(), u.numel()) == (output.data_ptr(), output.numel()) and u.shape[1:] == (
                u.numel(),
            ):
                after[mask] = f"{name}.weight"

    hooks = [
        *(
            m.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out}))
            for name, m in layers.items()
        ),
        *(
            m.register_forward_pre_hook(lambda _, u, name=name: follow(name, u[0]))
            for name, m in linear.items()
        ),
    ]
    try:
        with torch.no_grad():
            model(next(model.parameters()).new_zeros(1, *x_shape[1:]))
    finally:
        for hook in hooks:
            hook.remove()
    return after


def _classifier(shared: Shared) -> tuple[str, str | None]:
    """The names of the last layer's weight, (classes, features), and of its bias, if it has one."""
    *names, last = shared.gradient
    weight, bias = (
        (last, None) if shared.gradient[last].ndim > 1 or not names else (names[-1], last)
    )
    if (axes := shared.gradient[weight].ndim) != 2:
        raise ValueError(
            f"the last layer is no linear one: {weight} has {axes} axes, a linear layer's weight has two"
        )
    return weight, bias


def _check_one_image(name: str, gradient: Tensor) -> None:
    """Raises ValueError unless the gradient of a linear layer is δ uᵀ, as that of one image is."""
    row = gradient[gradient.norm(dim=1).argmax()]
    off = gradient - (gradient @ row)[:, None] * row / (row @ row)
    share = float(off.norm() / gradient.norm())
    if share > 1e3 * torch.finfo(gradient.dtype).eps:
        raise ValueError(
            f"the gradient of {name} is no product δ uᵀ, as that of one image is: {share:.0e} of its length is left over; "
            "noise, several images, or a layer used twice hide the mask: optimise it, with attacks.dia"
        )


def _delta_without_bias(shared: Shared, weight: str, y: Tensor) -> Tensor:
    """δ of a classifier without bias: its direction is that of the columns, its length makes it a δ of its own features."""
    W, gradient = shared.weights[weight].double(), shared.gradient[weight].double()
    columns = gradient.sum(1)
    direction = columns / columns.norm() * -columns[y].sign()
    target = one_hot(y, len(W))[0]

    def error(length: Tensor) -> Tensor:
        delta = length[:, None] * direction
        logits = (delta / length[:, None] ** 2) @ gradient @ W.T
        return (logits.softmax(1) - target - delta).norm(dim=1) / length

    low, high = math.log(1e-8), math.log(2) / 2  # no δ is longer than √2
    for _ in range(10):
        tries = torch.linspace(low, high, 513, dtype=W.dtype, device=W.device)
        k = int(error(tries.exp()).argmin())
        low, high = tries[max(k - 1, 0)], tries[min(k + 1, 512)]
    if error(tries[k].exp()[None]) > 1e-3:
        raise ValueError(
            f"no length makes the columns of {weight}'s gradient a softmax − onehot: noise, or another loss"
        )
    return (tries[k].exp() * direction).to(shared.gradient[weight])


class _Rows(NamedTuple):
    """All combinations of the gradient's rows: w @ y, for w of `batch` numbers."""

    y: Tensor  # (batch, columns): orthogonal, each of length √columns; the last column is that of the bias
    strength: Tensor  # (batch,): the length that each of them has in the gradient
    size: Tensor  # (columns,): lengths of the gradient's columns
    eps: float  # relative error of the gradient

    def rounding(self, w: Tensor) -> Tensor:
        """How much of each entry of w @ y may be rounding, for w of shape (..., batch), of length one: (..., columns)."""
        return 4 * self.eps * (w / self.strength).norm(dim=-1, keepdim=True) * self.size + _WORK_EPS


def _rows(gradient: Tensor, batch: int) -> tuple[int, _Rows]:
    """The rank of the gradient, (classes, columns), and its rows as combinations of the strongest `batch`."""
    eps = max(torch.finfo(gradient.dtype).eps, _WORK_EPS)
    _, s, v = torch.linalg.svd(gradient.double(), full_matrices=False)
    scale = math.sqrt(gradient.shape[1])
    return int((s > 32 * eps * s[0]).sum()), _Rows(
        v[:batch] * scale, s[:batch] / scale, gradient.double().norm(dim=0), eps
    )


def _sparse(rows: _Rows, rate: float) -> Tensor:
    """Combinations with about `rate` zeros among the columns that are not all zero: (found, batch), at most `batch`."""
    seen = rows.size[:-1] > 0
    y, rounding = rows.y[:, :-1][:, seen], rows._replace(size=rows.size[:-1][seen]).rounding
    batch, columns = y.shape
    zeros = max(
        batch, int(columns * rate - 4 * math.sqrt(columns * rate * (1 - rate)))
    )  # four deviations below the mean
    found = y[:0, :0].new_empty(0, batch)
    if zeros > columns:
        return found
    for start in itertools.islice(_starts(y, rate), math.ceil(_ROWS_TRIED / batch)):
        for near_zero in start:
            w = _concentrated(near_zero, y, zeros)
            w = _smallest(
                y[:, (w @ y).abs() <= 100 * rounding(w)]
            )  # all units that it dropped, not the surest only
            sparse = ((w @ y).abs() <= rounding(w)).sum() >= zeros
            if sparse and ((found @ w).abs() < 0.999).all():
                found = torch.cat([found, w[None]])
        if len(found) >= batch:
            break
    return found[:batch]


def _concentrated(distance: Tensor, y: Tensor, zeros: int) -> Tensor:
    """The combination w, of length one, whose `zeros` smallest entries are as small as can be: (batch,).

    distance: (columns,) of the entries from zero, as a first guess has it. Concentration steps, as in least trimmed squares
    (Rousseeuw & Van Driessen 2006), improve it: take the smallest entries, make them smaller, take the smallest again. Once
    all of them are units that one image dropped, they are zero, and that is the end.
    """
    chosen = None
    for _ in range(_STEPS):
        smallest = distance.topk(zeros, largest=False).indices.sort().values
        if chosen is not None and smallest.equal(chosen):
            break
        chosen, w = smallest, _smallest(y[:, smallest])
        distance = (w @ y).abs()
    return w


def _smallest(y: Tensor) -> Tensor:
    """The w of length one for which w @ y is shortest: (batch,)."""
    return torch.linalg.eigh(y @ y.T).eigenvectors[:, 0]


def _starts(y: Tensor, rate: float) -> Iterator[Tensor]:
    """First guesses of how far the units of each image are from zero, without end: (batch, columns).

    Masks are drawn independently, so independent components come near the images, however many they are; columns of equal
    length, lest units that are bright in all images outweigh the masks. A few images may be found from anywhere.
    """
    generator = Generator().manual_seed(0)
    for turn in itertools.count():
        w = torch.linalg.qr(torch.randn(len(y), len(y), generator=generator, dtype=y.dtype)).Q.to(y)
        yield (w @ y).abs() if turn % 2 else _from_dropped(y / y.norm(dim=0), w, rate)


def _from_dropped(y: Tensor, w: Tensor, rate: float) -> Tensor:
    """How far the entries of the independent components of y are from the level of the dropped: (batch, columns).

    Symmetric FastICA (Hyvärinen 1999) from orthogonal w, with the slope of the log-density of a unit that was dropped, with
    probability `rate`, or kept.
    """
    mean = y.mean(1, keepdim=True)
    variance, axes = torch.linalg.eigh((y - mean) @ (y - mean).T / y.shape[1])
    whiten = (axes / variance.clamp_min(_WORK_EPS * variance[-1]).sqrt()) @ axes.T
    z = whiten @ (y - mean)
    dropped, kept = (
        -math.sqrt((1 - rate) / rate),
        math.sqrt(rate / (1 - rate)),
    )  # of mean 0 and variance 1
    gap = kept - dropped
    for _ in range(_STEPS):
        odds = gap * (w @ z - (dropped + kept) / 2) / _SPREAD**2 + math.log((1 - rate) / rate)
        is_kept = odds.sigmoid()
        slope = (gap / _SPREAD) ** 2 * (is_kept * (1 - is_kept)).mean(1, keepdim=True)
        u, _, v = torch.linalg.svd((dropped + gap * is_kept) @ z.T / z.shape[1] - slope * w)
        before, w = w, u @ v
        if (w * before).sum(1).abs().min() > 1 - 1e-6:
            break
    upright = (w @ whiten @ mean).sign()
    return (upright * (w @ z) - dropped).abs()


def _delta(inputs: Tensor, weights: Tensor, y: Tensor) -> Tensor:
    """δ of every image, (batch, classes), of what enters the classifier, bias included: (batch, features + 1)."""
    return ((inputs @ weights.T).softmax(1) - one_hot(y, len(weights))) / len(y)


def _dropout_before(model: nn.Module, shared: Shared, weight: str) -> tuple[float, str]:
    """Rate and name of the mask before the classifier; without one, a rate that ReLUs may have, and no name."""
    for name, layer in _linear_after(model, shared.x_shape).items():
        if layer == weight:
            return models.dropouts(model)[name].p, name
    return _UNANNOUNCED, ""


def _why_rank(rank: int, batch: int, classes: int) -> str:
    if rank > batch:
        return f"the gradient has rank {rank}, that of {batch} images has at most {batch}: noise, or not a mean over the batch"
    if batch >= classes:
        return f"{batch} images have as many δ, but of {classes} classes only {classes - 1} can be independent"
    return (
        f"only {rank} of the {batch} δ are independent to rounding: an image came twice, or is classified too well already "
        "to leave a trace"
    )


def _why_hidden(found: int, batch: int, rate: float) -> str:
    zeros = (
        f"as many zeros as dropout of {rate:g} makes"
        if rate
        else "zeros, and there is no dropout to make them"
    )
    return f"{found} of {batch} images were told apart: no other combinations of the gradient's rows were found with {zeros}"


def _why_other(residual: float, batch: int) -> str:
    return (
        f"{batch} vectors with many zeros were found, but as features they yield another gradient (relative residual "
        f"{residual:.0e}): chance, noise, another loss or other weights"
    )
