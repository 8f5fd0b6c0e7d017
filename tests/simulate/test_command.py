"""The command: a folder or a video, a last line that says what was written, mistakes as errors of our own."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from monitor.cli.simulate import simulate
from monitor.errors import MonitorError, UsageError

SMALL = ["--width", "96", "--height", "96", "--textures", "2", "--defect-rate", "0.5"]


def run(*arguments: str) -> tuple[str, str]:
    """What the command prints to stdout and stderr; its error, if it ends in one of ours, is raised."""
    app = typer.Typer()
    app.command()(simulate)
    result = CliRunner().invoke(app, [*SMALL, *arguments])
    if isinstance(result.exception, MonitorError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_a_folder_gets_four_fifths_to_train_and_no_progress_is_drawn_off_a_terminal(tmp_path: Path) -> None:
    stdout, stderr = run("--out", str(tmp_path), "--frames", "10", "--seed", "3")
    assert len(list((tmp_path / "Simulated" / "Train").glob("*.PNG"))) == 8
    assert len(list((tmp_path / "Simulated" / "Test").glob("*.PNG"))) == 2
    labels = len(list(tmp_path.rglob("*_label.PNG")))
    assert stdout == f"10 images, {labels} of them defective: {tmp_path / 'Simulated'}\n"
    assert stderr == ""


def test_a_name_that_ends_in_mp4_gets_a_video(tmp_path: Path) -> None:
    run("--out", str(tmp_path / "line.mp4"), "--frames", "3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["line.jsonl", "line.mp4"]


def test_a_second_run_needs_force(tmp_path: Path) -> None:
    run("--out", str(tmp_path), "--frames", "1")
    with pytest.raises(UsageError, match="--force"):
        run("--out", str(tmp_path), "--frames", "1")
    run("--out", str(tmp_path), "--frames", "1", "--force")


def test_another_kind_of_video_is_refused_rather_than_made_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.mp4 only, not \.avi"):
        run("--out", str(tmp_path / "line.avi"))
