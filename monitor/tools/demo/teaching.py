"""Teach a model a new surface from an operator's answers, on a simulated line, and measure what it learnt.

    python -m monitor.tools.demo.teaching OUT [--frames N] [--budget N]

At half time the line gets another surface with another kind of defect. In two rounds the operator, who knows
the truth of the simulation, labels unfamiliar frames, or else those nearest to the threshold; then the
commands export, train and compare. Classification and archive are those of the daemon and of the archiver, in
this process: Redis and cameras take no part.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import cv2
import numpy as np

from monitor.errors import MonitorError
from monitor.events.event import EventFamiliarity, EventModel, event_id
from monitor.events.labels import Label, LabelBox, LabelSubject
from monitor.events.samples import Sample, SampleImage, SampleReason
from monitor.imaging.ellipse import Ellipse
from monitor.learning.evaluate.metrics import area_under_roc
from monitor.learning.evaluate.model_under_test import ModelUnderTest, load_model_under_test
from monitor.models.bundle import load_bundle
from monitor.models.registry import resolve_model_path
from monitor.records import Image
from monitor.simulate.surface import SurfaceGenerator

CAMERA = "line"

BEGIN = datetime(2026, 1, 5, 6, tzinfo=UTC)

FRAME_INTERVAL = timedelta(seconds=2)

DEFECT_RATE = 0.2
"""Fraction of defective frames: far above that of a real line, so that few frames hold enough of them."""

Run = Callable[[Sequence[str]], None]


class ChangingLine:
    """Frames 0, 1, 2 … of a line; from `change` on another surface, whose defects are scratches."""

    def __init__(self, change: int, size: int, textures: int) -> None:
        self.change = change
        options = {"width": size, "height": size, "defect_rate": DEFECT_RATE, "textures": textures}
        self._before = SurfaceGenerator(31, **options)  # type: ignore[arg-type]  # all of them are numbers
        self._after = SurfaceGenerator(32, **options, surface="brushed")  # type: ignore[arg-type]

    def _at(self, number: int) -> SurfaceGenerator:
        return self._before if number < self.change else self._after

    def picture(self, number: int) -> Image:
        """Return frame `number`."""
        return self._at(number).picture(number)

    def truth(self, number: int) -> Ellipse | None:
        """Return where its defect lies, None where it has none."""
        return self._at(number).defect_at(number)


@dataclass(frozen=True, slots=True)
class Watched:
    """A frame and what a model makes of it; `is_unfamiliar`: beyond the limit of familiarity."""

    number: int
    score: float
    distance: float
    is_unfamiliar: bool
    is_defective: bool


@dataclass(frozen=True, slots=True)
class Quality:
    """Recall and false alarms at the threshold, AUC, and the fraction of unfamiliar frames, all 0..1."""

    frames: int
    recall: float
    false_alarms: float
    auc: float
    unfamiliar: float

    def __str__(self) -> str:
        return (
            f"{self.frames} frames, recall {self.recall:.3f}, false alarms {self.false_alarms:.3f}, "
            f"AUC {self.auc:.4f}, unfamiliar {self.unfamiliar:.3f}"
        )


def watch(model: ModelUnderTest, line: ChangingLine, numbers: Iterable[int]) -> list[Watched]:
    """Classify frames as the daemon does."""
    found = []
    for number in numbers:
        _, tiles = model.cut(line.picture(number))
        answer = model.classify(np.stack(tiles))
        distance = max((one.distance for one in answer.novelty if one is not None), default=0.0)
        is_unfamiliar = model.limit is not None and distance > model.limit
        score = float(answer.scores.max())
        found.append(Watched(number, score, distance, is_unfamiliar, line.truth(number) is not None))
    return found


def quality(watched: Sequence[Watched], threshold: float) -> Quality:
    """Return the quality of the verdicts on frames of both labels."""
    scores = np.array([one.score for one in watched])
    defective = np.array([one.is_defective for one in watched])
    return Quality(
        len(watched),
        float((scores[defective] >= threshold).mean()),
        float((scores[~defective] >= threshold).mean()),
        area_under_roc(scores, defective),
        float(np.mean([one.is_unfamiliar for one in watched])),
    )


def reason_to_keep(one: Watched, threshold: float) -> SampleReason:
    """Return why the daemon keeps a frame."""
    if one.score >= threshold:
        return "flagged"
    if one.is_unfamiliar:
        return "unfamiliar"
    return "near-threshold" if one.score >= threshold - 0.2 else "random"


def choose(watched: Sequence[Watched], threshold: float, count: int) -> list[Watched]:
    """Return the frames that tell most: unfamiliar ones, whatever their scores, evenly over the time.

    Others are those nearest to the threshold, half of them on either side. Where a side has too few, the
    other gets more.
    """
    unfamiliar = [one for one in watched if one.is_unfamiliar]
    chosen = unfamiliar[:: max(1, len(unfamiliar) // count)][:count]
    count -= len(chosen)
    known = [one for one in watched if not one.is_unfamiliar]
    above = sorted((one for one in known if one.score >= threshold), key=lambda one: one.score)
    below = sorted((one for one in known if one.score < threshold), key=lambda one: -one.score)
    half = max(count // 2, count - len(below))
    nearest = above[:half] + below[: count - min(half, len(above))]
    return sorted([*chosen, *nearest], key=lambda one: one.number)


class Operator:
    """Answers with the truth of the simulation, into an archive."""

    def __init__(self, archive: Path, line: ChangingLine) -> None:
        self._archive, self._line = archive, line
        self.labels = 0

    def answer(self, one: Watched, model: ModelUnderTest) -> None:
        """Archive the frame as a sample, and a label about it."""
        image = self._line.picture(one.number)
        height, width = image.shape[:2]
        captured_at = BEGIN + one.number * FRAME_INTERVAL
        identity = event_id(CAMERA, captured_at, one.number)
        familiarity = None
        if model.limit is not None:
            familiarity = EventFamiliarity(
                distance=one.distance, limit=model.limit, unfamiliar=one.is_unfamiliar
            )
        sample = Sample(
            id=identity,
            camera=CAMERA,
            frame_number=one.number,
            captured_at=captured_at,
            reason=reason_to_keep(one, model.threshold),
            score=one.score,
            threshold=model.threshold,
            familiarity=familiarity,
            model=EventModel(name=model.name, sha256=model.sha256),
            image=SampleImage(width=width, height=height, png_key=f"defects:sample:{identity}"),
        )
        truth = self._line.truth(one.number)
        self.labels += 1
        boxes: tuple[LabelBox, ...] = ()
        if truth is not None:
            box = truth.box(width, height)
            boxes = (LabelBox(x=box.left, y=box.top, width=box.width, height=box.height),)
        label = Label(
            id=str(UUID(int=self.labels)),
            subject=LabelSubject(kind="sample", id=identity),
            camera=CAMERA,
            answer="good" if truth is None else "defect",
            defect_kind=None if truth is None else "scratch",
            boxes=boxes,
            author="simulation",
            labelled_at=captured_at + timedelta(minutes=1),
            model_sha256=model.sha256,
        )
        day = self._archive / f"{captured_at:%Y-%m-%d}"
        (day / "samples").mkdir(parents=True, exist_ok=True)
        (day / "samples" / f"{identity}.png").write_bytes(bytes(cv2.imencode(".png", image)[1]))
        for name, document in (("samples", sample), ("labels", label)):
            with (day / f"{name}.jsonl").open("a") as file:
                file.write(document.to_json() + "\n")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model in use was worth on the new surface before, and on both surfaces after."""

    before: Quality
    old_before: Quality
    after: Quality
    old_after: Quality
    labels: int
    model: Path


