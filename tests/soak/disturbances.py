"""What is done to the line, one thing at a time, and how each is known to be over."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import kill

from tests.soak.accounts import frames_in, readers_of, sample
from tests.soak.plant import SIMULATED, STREAMS, LineUnderTest
from tests.support.camera_faults import BROKEN, SILENT, TORN, Fault

Recovered = Callable[[], bool]


@dataclass(frozen=True)
class Recovery:
    """Something was disturbed and is in order again on its side; `recovered` says when the daemon is, too.

    Of a camera, `told` has the causes that its gaps may have. `wrong` says at the end what else is not right.
    """

    recovered: Recovered
    camera: str | None = None
    told: Fault[None] | None = None
    wrong: Callable[[], str | None] = lambda: None


Disturb = Callable[[LineUnderTest, random.Random], Recovery]


def _watch(
    plant: LineUnderTest, camera: str, causes: set[str], also: set[str], break_it: Callable[[], None]
) -> Recovery:
    """Break a camera, and wait until it was opened anew and has brought a picture."""
    before = sample(plant.page(), "camera_reconnects_total", f'camera="{camera}"')
    break_it()
    returned = time.time()

    def recovered() -> bool:
        page, of = plant.page(), f'camera="{camera}"'
        return (
            sample(page, "camera_reconnects_total", of) > before
            and sample(page, "camera_up", of) == 1
            and sample(page, "last_frame_timestamp_seconds", of) > returned
        )

    return Recovery(recovered, camera, Fault(camera, lambda *_: None, causes, also))


def connection_reset(plant: LineUnderTest, pick: random.Random) -> Recovery:
    camera = pick.choice(STREAMS)
    return _watch(plant, camera, BROKEN, TORN, plant.wires[camera].reset)


def half_open(plant: LineUnderTest, pick: random.Random) -> Recovery:
    camera = pick.choice(STREAMS)
    return _watch(plant, camera, SILENT, TORN, plant.wires[camera].forget)


def server_killed(plant: LineUnderTest, pick: random.Random) -> Recovery:
    camera = pick.choice(STREAMS)
    server, seconds = plant.servers[camera], pick.uniform(2, 8)

    def kill_and_start() -> None:
        server.stop()
        time.sleep(seconds)
        server.start()

    # The wire takes a connection before it knows that nobody is behind it, and then resets it.
    return _watch(plant, camera, TORN, {"refused", *SILENT}, kill_and_start)


def _signalled(number: signal.Signals, causes: set[str]) -> Disturb:
    def disturb(plant: LineUnderTest, pick: random.Random) -> Recovery:
        camera = pick.choice(STREAMS + SIMULATED)
        return _watch(plant, camera, causes, set(), lambda: kill(plant.reader(camera), number))

    return disturb


def _delivery(plant: LineUnderTest) -> Recovery:
    """Redis is back: an event must reach it from now on, and none be left waiting."""
    before = plant.acknowledged()
    return Recovery(lambda: plant.acknowledged() > before and plant.delivered())


def redis_killed(plant: LineUnderTest, pick: random.Random) -> Recovery:
    plant.redis.stop()
    time.sleep(pick.uniform(2, 8))
    plant.redis.start()
    return _delivery(plant)


def redis_paused(plant: LineUnderTest, pick: random.Random) -> Recovery:
    plant.redis.signal(signal.SIGSTOP)
    time.sleep(pick.uniform(15, 20))
    plant.redis.signal(signal.SIGCONT)
    return _delivery(plant)


def redis_cut(plant: LineUnderTest, pick: random.Random) -> Recovery:
    for _ in range(10):
        time.sleep(pick.uniform(0.2, 1.5))
        plant.redis_wire.reset()
    return _delivery(plant)


def _reload(plant: LineUnderTest, arrived: Recovered) -> Recovery:
    """Have the settings read again; the other cameras must not be touched."""
    ready, before = plant.manager.told["READY=1"], readers_of(plant.daemon)
    plant.daemon.process.send_signal(signal.SIGHUP)

    def touched() -> str | None:
        now = readers_of(plant.daemon)
        lost = [name for name in plant.cameras if name in before and now.get(name) != before[name]]
        return f"the reload touched {', '.join(lost)}" if lost else None

    return Recovery(lambda: plant.manager.told["READY=1"] > ready and arrived(), wrong=touched)


def camera_added(plant: LineUnderTest, _: random.Random) -> Recovery:
    plant.guests_so_far += 1
    guest = f"guest-{plant.guests_so_far}"
    plant.guests.append(guest)
    plant.write()
    return _reload(plant, lambda: frames_in(plant.page(), guest) > 2)


def camera_removed(plant: LineUnderTest, _: random.Random) -> Recovery:
    guest = plant.guests.pop()
    plant.write()
    return _reload(
        plant, lambda: f'camera="{guest}"' not in plant.page() and guest not in readers_of(plant.daemon)
    )


_MISTAKES = (("fps =", "fsp ="), ("[[camera]]", "[[camera"), ("fps = ", "fps = -"), ("[redis]", ""))


def reload_refused(plant: LineUnderTest, pick: random.Random) -> Recovery:
    right, offset = plant.config.read_text(), plant.log_size()
    plant.config.write_text(right.replace(*pick.choice(_MISTAKES), 1))
    names = set(plant.daemon.ready()["cameras"])
    done = _reload(plant, lambda: "the settings are refused" in plant.log_from(offset))

    def wrong() -> str | None:
        plant.config.write_text(right)
        said = [line for line in plant.log_from(offset).splitlines() if " error " in line]
        if len(said) != 1 or "the settings are refused" not in said[0]:
            return f"a refusal is one sentence, not {said}"
        if set(plant.daemon.ready()["cameras"]) != names:
            return "refused settings changed the cameras"
        return done.wrong()

    return Recovery(done.recovered, wrong=wrong)


def stacks_asked_for(plant: LineUnderTest, _: random.Random) -> Recovery:
    offset = plant.log_size()
    plant.daemon.process.send_signal(signal.SIGUSR1)

    def told() -> bool:
        log = plant.log_from(offset)
        return "thread judge: " in log and "waiting: " in log

    return Recovery(told)


DISTURBANCES: dict[str, Disturb] = {
    "RTSP connection reset": connection_reset,
    "RTSP half-open: the camera's side gone, nobody told": half_open,
    "RTSP server killed, back after 2 to 8 s": server_killed,
    "capture process SIGKILL": _signalled(signal.SIGKILL, {"crashed"}),
    "capture process SIGSTOP": _signalled(signal.SIGSTOP, {"stalled"}),
    "Redis SIGKILL, back after 2 to 8 s": redis_killed,
    "Redis SIGSTOP for 15 to 20 s": redis_paused,
    "Redis' connections cut ten times": redis_cut,
    "reload: a camera more": camera_added,
    "reload: a camera less": camera_removed,
    "reload: settings with a mistake": reload_refused,
    "SIGUSR1: stacks into the log": stacks_asked_for,
}
_ADD, _REMOVE = "reload: a camera more", "reload: a camera less"


def in_turn(pick: random.Random) -> Iterator[tuple[str, Disturb]]:
    """Without end, in rounds that have each once, in any order but for one: a camera comes before it goes."""
    while True:
        names = list(DISTURBANCES)
        pick.shuffle(names)
        first, second = sorted((names.index(_ADD), names.index(_REMOVE)))
        names[first], names[second] = _ADD, _REMOVE
        for name in names:
            yield name, DISTURBANCES[name]
