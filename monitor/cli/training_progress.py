"""The progress of a training on the console."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from monitor.learning.train.checkpoint import EpochMetrics, best_epoch

BLOCKS = "▁▂▃▄▅▆▇█"

TIMED_STEPS = 5
"""Steps by which the duration of the training is estimated, after the first, which builds the graph."""


class ConsoleProgress:
    """Shows a bar on a terminal, and one line per epoch anywhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            # Steps of the first epoch are slow; a long window gives a steady estimate.
            speed_estimate_period=600,
            transient=True,
        )
        self._task = self._bar.add_task("", epoch="", loss=float("nan"))
        self._steps = 1
        self._epochs = 1
        self._left = 1
        self._step_ends: list[float] = []

    def __enter__(self) -> "ConsoleProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print the line."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def began(self, done: int, epochs: int, steps: int) -> None:
        """Set up the bar."""
        self._steps, self._epochs, self._step_ends = steps, epochs, []
        self._left = (epochs - done) * steps
        self._bar.update(
            self._task, total=epochs * steps, completed=done * steps, epoch=f"{done + 1}/{epochs}"
        )

    def stepped(self, loss: float) -> None:
        """Advance the bar; report the expected duration once."""
        self._bar.update(self._task, advance=1, loss=loss)
        if len(self._step_ends) <= TIMED_STEPS:
            self._step_ends.append(time.monotonic())
            if len(self._step_ends) > TIMED_STEPS:
                seconds = (self._step_ends[-1] - self._step_ends[0]) / TIMED_STEPS * self._left
                self.say(f"{self._left} steps of training: at least {seconds / 60:.0f} min")

    def epoch_ended(self, history: Sequence[EpochMetrics], seconds: float) -> None:
        """Print one line: losses, curve, time left."""
        if len(self._step_ends) <= TIMED_STEPS:
            self._step_ends = []  # scoring between epochs is no step
        last, done = history[-1], len(history)
        curve = sparkline([epoch.validation_loss for epoch in history])
        best = ", best so far" if best_epoch(tuple(history)) == done else ""
        left = (self._epochs - done) * seconds
        self.say(
            f"epoch {done}/{self._epochs}  loss {last.loss:.4f}  validation {last.validation_loss:.4f}  "
            f"AUC {last.auc:.4f}  {curve}  {seconds:.0f} s, {left / 60:.1f} min left{best}"
        )
        if done < self._epochs:
            self._bar.update(self._task, completed=done * self._steps, epoch=f"{done + 1}/{self._epochs}")


def sparkline(values: Sequence[float]) -> str:
    """Draw `values`, all 0 or more, as a curve of blocks from zero to the highest."""
    highest = max(values, default=0.0)
    if not 0 < highest < float("inf"):
        return BLOCKS[0] * len(values)
    return "".join(BLOCKS[min(int(value / highest * len(BLOCKS)), len(BLOCKS) - 1)] for value in values)
