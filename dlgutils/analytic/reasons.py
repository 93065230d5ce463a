"""Why a batch did not come apart, in words: the `reason` of a `separation.Separation`."""


def wrong_rank(rank: int, batch: int, classes: int) -> str:
    """Of a gradient whose rank is not the number of images."""
    if rank > batch:
        return (
            f"the gradient has rank {rank}, that of {batch} images has at most {batch}: noise, "
            "or the loss is not a mean over the batch"
        )
    if batch >= classes:
        return (
            f"{batch} images have {batch} δ, but with {classes} classes only {classes - 1} of "
            "them can be independent"
        )
    return (
        f"only {rank} of the {batch} δ are independent to rounding: an image came twice, or is "
        "already classified too well to leave a trace"
    )


def too_few_zeros(found: int, batch: int, rate: float) -> str:
    """Of a search that found too few combinations with zeros; rate: of dropout, 0 without it."""
    zeros = "zeros, and there is no dropout to make them"
    if rate:
        zeros = f"as many zeros as dropout of {rate:g} makes"
    return (
        f"{found} of {batch} images were told apart: "
        f"no other combinations of the gradient's rows were found with {zeros}"
    )


def another_gradient(residual: float, batch: int) -> str:
    """Of a reading without a certificate."""
    return (
        f"{batch} vectors with many zeros were found, but as features they yield another gradient "
        f"(relative residual {residual:.0e}): chance, noise, another loss or other weights"
    )
