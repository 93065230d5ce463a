"""What a descent leaves behind: losses, the iterate of the lowest one, and the film."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from dlgutils.matching.problem import Problem
from dlgutils.types import Result


class Record:
    """The losses of all runs, their best iterates and their frames, while they descend."""

    def __init__(self, problem: Problem, frame_steps: set[int]):
        self.problem, self.wanted = problem, frame_steps
        self.current = self.best = problem.start
        self.best_loss = problem.start.new_full((len(problem.start),), torch.inf)
        self.losses: list[Tensor] = []
        self.frames, self.frame_steps = [self.images()], [0]

    @property
    def evaluations(self) -> int:
        """The number of evaluations so far."""
        return len(self.losses)

    def images(self) -> Tensor:
        """The current images of all runs."""
        return self.problem.picture(self.current)[0]

    def add(
        self, running: Tensor, trial: Tensor, value: Tensor, alive: Tensor, current: Tensor
    ) -> None:
        """Record one evaluation of the runs that are still there.

        Args:
            running: (k,) which runs these are.
            trial: (k, n) the points that were evaluated.
            value: (k,) the loss there.
            alive: (k,) bool, whether the run had not stopped before.
            current: (k, n) where the runs are now.
        """
        better = alive & (value < self.best_loss[running])
        best = torch.where(better[:, None], trial, self.best[running])
        best_loss = torch.where(better, value, self.best_loss[running])
        self.best = self.best.index_copy(0, running, best)
        self.best_loss = self.best_loss.index_copy(0, running, best_loss)
        self.current = self.current.index_copy(0, running, current)
        loss = torch.full_like(self.best_loss, torch.nan)
        self.losses.append(loss.index_copy(0, running, torch.where(alive, value, torch.nan)))
        if self.evaluations in self.wanted:
            self._take_frame()

    def result(self, complete: bool) -> Result:
        """What was found: a `Result`, whose film ends with the last evaluation."""
        if self.frame_steps[-1] != self.evaluations:
            self._take_frame()
        x, y = self.problem.picture(self.best)
        runs = len(x)
        return Result(
            x=x,
            y=y.argmax(-1) if y.is_floating_point() else y,
            loss=torch.stack(self.losses, 1) if self.losses else self.best_loss.new_empty(runs, 0),
            frames=torch.stack(self.frames),
            frame_steps=torch.tensor(self.frame_steps),
            attack=self.problem.attack.name,
            complete=complete,
        )

    def _take_frame(self) -> None:
        self.frames.append(self.images())
        self.frame_steps.append(self.evaluations)


def join(parts: Sequence[Result], seeds: Sequence[int]) -> Result:
    """The results of all chunks as one. A chunk that ended early keeps its last picture."""
    evaluations = max(part.loss.shape[1] for part in parts)
    frame_steps = torch.cat([part.frame_steps for part in parts]).unique()
    losses, films = [], []
    for part in parts:
        missing = evaluations - part.loss.shape[1]
        losses.append(pad(part.loss, (0, missing), value=torch.nan))
        films.append(part.frames[torch.searchsorted(part.frame_steps, frame_steps, right=True) - 1])
    return Result(
        x=torch.cat([part.x for part in parts]),
        y=torch.cat([part.y for part in parts]),
        loss=torch.cat(losses),
        frames=torch.cat(films, 1),
        frame_steps=frame_steps,
        seeds=torch.tensor(seeds),
        attack=parts[0].attack,
        complete=all(part.complete for part in parts),
    )


def frame_schedule(steps: int, frames: int) -> set[int]:
    """After how many evaluations a film has its frames: at most `frames` numbers from 1 to `steps`.

    They grow like squares: the picture changes most at first.
    """
    return {max(1, round(steps * (k / frames) ** 2)) for k in range(1, frames + 1)}
