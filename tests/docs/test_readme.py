"""Check what the documentation promises: links, commands, the example event and the ten lines."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import redis
from typer.main import get_command

from monitor.cli import app
from tests.support import ROOT

PAGES = sorted(
    path
    for pattern in (
        "*.md",
        ".github/*.md",
        "configs/*.md",
        "deploy/**/*.md",
        "monitor/**/*.md",
        "tests/*/*.md",
    )
    for path in ROOT.glob(pattern)
)
README = (ROOT / "README.md").read_text()


def block(language: str, section: str) -> str:
    """Return the first block of code in `language` below the heading `section` of the README."""
    found = re.search(rf"^## {section}\n.*?^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found is not None, section
    return found[1]


def test_the_readme_has_at_most_250_lines():
    assert len(README.splitlines()) <= 250


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_image_leads_to_a_file_or_a_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", it).lower().replace(" ", "-") for it in headings}


def test_every_command_of_the_program_is_in_the_readme():
    section = README.split("## Commands\n")[1].split("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([a-z][a-z-]*)", row)}
    assert set(get_command(app).commands) <= documented


def test_the_example_event_is_valid():
    schema = json.loads((ROOT / "monitor/events/event.schema.json").read_text())
    event = json.loads(block("json", "One event"))
    jsonschema.validate(event, schema, format_checker=jsonschema.FormatChecker())
    assert event["regions"]
    assert event["latency"]


def test_the_example_settings_are_valid(tmp_path):
    from monitor.settings.loader import load_settings

    file = tmp_path / "line.toml"
    file.write_text(block("toml", "First configuration"))
    assert load_settings(file, {"CAMERA_PASSWORD": "secret"}).camera[0].tiles == (2, 4)


def test_the_ten_lines_miss_no_event_after_an_empty_read(valkey, tmp_path):
    """Events come before the first read, during a read, and between two reads that found nothing."""
    lines = block("python", "Subscribe in ten lines").splitlines()
    assert len([line for line in lines if line.strip()]) <= 10
    program = "\n".join(lines).replace("redis://127.0.0.1:6379/0", valkey).replace("block=1000", "block=200")
    event = json.loads(block("json", "One event"))
    server = redis.Redis.from_url(valkey)

    def publish(number: int) -> None:
        server.xadd("defects:events", {"event": json.dumps({**event, "score": number})})

    publish(0)  # was there before the subscriber came
    output = tmp_path / "output"
    with output.open("w") as stream:
        process = subprocess.Popen([sys.executable, "-u", "-c", program], stdout=stream)
    try:
        deadline = time.monotonic() + 30
        while not server.info("clients")["blocked_clients"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for number in range(1, 8):
            time.sleep((0.05, 0.3)[number % 2])  # shorter and longer than one read
            publish(number)
        while len(output.read_text().splitlines()) < 7 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert [line.split()[2] for line in output.read_text().splitlines()] == [str(it) for it in range(1, 8)]


@pytest.mark.parametrize(
    "page",
    [
        *PAGES,
        *(ROOT / "deploy").rglob("*.yml"),
        *(ROOT / "deploy").rglob("*.service"),
        *(ROOT / "configs").glob("*.toml"),
    ],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_words_of_the_documentation_are_those_of_the_field(page: Path):
    found = re.findall(r"\b(anew|amiss|mend\w*|told|said|spoilt|foremost|whose turn)\b", page.read_text())
    assert found == []
