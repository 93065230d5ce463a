"""A batch's features by the fixed point of δ and H, from the classifier's gradient alone.

The classifier is z = W h + b with weights (classes, features); its gradient for B images is the sum
G = [∂loss/∂W, ∂loss/∂b] = Δᵀ H, where row i of Δ is (softmax(z_i) − onehot(y_i)) / B and row i of H
is [h_i, 1]. If Δ is known, H follows by least squares; if H is known, Δ follows from the weights.
The iteration takes turns, from the mean of the softmax over the images, which ∂loss/∂b shows. Two
images of one class would stay equal for ever, so a little noise parts them, and each turn goes half
of its way: for their difference it is Heron's iteration for a square root.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

import dlgutils as du
from dlgutils import federated, models
from reproduce.inputs import INITIALISERS

CERTAIN = 16  # a residual below so many eps of the gradient's dtype is a certificate
NOISE = 0.01  # of the first logits, which parts images of one class


class Unmixed(NamedTuple):
    """What the iteration found; the rows are in the order of the labels that it was given."""

    features: Tensor  # (batch, features), float64
    residual: float  # ‖G − Δᵀ H‖ / ‖G‖ with Δ computed from H: inf if no turn was finite
    steps: int  # of the try that came nearest
    certain: bool  # the residual is rounding


def honest_round(
    images: Tensor,
    y: Tensor,
    generator: Generator,
    *,
    init: str,
    classes: int = 12,
    rate: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> federated.Round:
    """A round of random images on a fresh LeNet.

    Args:
        images: to draw from, (n, 3, 32, 32).
        y: the labels, (batch,).
        generator: draws the images, the weights and the masks.
        init: a key of INITIALISERS.
        classes: of the network.
        rate: of its dropout.
        dtype: of the network, the images and the gradient.
    """
    order = torch.randperm(len(images), generator=generator)
    x = images[order[: len(y)]].to(dtype)
    lenet = models.lenet(classes=classes, dropout=rate)
    model = INITIALISERS[init](lenet, generator).to(dtype)
    return federated.honest(model, du.Batch(x, y), generator, init=None)


def draw_labels(kind: str, batch: int, classes: int, generator: Generator) -> Tensor:
    """Labels, (batch,): "different" ones, all the "same", or "random" ones."""
    if kind == "different":
        return torch.randperm(classes, generator=generator)[:batch]
    if kind == "same":
        return torch.randint(classes, (1,), generator=generator).expand(batch)
    return torch.randint(classes, (batch,), generator=generator)


def unmix(shared: du.Shared, y: Tensor, *, steps: int = 100, tries: int = 2) -> Unmixed:
    """The features of all images of a batch whose labels are known.

    Args:
        shared: what the server sees; its classifier has a bias.
        y: (batch,), in any order.
        steps: the most turns of a try.
        tries: further tries begin from more noise.
    """
    weights, gradient = classifier(shared)
    onehot = one_hot(y, len(weights)).double()
    mean = gradient[:, -1] + onehot.mean(0)  # of softmax over the images
    logits = mean.clamp(min=1e-9).log()
    enough = CERTAIN * torch.finfo(shared.like.dtype).eps
    generator = Generator().manual_seed(0)
    best = Unmixed(gradient[:0, :-1], torch.inf, 0, False)
    for k in range(tries):
        noise = torch.randn(len(y), len(mean), generator=generator, dtype=torch.float64)
        scale = k if k else NOISE
        start = (logits + scale * noise).softmax(1)
        found = take_turns(weights, gradient, onehot, start, steps)
        best = min(best, found, key=lambda one: one.residual)
        if best.residual <= enough:
            return best._replace(certain=True)
    return best


def take_turns(
    weights: Tensor, gradient: Tensor, onehot: Tensor, probabilities: Tensor, steps: int
) -> Unmixed:
    """The best of `steps` turns from a guess of the probabilities, (batch, classes)."""
    batch = len(onehot)
    inputs, best = None, Unmixed(gradient[:0, :-1], torch.inf, 0, False)
    for step in range(1, steps + 1):
        delta = (probabilities - onehot) / batch
        if not delta.isfinite().all():
            break
        target = torch.linalg.lstsq(delta.T, gradient, driver="gelsd").solution
        inputs = target if inputs is None else (inputs + target) / 2
        probabilities = (inputs @ weights.T).softmax(1)
        missing = gradient - (probabilities - onehot).T @ inputs / batch
        residual = float(missing.norm() / gradient.norm())
        if residual < best.residual:
            best = Unmixed(inputs[:, :-1], residual, step, False)
        if residual < 1e-15:
            break
    return best


def classifier(shared: du.Shared) -> tuple[Tensor, Tensor]:
    """Weights and gradient of the classifier, the bias as one more column, in float64."""
    names = shared.classifier
    both = []
    for tensors in (shared.weights, shared.gradient):
        weight, bias = (tensors[name].double() for name in names)
        both.append(torch.cat([weight, bias[:, None]], 1))
    return both[0], both[1]


def true_features(one: federated.Round) -> Tensor:
    """The features of a round's images after dropout, (batch, features), float64."""
    with torch.no_grad():
        features = one.model.body(one.secret.x).flatten(1)
    for mask in one.masks.values():
        features = features * mask
    return features.double()


def feature_error(found: Tensor, truth: Tensor) -> float:
    """How far off the worst image is, in units of the distance of the two most similar ones.

    Each true row is compared with the nearest one found; far below one, all images were told apart.
    """
    if len(found) < len(truth) or not found.isfinite().all():
        return torch.inf
    exact = "donot_use_mm_for_euclid_dist"  # the default is coarse for more than 25 rows
    distances = torch.cdist(truth, found, compute_mode=exact)
    errors, order = distances.min(1)
    if len(order.unique()) < len(order):
        return torch.inf
    return float(errors.max() / torch.nn.functional.pdist(truth).min())


def condition(one: federated.Round) -> float:
    """The condition of Δ: its largest singular value over its smallest."""
    weights, _ = classifier(one.shared)
    truth = true_features(one)
    logits = truth @ weights[:, :-1].T + weights[:, -1]
    delta = logits.softmax(1) - one_hot(one.secret.y, len(weights))
    values = torch.linalg.svdvals(delta)
    return float(values[0] / values[-1])


def read_label_counts(one: federated.Round) -> Tensor:
    """How often each class occurs in the batch, (classes,), by the bias gradient and a grey image.

    The bias gradient is mean(softmax) − counts / B. On an untrained network softmax depends little
    on the image, so that of a grey one will do. The largest remainders are rounded up.
    """
    _, gradient = classifier(one.shared)
    batch = len(one.secret.y)
    grey = torch.full_like(one.secret.x[:1], 0.5)
    with torch.no_grad():
        softmax = one.model(grey).double().softmax(1)[0]
    expected = (batch * (softmax - gradient[:, -1])).clamp(min=0)
    counts = expected.floor()
    missing = int(batch - counts.sum())
    if missing > 0:
        largest = (expected - counts).topk(missing)
        counts[largest.indices] += 1
    return counts.long()
