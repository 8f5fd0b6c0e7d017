"""Known rejects through a running daemon: prepared as its cameras' frames are, and no production."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import redis
import typer
from typer.testing import CliRunner

from monitor.cli.challenge import challenge
from monitor.errors import MonitorError, UsageError
from monitor.models.bundle import ModelBundle
from monitor.redis_streams.challenge import ChallengeClient
from monitor.tools.challenge.signed_log import read_log
from tests.support.daemon_process import (
    DaemonUnderTest,
    coverage_of,
    events_of,
    free_port,
    run_daemon,
    wait_for,
    write_config,
)
from tests.support.redis_servers import EMBEDDED, ServerProcess, server_program

KEY = "a key of more than 16 bytes\n"

CAMERAS = """
[[camera]]
name = "strict"
source = "{folder}"
watch = true
threshold = 0.01
roi = [16, 0, 32, 48]
tiles = [1, 2]
expected_size = [64, 48]
[[camera]]
name = "lax"
source = "simulate:?seed=5&size=128x128"
fps = 10
"""


@dataclass
class Line:
    """A daemon with a camera that flags everything and one that flags nothing, and its server."""

    daemon: DaemonUnderTest
    server: ServerProcess
    config: Path
    model: ModelBundle


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, small_bundle: ModelBundle) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("challenge")
    server = ServerProcess(folder, server_program(EMBEDDED))
    server.start()
    port = free_port()
    (folder / "empty").mkdir()
    (folder / "key").write_text(KEY)
    config = write_config(
        folder,
        CAMERAS.format(folder=folder / "empty"),
        url=server.url,
        port=port,
        more=f'[model]\npath = "{small_bundle.path}"\n[challenge]\nkey_file = "{folder / "key"}"\n'
        "[verdicts]\npublish = true\n",
    )
    try:
        with run_daemon(config, port, environment={"XDG_STATE_HOME": str(folder)}) as daemon:
            daemon.ready()
            yield Line(daemon, server, config, small_bundle)
    finally:
        server.stop()


@pytest.fixture
def rejects(tmp_path: Path) -> Path:
    folder = tmp_path / "rejects" / "scratch"
    folder.mkdir(parents=True)
    for number in range(3):
        pixels = np.random.default_rng(number).integers(60, 200, (48, 64), np.uint8)
        assert cv2.imwrite(str(folder / f"{number}.png"), pixels)
    return folder.parent


def run(*arguments: str | Path) -> tuple[int, str]:
    """Run the command; its exit code and output."""
    app = typer.Typer()
    app.command()(challenge)
    result = CliRunner().invoke(app, [str(it) for it in arguments])
    if isinstance(result.exception, MonitorError):
        return result.exception.exit_code, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def log_in(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("challenge-*.jsonl")
    return read_log(path, KEY.strip().encode())


def test_all_rejects_are_found_and_the_log_names_model_threshold_and_boxes(
    line: Line, rejects: Path, tmp_path: Path
) -> None:
    code, text = run("--set", rejects, "-c", line.config, "--camera", "strict", "--out", tmp_path)
    assert code == 0, text
    assert "3 of 3 known rejects found, 0 of 0 good images flagged" in text
    first, *images, _ = log_in(tmp_path)
    assert first["camera"] == "strict"
    for image in images:
        assert (image["outcome"], image["threshold"], image["method"]) == ("defect", 0.01, "faster-score-cam")
        assert image["model"]["sha256"] == line.model.card.model.sha256
        assert image["boxes"]
        assert all(x >= 16 and x + width <= 48 for x, _, width, _ in image["boxes"])  # inside its roi
    (path,) = tmp_path.glob("challenge-*.jsonl")
    code, text = run("--verify", path, "-c", line.config)
    assert (code, "is whole and unchanged: camera strict" in text) == (0, True)
    path.write_bytes(path.read_bytes().replace(b'"defect"', b'"clean"', 1))
    assert run("--verify", path, "-c", line.config) == (
        1,
        f"{path}, line 2: changed, or signed with another key",
    )


def test_a_missed_reject_is_listed_and_fails_the_challenge(line: Line, rejects: Path, tmp_path: Path) -> None:
    code, text = run("--set", rejects, "-c", line.config, "--camera", "lax", "--out", tmp_path)
    assert code == 1
    assert "0 of 3 known rejects found" in text
    assert "missed: scratch/1.png" in text
    assert {it["outcome"] for it in log_in(tmp_path)[1:-1]} == {"clean"}


def test_what_cannot_be_inspected_is_recorded_with_its_reason_and_fails(
    line: Line, rejects: Path, tmp_path: Path
) -> None:
    assert cv2.imwrite(str(rejects / "scratch" / "small.png"), np.full((40, 64), 90, np.uint8))
    assert cv2.imwrite(str(rejects / "scratch" / "black.png"), np.zeros((48, 64), np.uint8))
    (rejects / "scratch" / "broken.png").write_bytes(b"\x89PNG no image")
    code, text = run("--set", rejects, "-c", line.config, "--camera", "strict", "--out", tmp_path)
    assert code == 1
    assert "3 of 6 known rejects found" in text
    assert text.count("not inspected: ") == 3
    reasons = {it["file"]: it["reason"] for it in log_in(tmp_path)[1:-1] if it["outcome"] == "not-inspected"}
    assert "not an image" in reasons["scratch/broken.png"]
    assert "expected_size is 64x48" in reasons["scratch/small.png"]
    assert "black: 99 %" in reasons["scratch/black.png"]


def test_a_challenge_is_no_production(line: Line, rejects: Path, tmp_path: Path) -> None:
    counted = 'defect_monitor_challenge_frames_total{camera="strict",outcome="defect"}'
    before = line.daemon.metric(counted)
    assert run("--set", rejects, "-c", line.config, "--camera", "strict", "--out", tmp_path)[0] == 0
    assert line.daemon.metric(counted) == before + 3
    assert line.daemon.metric('defect_monitor_frames_total{camera="strict"') == 0
    assert line.daemon.metric('defect_monitor_verdict_seconds_count{camera="strict"') == 0
    assert events_of(line.server.url) == []
    assert [it for it in coverage_of(line.server.url) if it["kind"] == "gap"] == []
    with redis.Redis.from_url(line.server.url, protocol=2) as client:
        batches = [json.loads(fields[b"verdicts"]) for _, fields in client.xrange("defects:verdicts")]
        assert client.keys("defects:challenge*") == []
    assert [it["verdicts"] for it in batches if it["camera"] == "strict"] == [[]]
    assert '"thread failed"' not in line.daemon.log.read_text()


def test_production_goes_on_while_many_are_shown(line: Line, rejects: Path, tmp_path: Path) -> None:
    clean = 'defect_monitor_frames_total{camera="lax",outcome="clean"}'
    before = line.daemon.metric(clean)
    image = (rejects / "scratch" / "0.png").read_bytes()
    client = ChallengeClient(line.server.url)
    try:
        while line.daemon.metric(clean) < before + 5:
            assert client.show("strict", "0.png", image).outcome == "defect"
    finally:
        client.close()
    assert line.daemon.metric('defect_monitor_frames_total{camera="lax",outcome="dropped"}') == 0


def test_two_people_may_challenge_at_once(line: Line, rejects: Path, tmp_path: Path) -> None:
    image = (rejects / "scratch" / "0.png").read_bytes()
    answers: list[str] = []

    def show(camera: str) -> None:
        client = ChallengeClient(line.server.url)
        answers.extend(f"{camera} {client.show(camera, '0.png', image).outcome}" for _ in range(5))
        client.close()

    threads = [threading.Thread(target=show, args=(camera,)) for camera in ("strict", "lax")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == ["lax clean"] * 5 + ["strict defect"] * 5


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--set", "{rejects}"], 2, "no key signs the log: give --key FILE"),
        (["--set", "{rejects}", "-c", "{config}"], 2, "--camera NAME: name the camera .* are strict, lax"),
        (["--set", "{rejects}", "-c", "{config}", "--camera", "x"], 2, "no such camera .* are strict, lax"),
        (["--set", "{rejects}", "--key", "{tmp}/none"], 2, "the key .* cannot be read: No such file"),
        (
            ["--set", "{tmp}/none", "-c", "{config}", "--camera", "lax"],
            1,
            "the set .* cannot be read: No such",
        ),
        (["--set", "{tmp}", "-c", "{config}", "--camera", "lax"], 1, "holds no known reject: put images"),
        (["-c", "{config}"], 2, "give either --set DIR, to run a challenge, or --verify LOG"),
        (["--verify", "{tmp}/none", "-c", "{config}"], 2, "the log .* cannot be read: No such file"),
        (
            ["--set", "{rejects}", "-c", "{config}", "--camera", "lax", "--out", "/proc/none"],
            2,
            "the log .* cannot be created",
        ),
    ],
)
def test_a_mistake_is_one_sentence(  # noqa: PLR0917 (fixtures and parameters)
    line: Line, rejects: Path, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    filled = [it.format(rejects=rejects, config=line.config, tmp=empty) for it in arguments]
    found, text = run(*filled)
    assert (found, "\n" in text) == (code, False)
    assert re.search(sentence, text)


def test_without_a_daemon_that_takes_it_a_challenge_fails_soon(line: Line) -> None:
    client = ChallengeClient(line.server.url, taken_within=0.5)
    with pytest.raises(
        MonitorError, match=r"no running daemon took the challenge within 0\.5 s: is one inspecting"
    ):
        client.show("nobody", "a.png", b"x")
    client.close()
    with pytest.raises(UsageError):
        ChallengeClient(line.server.url, prefix="no blanks")


def test_rubbish_in_the_queue_is_ignored(line: Line, rejects: Path) -> None:
    with redis.Redis.from_url(line.server.url, protocol=2) as raw:
        raw.rpush("defects:challenge:strict", b"rubbish")
    client = ChallengeClient(line.server.url)
    assert client.show("strict", "0.png", (rejects / "scratch" / "0.png").read_bytes()).outcome == "defect"
    client.close()
    wait_for(lambda: "challenge ignored" in line.daemon.log.read_text(), 10)
    assert line.daemon.get("/healthz")[0] == 200
