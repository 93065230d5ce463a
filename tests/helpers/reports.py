"""Reports made by hand, with real images: what an audit of eight photographs might have found."""

from dataclasses import replace

import torch

from dlgutils import data, metrics
from dlgutils.auditing import Advice, Finding, Report, Scores
from dlgutils.types import Batch


def rate(successes, total):
    """`successes` of `total`, with an interval."""
    return metrics.success_rate(torch.arange(total) < successes)


def found_images(truth, near=3):
    """The truth with noise: little on the first `near` images, and on others too much."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(truth.x.shape, generator=generator)
    sigma = torch.where(torch.arange(len(truth.x)) < near, 0.03, 0.6)
    return Batch(truth.x + sigma[:, None, None, None] * noise, truth.y)


def photographs(n=8, size=32):
    """n photographs and their labels."""
    return Batch(*(part[:n] for part in data.photos(size=size)))


def full_report(n=8, size=32, near=3):
    """A report with every kind of finding: `near` of n images come back."""
    truth = photographs(n, size)
    scores = Scores(rate(near, n), rate(near, n), mse=0.12, ssim=0.3, baseline_mse=0.08)
    return Report(
        model="CNN, 545 098 numbers",
        protocol=f"one step on {n} images at once, and the gradient is sent",
        truth=truth,
        findings=findings(truth, near, scores),
        best=3,
        advice=advice(n, near),
        limits=LIMITS,
        seconds=41.7,
    )


def findings(truth, near, scores):
    """One of each verdict, and two that leak."""
    n = len(truth.x)
    return (
        Finding(
            "labels",
            "leak",
            f"The {n} labels were read off the signs of the last layer’s bias, without a search.",
            "the counts add up to the number of images",
            ("fc.bias",),
            0.01,
            labels=rate(n, n),
        ),
        Finding(
            "masks",
            "leak",
            "Which units dropout left out can be seen as columns that are exactly zero.",
            "65 of 128 columns are zero to the last bit",
            ("classifier.weight",),
            0.02,
            masks={"dropout": torch.ones(n, 128)},
        ),
        Finding(
            "closed form",
            "inapplicable",
            "The network branches in forward, where the equations want a chain of layers.",
            seconds=0.004,
        ),
        Finding(
            "feature matching",
            "leak",
            f"{near} of {n} images come back from the features that entered the linear layers.",
            "the features of what was found agree with those read to 2e-5",
            ("hidden.weight", "hidden.bias"),
            32.4,
            found=found_images(truth, near),
            distance=2e-5,
            labels=rate(n, n),
            scores=scores,
        ),
        Finding(
            "scale", "quiet", "The update has the scale that the protocol states.", seconds=0.3
        ),
        Finding(
            "separation", "failed", "It broke: LinAlgError, the input is singular.", seconds=4.2
        ),
        Finding("gradient matching", "not reached", "The budget of a minute ended before it."),
    )


def advice(n, near):
    """Two changes, of which one helps."""
    return (
        Advice(
            "clip to 1 and add noise of 0.01",
            "Nothing is recognisable in the noise; expect some points of accuracy to go.",
            rate(near, n),
            rate(0, n),
        ),
        Advice(
            "five local steps",
            "It costs nothing, and hides little.",
            rate(near, n),
            rate(near - 1, n),
        ),
    )


LIMITS = (
    "It tried the attacks that it knows, for a minute: a better one may find more.",
    "It looked at one round; many rounds of the same images show more than one.",
    "It counts what is recognisable, not what a person may infer from a blurred picture.",
)


EVIL = "<script>alert(\"1\")</script> & '$style' \x1b[31m\n"


def hostile_report(evil=EVIL):
    """A report whose every text is markup, or would steer a terminal."""
    report = full_report(2, near=1)
    one = replace(report.findings[3], probe=evil, told=evil, certificate=evil, read_from=(evil,))
    change = replace(report.advice[0], change=evil, told=evil)
    texts = {"model": evil, "protocol": evil, "limits": (evil,)}
    return replace(report, findings=(one,), best=0, advice=(change,), **texts)


def quiet_report():
    """A report of one image in which nothing came back."""
    report = full_report(1, near=0)
    quiet = replace(report.findings[4], certificate="")
    return replace(report, findings=(quiet,), best=None, advice=(), limits=LIMITS[:1])
