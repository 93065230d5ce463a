"""An audit from end to end: a client's round, all probes, their scores, and what would help."""

from collections.abc import Iterable, Sequence

from torch import Generator, Tensor, nn

from dlgutils.auditing.advice import advise
from dlgutils.auditing.client import client_round
from dlgutils.auditing.clock import Clock, seconds_of
from dlgutils.auditing.inputs import check_class_names, complete_batch, own_copy
from dlgutils.auditing.looking import look
from dlgutils.auditing.probes.limit import limit_at
from dlgutils.auditing.probes.order import PROBES
from dlgutils.auditing.records import Report
from dlgutils.auditing.scoring import attackers_choice, load_scores
from dlgutils.auditing.situation import Situation
from dlgutils.auditing.words import limits_in_words, model_in_words, protocol_in_words
from dlgutils.federated.checks import check_gradient
from dlgutils.federated.local_training import PLAIN
from dlgutils.protocol import Defense, Protocol
from dlgutils.types import Batch

_PROBING = 0.7  # of the budget; the rest is for what would change the findings


def audit(
    model: nn.Module,
    batch: Batch | Tensor,
    *,
    protocol: Protocol = PLAIN,
    defenses: Iterable[Defense] = (),
    class_names: Sequence[str] = (),
    budget: float | str = "a minute",
    progress: bool = False,
    generator: Generator | None = None,
) -> Report:
    """What a network gives away of a client's images in its protocol: a `Report`.

    One client makes one honest round of all the images; every probe gets what its server sees, and
    what it finds is scored afterwards. The model is left as it was: all is done on a copy.

    Args:
        model: the network, with the weights of the round, as `share` takes it.
        batch: the images of one client, (batch, channels, height, width) in [0, 1], and their
            labels; images alone, or None for the labels: the model's own are taken.
        protocol: how the client trains, and what of it leaves the device. A scale of None is drawn
            in secret, between a half and two.
        defenses: what the update passes before it leaves, after those of the protocol.
        class_names: a name for every class, in the order of their ids; they stand beside labels.
        budget: seconds, or words such as "a minute". A search ends with it; an exact reading is
            stopped after its share; a probe that would begin later is *not reached*. The first call
            of a process takes some seconds more, to load packages.
        progress: show a tqdm bar.
        generator: on the CPU; draws masks, orders, noise and scale; None: one of seed 0.

    Ctrl-C returns what was found so far, with `complete=False`. Raises ValueError, before any
    probe, for what `share` does not take, for images too small to be scored, for class names of
    another number, and for a budget that is no time.
    """
    seconds = seconds_of(budget)
    model = own_copy(model)
    batch, predicted = complete_batch(model, batch, protocol.loss)
    class_names = check_class_names(model, batch.x, class_names)
    generator = Generator().manual_seed(0) if generator is None else generator
    secret = client_round(model, batch, generator, protocol, defenses)
    check_gradient(secret.shared)
    load_scores(batch.x[:1])
    clock = Clock(seconds)
    part = clock.part(_PROBING)
    situation = Situation(model, secret.shared, part, class_names=class_names)
    probes = {**PROBES, "limit": limit_at(secret)}
    findings = look(probes, situation, secret, progress=progress)
    best = attackers_choice(findings)
    interrupted = situation.clock.interrupted
    advice = ()
    if best is not None and not interrupted:
        advice, interrupted = advise(secret, findings[best], clock, generator)
    return Report(
        model=model_in_words(model),
        protocol=protocol_in_words(secret.shared.protocol, len(batch.x)),
        truth=secret.secret,
        findings=findings,
        best=best,
        advice=advice,
        limits=limits_in_words(secret.shared.protocol, predicted=predicted),
        seconds=clock.spent,
        complete=not interrupted,
        class_names=class_names,
    )
