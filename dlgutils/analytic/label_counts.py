"""How many images of each class a batch holds, from the bias gradient of the classifier.

The mean over the batch of δ = softmax − onehot is ∂loss/∂b. So with B images, n_k of them of class
k, and P_k the sum over the batch of the probabilities of class k,

    n_k = P_k − B ∂loss/∂b_k.

Two things follow. P_k is not negative, so n_k ≥ −B ∂loss/∂b_k: a lower bound that needs nothing
else, and that is exact for every class with P_k < 1: for a network that is sure and right, the
classes with at most one image. And a network that has not been trained gives nearly the same
probabilities to every image: those of its bias alone stand for P_k / B, and n_k follows by
rounding.

Where the features are not negative, as behind ReLUs or sigmoids, a third: the row of class k in
∂loss/∂W is Σ_i p_ik h_i / B, not negative, less the features of the images of class k. So a class
with a negative entry in its row has an image (after Yin et al. 2021, arXiv:2104.07586); an image's
own units, that no other switches on, make one.

Sources: Wainakh et al. 2022, arXiv:2105.09369 (LLG); Ma et al. 2023 (iLRG), who go further.
"""

import torch
from torch import Generator, Tensor

_FROM_ALL = 0.2  # how often labels are drawn from all classes, beside those that are there
_MOST = 2**31  # images of a class, whose sums over classes are whole numbers still
_ROUNDING = 1e-4  # of an image: a bound that is exceeded by less does not count


def lower_bounds(delta_sum: Tensor) -> Tensor:
    """The least number of images of each class, (classes,), int64: ⌈−Σδ⌉, at least 0.

    A number above any batch, as of a gradient that was divided by almost nothing, is cut to 2³¹.

    delta_sum: (classes,), δ summed over the batch; B ∂loss/∂b where the loss is a mean.
    """
    least = (-delta_sum - _ROUNDING).ceil()
    return least.clamp(0, _MOST).long()


def present(rows: Tensor, slack: float) -> Tensor:
    """Which classes have an image for sure, if no feature is negative: (classes,) bool.

    rows: (classes, features), of ∂loss/∂W. slack: how far below zero rounding may be.
    """
    return rows.amin(1) < -slack


def sharpened(least: Tensor, there: Tensor, images: int) -> Tensor:
    """Lower bounds, (classes,), at least one where a class is there, if that can be.

    Features of either sign show more classes than there are images: they say nothing.

    Args:
        least: the lower bounds.
        there: (classes,) bool, as of `present`.
        images: how many there are.
    """
    more = least.maximum(there.long())
    return more if int(more.sum()) <= images else least


def possible(delta_sum: Tensor | None, images: int, slack: float = 0.0) -> bool:
    """Whether so many images can have this sum of δ, (classes,), to `slack` images of a class."""
    if delta_sum is None:
        return True
    return int(lower_bounds(delta_sum + slack).sum()) <= images


def of_either_sign(bias_gradient: Tensor, images: int) -> Tensor:
    """Classes that images have, where δ was multiplied by an unknown number of unknown sign.

    The sum of δ is negative only at classes that are there, so there are at most as many of those
    as images. Where that holds of either sign, both count. bias_gradient: (classes,).
    """
    signs = [bias_gradient < 0, bias_gradient > 0]
    few = [sign for sign in signs if int(sign.sum()) <= images]
    return torch.stack(few or signs).any(0).nonzero()[:, 0]


def of_untrained(delta_sum: Tensor, bias: Tensor, batch: int) -> Tensor:
    """The counts, (classes,), int64, if all images have the probabilities softmax(bias).

    delta_sum: (classes,), as in `lower_bounds`. bias: (classes,), of the classifier. Beginning
    with the lower bounds, images are added where most are missing, until there are enough.
    """
    expected = batch * bias.softmax(0) - delta_sum
    counts = lower_bounds(delta_sum).clamp(max=batch)
    for _ in range(batch - int(counts.sum())):
        largest = (expected - counts).argmax()
        counts[largest] += 1
    return counts


def draw(least: Tensor, batch: int, n: int, generator: Generator) -> Tensor:
    """Labels that lower bounds allow, (n, batch), int64, each row in ascending order.

    What the bounds leave open is drawn: mostly from the classes that are there, since an image of a
    class hides another one of it, and now and then from all.

    Args:
        least: (classes,), images of each class, at least.
        batch: the number of images.
        n: how many draws.
        generator: on the CPU.
    """
    least = least.cpu()
    classes = len(least)
    missing = batch - int(least.sum())
    present = torch.arange(classes).repeat_interleave(least)
    if missing <= 0:
        return present[:batch].expand(n, -1)
    there = (least > 0).double()
    weights = there / there.sum().clamp(min=1) + _FROM_ALL / classes
    more = torch.multinomial(weights, n * missing, replacement=True, generator=generator)
    rows = torch.cat([present.expand(n, -1), more.view(n, missing)], 1)
    return rows.sort(1).values


def without(y: Tensor, found: Tensor) -> Tensor:
    """The labels y, (batch,), less those that were found, (n,), each once."""
    left = y.tolist()
    for label in found.tolist():
        if label in left:
            left.remove(label)
    return torch.tensor(left, dtype=torch.int64, device=y.device)
