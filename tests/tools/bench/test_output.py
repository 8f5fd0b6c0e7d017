"""Figures of a benchmark go to the terminal and to files, together with the machine."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from monitor.cli.bench.output import print_rows


@dataclass
class Row:
    what: str
    ratio: float


@pytest.mark.parametrize("as_json", [True, False])
def test_the_table_goes_into_files_with_the_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    folder = tmp_path
    print_rows("classify", [Row("one", 0.5)], ["| one | 0.5 |"], as_json=as_json, out=folder)
    output = capsys.readouterr().out
    document, table = (folder / "classify.json").read_text(), (folder / "classify.md").read_text()
    assert output == (document if as_json else table)
    found = json.loads(document)
    assert found["rows"] == [{"what": "one", "ratio": 0.5}]
    assert {"date", "processors", "tensorflow"} <= set(found["machine"])
    assert table.splitlines()[0] == ", ".join(found["machine"].values())
    assert table.splitlines()[-1] == "| one | 0.5 |"


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    print_rows("start", [], ["nothing"], as_json=False, out=None)
    assert capsys.readouterr().out.endswith("nothing\n")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = CliRunner().invoke(app, ["bench", "start", "--out", str(tmp_path / "file" / "bench")])
    assert answer.exit_code == 2
    assert "cannot be created: Not a directory" in " ".join(answer.output.replace("│", " ").split())
