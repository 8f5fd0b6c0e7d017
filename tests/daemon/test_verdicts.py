"""Whatever happens to frames, Redis and the daemon: the verdict stream accounts for every frame number."""

import random
import shutil
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from monitor.capture.gaps import GapAggregator
from monitor.daemon.verdicts import VerdictRecorder
from monitor.delivery.outbox import Outbox
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sinks.memory import MemorySink
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.errors import DeliveryError
from monitor.events.verdicts import BatchSequence, VerdictBatch
from monitor.records import Frame, Verdict
from monitor.telemetry.metrics import Metrics, create_registry
from tests.support.events import BEGIN, make_finding, make_parcel

CAMERAS = ("top", "side")
TEMPLATE = make_finding().frame


class VerdictMachine(RuleBasedStateMachine):
    """Two cameras, an outbox on disk with little room, and a daemon that is stopped or killed at any time."""

    max_items = 60  # verdicts take a quarter of it

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.sink, self.now, self.runs = MemorySink(), 0.0, 0
        self.truth: dict[tuple[str, str], dict[int, str]] = {}
        self.shed = False
        self.path = Path(self.folder.name) / "0" / "outbox.db"
        self.start()

    def start(self) -> None:
        self.storage = SqliteStorage(self.path, sync="process")
        self.queue = OutboxQueue([self.sink.name], max_items=self.max_items, storage=self.storage)
        self.outbox = Outbox(self.queue, [])
        self.recorder = VerdictRecorder(
            self.outbox, "line1", Metrics(create_registry()), clock=lambda: self.now
        )
        self.gaps = {camera: GapAggregator(camera) for camera in CAMERAS}
        self.undecided: dict[str, list[int]] = {camera: [] for camera in CAMERAS}
        self.outcomes: dict[str, dict[int, str]] = {camera: {} for camera in CAMERAS}
        self.numbers = dict.fromkeys(CAMERAS, 0)
        self.recorder.start(CAMERAS)
        self.queue.commit()  # cameras take longer to open than the disk to answer

    def remember(self) -> None:
        """Note what is true of the run that ends."""
        for camera in CAMERAS:
            known = self.outcomes[camera]
            self.truth[self.recorder.run, camera] = {
                number: known.get(number, "unreported") for number in range(self.numbers[camera])
            }
        self.runs += 1
        self.shed |= bool(self.queue.drops.pop_all())

    def frame(self, camera: str, number: int) -> Frame:
        at = BEGIN + timedelta(milliseconds=number)
        return Frame(camera, number, at, self.now, TEMPLATE.image, TEMPLATE.tile_boxes, TEMPLATE.tile_inputs)

    @rule(camera=st.sampled_from(CAMERAS), count=st.integers(1, 5))
    def capture(self, camera: str, count: int) -> None:
        first = self.numbers[camera]
        self.undecided[camera] += range(first, first + count)
        self.numbers[camera] += count

    @rule(camera=st.sampled_from(CAMERAS), count=st.integers(1, 1_000_000))
    def lose_upstream(self, camera: str, count: int) -> None:
        count = min(count, 50)
        first = self.numbers[camera]
        self.numbers[camera] += count
        self.gaps[camera].record_lost("lost-upstream", first, BEGIN, self.now, frames=count)
        self.outcomes[camera] |= dict.fromkeys(range(first, first + count), "dropped")

    @rule(
        camera=st.sampled_from(CAMERAS),
        draw=st.randoms(use_true_random=False),
        outcomes=st.lists(st.sampled_from(["clean", "defect", "dropped", "unusable"]), max_size=4),
    )
    def decide(self, camera: str, draw: random.Random, outcomes: list[str]) -> None:
        """Give some frames that have none their outcomes, older and younger ones in any order."""
        for outcome in outcomes[: len(self.undecided[camera])]:
            number = draw.choice(self.undecided[camera])
            self.undecided[camera].remove(number)
            self.outcomes[camera][number] = outcome
            frame = self.frame(camera, number)
            if outcome in ("clean", "defect"):
                score = 0.9 if outcome == "defect" else 0.1
                self.recorder.on_verdict(frame, Verdict(outcome, score, 0.5))
            else:
                cause = "overload" if outcome == "dropped" else "damaged"
                self.gaps[camera].record_frame(cause, frame, self.now)

    @rule(seconds=st.sampled_from([0.3, 1.0, 11.0]))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        for camera in CAMERAS:
            for gap in self.gaps[camera].pop_due(self.now):
                self.recorder.on_gap(gap)
        self.recorder.flush()

    @rule()
    def commit(self) -> None:
        self.queue.commit()

    @rule(away=st.booleans())
    def redis_goes_and_comes(self, away: bool) -> None:
        self.sink.failure = DeliveryError("away") if away else None

    @precondition(lambda self: self.sink.failure is None)
    @rule(items=st.integers(1, 40), acknowledged=st.booleans())
    def deliver(self, items: int, acknowledged: bool) -> None:
        batch = self.queue.next_batch(self.sink.name, items, 10**6)
        if not batch:
            return
        self.sink.deliver(batch)
        if acknowledged:
            self.queue.acknowledge(self.sink.name, batch[-1].key)
        else:
            self.queue.release(self.sink.name)  # the reply was lost: the batch is delivered again

    @rule()
    def kill(self) -> None:
        """Go on with what is on the disk at this moment."""
        image = self.path.parent.with_name(str(self.runs + 1))
        shutil.copytree(self.path.parent, image)
        self.storage.close()
        self.path = image / "outbox.db"
        self.remember()
        self.start()

    @rule()
    def stop(self) -> None:
        for camera in CAMERAS:
            for gap in self.gaps[camera].pop_all():
                self.recorder.on_gap(gap)
        self.recorder.finish(self.numbers)
        self.storage.close()
        self.remember()
        self.start()

    def batches(self) -> list[VerdictBatch]:
        return [
            VerdictBatch.model_validate_json(dict(message.fields)["verdicts"])
            for message in self.sink.notices
            if message.stream == "verdicts"
        ]

    def teardown(self) -> None:
        try:
            self.stop()
            self.sink.failure = None
            while len(self.queue):
                self.deliver(40, True)
            self.storage.close()
            self.check()
        finally:
            self.folder.cleanup()

    def check(self) -> None:
        sequence, seen = BatchSequence(), defaultdict[tuple[str, str], list[VerdictBatch]](list)
        for each in self.batches():
            if (missing := sequence.missing_before(each)) is not None:
                assert self.shed, "a batch is missing although the outbox dropped nothing"
                seen[each.run, each.camera].append(missing)
            seen[each.run, each.camera].append(each)
        last = self.recorder.run
        if not self.shed:
            assert {key for key in self.truth if key[0] != last} <= set(seen), "a run left no trace"
        for (run, camera), batches in seen.items():
            self.check_camera(batches, self.truth.get((run, camera), {}), goes_on=run == last)

    def check_camera(self, batches: list[VerdictBatch], truth: dict[int, str], *, goes_on: bool) -> None:
        expected = batches[0].first if self.shed else 0
        for each in batches:
            if each.end == "killed":  # from here on nothing is known but what was delivered and not stored
                assert each.first <= expected
                continue
            assert each.first == expected, "out of order"
            for verdict in each.verdicts:
                assert verdict.frame_number == expected
                last = verdict.frame_number if verdict.last_number is None else verdict.last_number
                for number in range(expected, last + 1):
                    if verdict.outcome != "unreported" or verdict.cause == "stopping":
                        assert verdict.outcome == truth[number]
                    else:  # nothing is given up but for want of room
                        assert verdict.cause in ("outbox-full", "missing")
                expected = last + 1
            assert each.next == expected
        assert batches[-1].end is not None or goes_on or self.shed, "a run ends and nothing reports it"
        if batches[-1].end == "stopped":
            assert expected == len(truth), "frames at the end are missing"


class FloodedMachine(VerdictMachine):
    """The same with less room, and so many events that the outbox drops batches."""

    max_items = 16

    @rule(count=st.integers(1, 20))
    def flag(self, count: int) -> None:
        for _ in range(count):
            self.queue.append(make_parcel().without_images())


TestEveryFrameIsAccountedFor = VerdictMachine.TestCase
TestEveryFrameIsAccountedFor.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
TestAFloodedOutbox = FloodedMachine.TestCase
TestAFloodedOutbox.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
