"""From a flagged frame to a better model in use, as its user goes: the page by keyboard, then commands."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from monitor.learning.datasets.manifest import read_manifest
from monitor.models.bundle import load_bundle
from monitor.simulate.surface import SurfaceGenerator
from monitor.simulate.writers import write_dataset
from tests.support.daemon_process import ENVIRONMENT, events_of, free_port, run_daemon, wait_for, write_config
from tests.support.hot_swap import reload
from tests.support.model_copies import copy_bundle
from tests.support.page import run_chromium, run_page
from tests.support.redis_servers import EMBEDDED, ServerProcess, server_program
from tests.support.stored_labels import stored_labels

pytestmark = [
    pytest.mark.soak,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

LABELS, SEED, SIZE = 16, 5, 128

LINE = f"""
[model]
path = "{{store}}/current"
[samples]
publish = true
[incidents]
seconds = 0.01
[[camera]]
name = "line"
source = "simulate:?seed={SEED}&defect_rate=0.5&size={SIZE}x{SIZE}"
fps = 8
"""


def run(*arguments: str | Path) -> str:
    """Run a command in this process, which loads TensorFlow once; its output."""
    done = CliRunner().invoke(app, [str(it) for it in arguments])
    assert done.exit_code == 0, (arguments, done.output, done.exception)
    return done.output


@contextmanager
def run_archive(folder: Path, config: Path) -> Iterator[None]:
    command = ["archive", "--to", str(folder), "-c", str(config), "--port", "0"]
    with config.with_suffix(".archive.log").open("w") as log:
        archive = subprocess.Popen([sys.executable, "-m", "monitor", *command], stderr=log, env=ENVIRONMENT)
        try:
            yield
            archive.send_signal(signal.SIGTERM)
            assert archive.wait(20) == 0
        finally:
            archive.kill()
            archive.wait()


def eager_model(folder: Path, store: Path) -> str:
    """Add a small model that flags every frame to a store; return its version."""
    write_dataset(SurfaceGenerator(3, 96, 96, 0.5, textures=2), folder / "data", train=16, test=0)
    trained = folder / "trained"
    options = ["--recipe", "frozen", "--init", "none", "--size", "32", "--tiles", "1x1"]
    run("train", "--data", folder / "data", "--out", trained, *options)
    return run(
        "models", "add", copy_bundle(folder / "eager", trained, threshold=1e-6), "--store", store
    ).strip()


def press_until_focused(tab: Any, name: str) -> None:
    """Press Tab until the link or field of this name has the focus, and Enter would act on it."""
    for _ in range(40):
        tab.keyboard.press("Tab")
        focused = tab.evaluate(
            "[document.activeElement, ...(document.activeElement.labels ?? [])]"
            ".map(it => it.textContent.trim())"
        )
        if name in focused:
            return
    raise AssertionError(f"Tab does not reach {name}")


def label_by_keyboard(tab: Any, address: str, line: SurfaceGenerator) -> None:
    """Answer with the truth of the simulation; the first defect gets a kind and a box, too."""
    tab.goto(address)
    press_until_focused(tab, "Label")
    tab.keyboard.press("Enter")
    shown, is_first = tab.locator("#question input[name=frame]"), True
    shown.wait_for(state="attached")
    for _ in range(LABELS):
        frame = shown.get_attribute("value")
        truth = line.defect_at(int(frame.rsplit("-", 1)[1]))
        if truth is not None and is_first:
            box, is_first = truth.box(SIZE, SIZE), False
            press_until_focused(tab, "Kind of defect (optional)")
            tab.keyboard.type("stain")
            tab.keyboard.press("Tab")
            tab.keyboard.type(f"{box.left},{box.top},{box.width},{box.height}")
            tab.keyboard.press("Enter")
        else:
            tab.keyboard.press("2" if truth is None else "1")
        tab.wait_for_url(f"**last={frame}")


def test_flagged_labelled_exported_trained_compared_promoted(tmp_path: Path) -> None:
    store = tmp_path / "models"
    run("models", "promote", eager_model(tmp_path, store), "--store", store)
    server, port = ServerProcess(tmp_path, server_program(EMBEDDED)), free_port()
    server.start()
    config = write_config(tmp_path, LINE.format(store=store), url=server.url, port=port)
    archive, dataset, better = tmp_path / "archive", tmp_path / "dataset", tmp_path / "better"
    try:
        with run_daemon(config, port) as daemon, run_archive(archive, config):
            wait_for(lambda: len(events_of(server.url)) > LABELS, 120, daemon)
            with run_page(config) as page, run_chromium() as browser:
                tab = browser.new_page(locale="en-GB")
                label_by_keyboard(tab, page.address, SurfaceGenerator(SEED, SIZE, SIZE, 0.5))
            with server.client() as client:
                labels = stored_labels(client)
            assert len({it.subject.id for it in labels}) == LABELS
            assert {it.answer for it in labels} == {"defect", "good"}
            assert [(it.defect_kind, len(it.boxes)) for it in labels if it.boxes] == [("stain", 1)]
            wait_for(lambda: _lines(archive, "labels.jsonl") == LABELS, 30)

            exported = run("dataset", "export", "--archive", archive, "--out", dataset)
            assert len(read_manifest(dataset).images) == LABELS, exported
            run("train", "--data", dataset, "--init", store / "current", "--out", better)
            compared = run("compare", store / "current", better, "--data", dataset, "--json")
            assert json.loads(compared)["recommendation"]["decision"] in {"promote", "undecided"}
            new = load_bundle(better).card.model.sha256
            version = run("models", "add", better, "--store", store).strip()
            assert version in run("models", "promote", version, "--store", store)
            reload(daemon, "settings reloaded")
            wait_for(lambda: events_of(server.url)[-1]["model"]["sha256"] == new, 60, daemon)
            assert events_of(server.url)[-1]["threshold"] == pytest.approx(load_bundle(better).card.threshold)
            assert re.search(rf"\* {version[:12]}", run("models", "list", "--store", store))
    finally:
        server.stop()


def _lines(archive: Path, name: str) -> int:
    return sum(len(path.read_text().splitlines()) for path in archive.glob(f"*/{name}"))
