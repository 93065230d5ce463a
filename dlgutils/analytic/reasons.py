"""Why a batch did not come apart, in words."""

from torch import Tensor

from dlgutils.analytic.mixing_solution import Found


def impossible(traces: int, batch: int, classes: int) -> str:
    """The reason if the bias gradient is not that of so many images; as for `no_certificate`."""
    if traces < batch:
        return wrong_rank(traces, batch, classes)
    return (
        f"no labels of {batch} images agree with the gradient of the classifier's bias, whether "
        "the loss is their mean or their sum: the gradient was scaled, or is of another loss"
    )


def no_certificate(residual: float, traces: int, batch: int, classes: int) -> str:
    """The reason if nothing that was found gives the gradient back.

    Args:
        residual: of the nearest that was found.
        traces: independent δ that the gradient shows.
        batch: images that there are.
        classes: that the network tells apart.
    """
    if traces < batch:
        return wrong_rank(traces, batch, classes)
    crowded = ""
    if 2 * batch > classes:
        crowded = (
            f", or too many images to find from so few starts: more than half of the {classes} "
            "classes; separate(model, shared, effort=20) begins from more places"
        )
    return (
        f"no {batch} images were found whose features and labels give this gradient back (the "
        f"nearest leave {residual:.0e} of it): noise, another loss or other weights{crowded}"
    )


def other_scale(scale: float) -> str:
    """The reason if the images are certain, but only with another scale than the protocol says."""
    return (
        f"this gradient is {scale:.4g} times what the features and labels of its images imply: the "
        f"client multiplied it; say so: Shared(..., protocol=Protocol(scale={scale:.4g})), or "
        "scale=None to have it found"
    )


def scale_undetermined(traces: int, batch: int) -> str:
    """The reason if an unknown scale cannot be told; `traces`: independent δ of the gradient."""
    if traces < batch:
        return (
            f"only {traces} of the {batch} δ are independent to rounding, and two images of one δ "
            "look like one image and twice the scale: of an unknown scale, all images must leave a "
            "trace; state it, Protocol(scale=...), or ask for fewer images a round"
        )
    return (
        "images and labels give this gradient back, but with almost any scale: it is not "
        "determined by what was sent; state it, Protocol(scale=...)"
    )


def other_labels(found: Tensor, y: Tensor) -> str:
    """The reason if the labels that were found are not among those that were given."""
    return (
        f"the images that this gradient shows have the labels {sorted(found.tolist())}, which are "
        f"not among those given, {sorted(y.tolist())}: wrong labels, or another round"
    )


def incomplete(told_apart: Tensor, batch: int, found: Found) -> str:
    """The reason if the sum is certain, but not every image; empty if every image is.

    told_apart: (images,) bool, of those that left a trace.
    """
    traces, n = len(told_apart), int(told_apart.sum())
    if n == batch:
        return ""
    parts = []
    if n < traces:
        parts.append(
            f"{traces - n} have nearly the same δ as others, or nearly none, so that rounding "
            f"leaves their features an error of up to {float(found.error.max()):.0e} of their "
            "length (a gradient in double precision tells more)"
        )
    if traces < batch:
        parts.append(
            f"{batch - traces} left no trace: the network is so sure of them that their δ are "
            "below the rounding of this gradient"
        )
    return f"{n} of {batch} images were told apart; of the others, " + "; ".join(parts)


def wrong_rank(rank: int, batch: int, classes: int) -> str:
    """The reason if the rank of the gradient is not the number of images."""
    if rank > batch:
        return (
            f"the gradient has rank {rank}, that of {batch} images has at most {batch}: noise, a "
            "gradient that was rounded, or the loss is not a mean over the batch"
        )
    if batch >= classes:
        return (
            f"{batch} images have {batch} δ, but with {classes} classes only {classes - 1} of "
            "them can be independent"
        )
    return (
        f"only {rank} of the {batch} δ are independent to rounding, or their features are not: an "
        "image came twice, is classified too well to leave a trace, or the layer is too narrow"
    )
