"""What an audit says: a finding of each probe, scores, advice, and the report that holds them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from dlgutils import storage
from dlgutils.auditing import documents, pages, text
from dlgutils.metrics import Rate
from dlgutils.types import Batch, Tensors

Verdict = Literal["leak", "quiet", "inapplicable", "failed", "not reached"]
"""*leak*: it read something of the client; *quiet*: it looked and read nothing; *inapplicable*: it
does not fit this network or protocol; *failed*: it broke; *not reached*: the budget ended first."""


@dataclass(frozen=True)
class Scores:
    """What was found beside the truth, which no probe sees."""

    recognisable: Rate  # SSIM of 0.5 or more, and nearer than the baseline
    identified: Rate | None  # nearer to its own image than all others that the caller gave are,
    # with less than half the baseline's error; None: the caller gave one image only
    mse: float  # median over the images
    ssim: float  # median over the images
    baseline_mse: float  # median MSE of a guess without the update: the mean of the caller's other
    # images, or mid-grey where that is nearer


@dataclass(frozen=True)
class Finding:
    """What one probe read of one round, and how the attacker knows."""

    probe: str  # its name, such as "labels"
    verdict: Verdict
    told: str  # in plain words, one or two sentences, with the numbers; or why there are none
    certificate: str = ""  # what the attacker sees that says it is right; "": nothing does
    read_from: tuple[str, ...] = ()  # the tensors of the update that it was read from
    seconds: float = 0.0
    found: Batch | None = None  # images and labels, in the order of the truth once scored
    masks: Tensors = field(default_factory=dict)  # of dropout, {name: (visits, *features)}
    distance: float | None = None  # of the update that this would have sent, as attackers measure
    # it: the relative squared error; behind noise, minus the logarithm of the posterior density
    named: Tensor | None = None  # (n,) the labels that it names, in any order
    labels: Rate | None = None  # of the client's labels, those that are among the named ones
    scores: Scores | None = None  # None: it found no images


@dataclass(frozen=True)
class Advice:
    """A change, and what the audit finds after it."""

    change: str  # such as "clip to 1 and add noise of 0.01"
    told: str  # what it does, and what it costs, in plain words
    before: Rate  # images recognisable as it is
    after: Rate  # and with this change


@dataclass(frozen=True)
class Report:
    """What an audit found."""

    model: str  # its class, and how many numbers it has
    protocol: str  # in plain words
    truth: Batch  # the client's images and labels
    findings: tuple[Finding, ...]  # in the order of the probes
    best: int | None  # which finding the attacker would choose by what they see; None: no images
    advice: tuple[Advice, ...] = ()
    limits: tuple[str, ...] = field(default=())  # what this audit cannot see, a sentence each
    seconds: float = 0.0
    complete: bool = True  # False if it was interrupted
    class_names: tuple[str, ...] = ()  # by class id; (): classes have numbers only

    def __str__(self) -> str:
        """The verdict and a table of the findings, at most 80 columns wide."""
        return text.table(self.to_dict())

    def __repr__(self) -> str:
        """The verdict, in one line."""
        return f"Report({self.verdict})"

    @property
    def verdict(self) -> str:
        """What came back, in a sentence or two: images, labels, what was not reached."""
        return self.to_dict()["verdict"]

    def _repr_html_(self) -> str:
        """What notebooks show: verdict, pictures, a table, advice and limits, in dark and light."""
        return pages.fragment(self.to_dict(), self.truth, self._found)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, as `documents.schema` describes them: no images."""
        return documents.document(self, self.truth, self._found)

    def to_json(self, path: str | Path | None = None) -> str:
        """The report as JSON, which `documents.schema` describes: no images.

        path: of a file, which is written whole or not at all. Raises its OSError.
        """
        return _written(documents.as_json(self.to_dict()), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """The report as one page that needs nothing else: no script, no request to anywhere.

        path: of a file, which is written whole or not at all. Raises its OSError.
        """
        return _written(pages.page(self.to_dict(), self.truth, self._found), path)

    @property
    def _found(self) -> list[Batch | None]:
        return [finding.found for finding in self.findings]


def _written(content: str, path: str | Path | None) -> str:
    if path is not None:
        storage.write_atomic(Path(path), content.encode("utf-8", "replace"))
    return content
