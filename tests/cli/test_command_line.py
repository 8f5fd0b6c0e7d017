"""The command line: every command answers for itself, and a wrong use of it is one sentence and a 2."""

import re
import subprocess
import sys

import pytest

from monitor import cli

COMMANDS = {
    "demo": ("--seconds", "--port"),
    "run": ("--config",),
    "check-config": ("--schema",),
    "doctor": ("--config", "--json", "--save-pictures"),
    "support-bundle": ("--config", "--out", "--log"),
    "train": (
        *("--data", "--classes", "--out", "--init", "--epochs", "--roi", "--tiles", "--overlap", "--like"),
        *("--camera", "--group", "--miss-cost", "--alarm-cost", "--prevalence"),
    ),
    "evaluate": (
        *("--model", "--data", "--classes", "--split", "--json", "--report", "--roi", "--tiles", "--overlap"),
        *("--like", "--camera", "--unseen", "--miss-cost"),
    ),
    "rescore": ("--archive", "--model", "--out", "--ray", "--json"),
    "explain": ("--model", "--layer", "--method", "--max-n", "--grid", "--out"),
    "bench cam": ("--json",),
    "bench pipeline": ("--json",),
    "events tail": ("--url", "--group"),
    "events show": ("--url", "--picture"),
    "events export": ("--url", "--group", "--out"),
    "models add": ("--store",),
    "models list": ("--store", "--json"),
    "models promote": ("--store",),
    "models rollback": ("--store",),
    "models verify": ("--store",),
    "recipe list": ("--config",),
    "recipe use": ("--config",),
    "simulate": ("--out", "--surface"),
    "dataset export": ("--archive", "--out", "--holdout", "--camera", "--overwrite"),
    "compare": ("--data", "--classes", "--split", "--json", "--report"),
}
"""What users' scripts are written against."""


def ended(line: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """The exit code of a command line."""
    monkeypatch.setattr(sys, "argv", ["defect-monitor", *line.split()])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_options_and_explains_itself(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(f"{command} --help", monkeypatch) == 0
    output = capsys.readouterr().out
    assert re.search(rf"Usage: .*{command} ", output)
    missing = [option for option in COMMANDS[command] if option not in output]
    assert not missing


@pytest.mark.parametrize(
    "line",
    [
        "nosuch",
        "run",
        "run -c /no/such.toml",
        "check-config",
        "check-config /tmp",
        "doctor -c /no/such.toml",
        "doctor --nosuch",
        "events",
        "events tail --url http://host",
        "events tail --prefix {}\x7f",
        "events show --url redis://127.0.0.1:1/0",
        "events export",
        "recipe use ../x -c /no/such.toml",
        "demo --port 99999",
        "demo --seconds 0",
        "train --out /tmp/x",
        "simulate --frames 0 --out /no/such",
        "bench nosuch",
    ],
)
def test_wrong_use_ends_with_2(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(line, monkeypatch) == 2
    output = capsys.readouterr()
    assert output.err or "Usage:" in output.out


def test_help_waits_for_no_heavy_library() -> None:
    code = (
        "import sys, monitor.cli; print({'tensorflow', 'keras', 'cv2', 'av', 'redis'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_commands_are_grouped_and_shells_can_complete_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended("--help", monkeypatch) == 0
    output = capsys.readouterr().out
    assert "--install-completion" in output
    headings = [output.index(f"─ {name} ─") for name in ("Run", "Look", "Teach", "Measure")]
    assert headings == sorted(headings)
    places = {command: output.index(f"│ {command} ") for command in ("run", "doctor", "train", "evaluate")}
    assert list(places.values()) == sorted(places.values())
    for heading, place in zip(headings, places.values(), strict=True):
        assert heading < place
