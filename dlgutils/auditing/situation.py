"""What a probe gets: what the server saw of one round, and how much time there is."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from dlgutils import attacks
from dlgutils.analytic.separation import Separation, separate
from dlgutils.auditing.clock import Clock
from dlgutils.auditing.label_reading import LabelReading, read_labels
from dlgutils.matching import weighing_noise
from dlgutils.matching.problem import objective
from dlgutils.types import Attack, Guess, Shared, Tensors


@dataclass(frozen=True, eq=False)
class Situation:
    """One round as its server sees it. The truth is not in it."""

    model: nn.Module  # a copy that probes may use, but do not change
    shared: Shared
    clock: Clock  # of the whole audit; a search ends with it
    seed: int = 0  # of what attackers draw

    @property
    def images(self) -> int:
        """How many images the round has."""
        return self.shared.x_shape[0]

    @property
    def plain(self) -> bool:
        """Whether the update is the gradient of plain cross-entropy, from one step."""
        protocol = self.shared.protocol
        return protocol.is_cross_entropy and protocol.steps == 1

    @cached_property
    def labels(self) -> LabelReading | None:
        """The labels as they are read, in no particular order; None: they cannot be."""
        try:
            return read_labels(self.shared)
        except ValueError:
            return None

    @cached_property
    def separation(self) -> Separation:
        """The batch taken apart, once for all probes; raises ValueError as `separate` does."""
        return separate(self.model, self.shared)

    def weighed(self, attack: Attack) -> Attack:
        """The attack, weighing noise where the round has some of a known size."""
        protocol = self.shared.protocol
        weighs = protocol.sigma and not protocol.clips_noise
        return weighing_noise(attack, protocol.sigma) if weighs else attack

    @torch.no_grad()
    def distance(self, x: Tensor, y: Tensor, masks: Tensors) -> float:
        """How far the update of these images is from the one that was sent: `Finding.distance`.

        x: (batch, channels, height, width); y: (batch,); masks: {name: (visits, *features)}.
        """
        shared = self.shared
        attack = self.weighed(attacks.idlg)
        guess = Guess(x.to(shared.like), y, masks)
        weights, target = shared.weights, shared.gradient
        loss = objective(
            self.model, attack, Guess(), guess, weights, target, protocol=shared.protocol
        )
        return float(loss)
