"""What a probe gets: what the server saw of one round, and how much time there is."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from dlgutils import attacks
from dlgutils.analytic.masks import Reading
from dlgutils.analytic.separation import Separation, separate
from dlgutils.auditing.clock import Clock
from dlgutils.auditing.deadline import Deadline, TimeIsUpError
from dlgutils.auditing.label_reading import LabelReading, read_labels, states_scale
from dlgutils.matching import weighing_noise
from dlgutils.matching.problem import objective
from dlgutils.types import Attack, Guess, Shared, Tensors

MOST_IMAGES = 32
"""How many images are taken apart, at most: 32 of a hundred classes need ten seconds."""
_SEPARATING = 0.5  # of the time that is left

ATTACKERS_SEED = 7_203_961
"""Where attackers start. With seed 0 they would start at the truth itself of whoever tries an audit
with `torch.manual_seed(0)` and `torch.rand(1, 3, 32, 32)`, and report a leak."""


@dataclass(frozen=True, eq=False)
class Situation:
    """One round as its server sees it. The truth is not in it."""

    model: nn.Module  # a copy that probes may use, but do not change
    shared: Shared
    clock: Clock  # of the whole audit; a search ends with it
    seed: int = ATTACKERS_SEED  # of what attackers draw
    class_names: tuple[str, ...] = ()  # by class id; (): classes have numbers only

    @property
    def images(self) -> int:
        """How many images the round has."""
        return self.shared.x_shape[0]

    @property
    def plain(self) -> bool:
        """Whether the update is the gradient of plain cross-entropy, from one step."""
        protocol = self.shared.protocol
        return protocol.is_cross_entropy and protocol.steps == 1

    def read_labels(self) -> LabelReading:
        """The labels as they are read, in no particular order.

        Those of a batch that was multiplied by an unknown number come with the whole batch, where
        it comes apart. Raises ValueError as `label_reading.read_labels` does.
        """
        if self.images > 1 and not states_scale(self.shared):
            apart = self.apart
            if apart is not None:
                told = "The labels come with the batch, which is taken apart whatever its scale"
                certificate = f"they leave {self.separation.residual:.0e} of the gradient"
                read_from = tuple(name for name in self.shared.classifier if name)
                return LabelReading(apart.y, told, certificate, read_from, certain=True)
        return read_labels(self.shared)

    @cached_property
    def labels(self) -> LabelReading | None:
        """What `read_labels` returns; None: they cannot be read."""
        try:
            return self.read_labels()
        except ValueError:
            return None

    @cached_property
    def apart(self) -> Reading | None:
        """The reading of a batch all of whose images come apart; None: they do not, or one came."""
        if self.images == 1:
            return None
        try:
            found = self.separation
        except (ValueError, TimeIsUpError):
            return None
        return found.reading if found.n_found == self.images else None

    @property
    def separation(self) -> Separation:
        """The batch taken apart, once for all probes, in half of the time that is left.

        Raises ValueError as `separate` does, and for batches whose search would have no end soon;
        TimeIsUpError, again and again, where it was stopped.
        """
        found = self._taken_apart
        if isinstance(found, TimeIsUpError):
            raise TimeIsUpError(str(found))
        return found

    @cached_property
    def _taken_apart(self) -> Separation | TimeIsUpError:
        if self.images > MOST_IMAGES:
            raise ValueError(
                f"taking {self.images} images apart takes many minutes; an audit tries that up to "
                f"{MOST_IMAGES}, and separation.separate without a limit"
            )
        try:
            with Deadline(self.clock.part(_SEPARATING)):
                return separate(self.model, self.shared)
        except TimeIsUpError as late:
            return late

    def weighed(self, attack: Attack) -> Attack:
        """The attack, weighing noise where the round has some of a known size."""
        protocol = self.shared.protocol
        weighs = protocol.sigma and not protocol.clips_noise
        return weighing_noise(attack, protocol.sigma) if weighs else attack

    @torch.no_grad()
    def distance(self, x: Tensor, y: Tensor, masks: Tensors) -> float:
        """How far the update of these images is from the one that was sent: `Finding.distance`.

        It is inf for what is no number.

        x: (batch, channels, height, width); y: (batch,); masks: by name, one a visit.
        """
        shared = self.shared
        attack = self.weighed(attacks.idlg)
        guess = Guess(x.to(shared.like), y, masks)
        weights, target = shared.weights, shared.gradient
        loss = objective(
            self.model, attack, Guess(), guess, weights, target, protocol=shared.protocol
        )
        return float(loss.nan_to_num(torch.inf))