def teach(
    out: Path,
    run: Run,
    *,
    start: str = "dagm-class1",
    frames: int = 300,
    budget: int = 40,
    size: int = 512,
    textures: int = 8,
    rounds: int = 2,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Let the line run, the operator answer, and the commands teach; return what came of it.

    `frames` of the new surface are watched in each of `rounds`, and as many of either surface measured.
    """
    line = ChangingLine(frames, size, textures)
    operator = Operator(out / "archive", line)
    path = resolve_model_path(start)
    model = load_model_under_test(load_bundle(path))
    old_numbers = range(frames)
    test_numbers = range((rounds + 1) * frames, (rounds + 2) * frames)
    old_before = quality(watch(model, line, old_numbers), model.threshold)
    before = quality(watch(model, line, test_numbers), model.threshold)
    say(f"old surface, {model.name}: {old_before}")
    say(f"new surface, {model.name}: {before}")
    for turn in range(rounds):
        seen = watch(model, line, range((turn + 1) * frames, (turn + 2) * frames))
        for one in choose(seen, model.threshold, budget // rounds):
            operator.answer(one, model)
        dataset, tuned = out / "dataset", out / f"model-{turn + 1}"
        run(["dataset", "export", "--archive", str(out / "archive"), "--out", str(dataset), "--overwrite"])
        run(["train", "--data", str(dataset), "--init", str(path), "--out", str(tuned), "--overwrite"])
        report = out / f"compare-{turn + 1}.html"
        run(["compare", str(path), str(tuned), "--data", str(dataset), "--report", str(report)])
        path = tuned
        model = load_model_under_test(load_bundle(path))
        after = quality(watch(model, line, test_numbers), model.threshold)
        say(f"new surface after {operator.labels} labels: {after}")
    return Outcome(
        before,
        old_before,
        after,
        quality(watch(model, line, old_numbers), model.threshold),
        operator.labels,
        path,
    )


def run_command(arguments: Sequence[str]) -> None:
    """Run `defect-monitor` with `arguments`; raises MonitorError if it fails."""
    print(f"$ defect-monitor {' '.join(arguments)}", flush=True)  # noqa: T201 (a demonstration)
    done = subprocess.run([sys.executable, "-m", "monitor", *arguments], check=False)  # noqa: S603 (own program)
    if done.returncode:
        raise MonitorError(f"defect-monitor {arguments[0]} failed")


def main() -> None:
    """Run the demonstration and print what it measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--budget", type=int, default=40)
    given = parser.parse_args()
    found = teach(given.out, run_command, frames=given.frames, budget=given.budget)
    sys.stdout.write(f"old surface, {found.model}: {found.old_after}\n")


if __name__ == "__main__":
    main()
