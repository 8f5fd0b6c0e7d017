"""The log's lines: levels for the journal, fields, and no flood."""

import json
import logging
import os
import subprocess
import sys

import pytest

from monitor.telemetry import logs as log
from monitor.telemetry.logs import MAX_REPEATS, REPEAT_WINDOW, Formatter, RepeatFilter, is_journal


def record(level=logging.WARNING, message="frames were not inspected", at=1000.0, **fields):
    made = logging.LogRecord("monitor.daemon", level, "", 0, message, (), None)
    made.created = at
    vars(made).update(fields)
    return made


@pytest.mark.parametrize(
    ("level", "number"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2)],
)
def test_the_journal_gets_the_level_as_its_number_and_the_fields_in_the_text(level, number):
    line = Formatter(as_json=False, on_journal=True).format(record(level, "camera is down", camera="left"))
    assert line == f"<{number}>camera is down camera=left"


def test_json_for_the_journal_is_json_once_the_level_is_taken_off():
    line = Formatter(as_json=True, on_journal=True).format(record(why='a "word"'))
    assert line.startswith("<4>{")
    assert json.loads(line[3:])["why"] == 'a "word"'


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("journal", [False, True])
def test_a_record_is_one_line_whatever_is_in_it(as_json, journal):
    error = ValueError("first\nsecond")
    broken = record(message="one\ntwo", why="three\nfour")
    broken.exc_info = (ValueError, error, None)
    line = Formatter(as_json=as_json, on_journal=journal).format(broken)
    assert "\n" not in line
    assert "second" in line


def test_the_journal_is_known_by_device_and_inode_of_the_stream():
    reading, writing = os.pipe()
    try:
        status = os.fstat(writing)
        assert is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, writing)
        assert not is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}, writing)
        assert not is_journal({}, writing)
    finally:
        os.close(reading)
        os.close(writing)
    assert not is_journal({"JOURNAL_STREAM": "1:1"}, writing)  # closed


def test_a_flood_of_one_kind_is_cut_and_its_size_said_when_it_is_over():
    calm = RepeatFilter()
    written = [
        told for number in range(100) for told in calm.filter(record(at=1000 + number * 0.1, frames=number))
    ]
    assert len(written) == MAX_REPEATS
    after = list(calm.filter(record(logging.INFO, "incident", at=1000 + REPEAT_WINDOW + 1)))
    assert [told.getMessage() for told in after] == ["frames were not inspected", "incident"]
    assert (after[0].held_back, after[0].frames) == (100 - MAX_REPEATS, 99)


def test_another_camera_cause_or_message_is_another_kind():
    calm = RepeatFilter()
    for _ in range(MAX_REPEATS + 1):
        list(calm.filter(record(camera="left", cause="overload")))
    for other in (
        record(camera="right", cause="overload"),
        record(camera="left", cause="late"),
        record(message="camera is down", camera="left", cause="overload"),
    ):
        assert list(calm.filter(other)) == [other]


def test_information_is_never_held_back():
    calm = RepeatFilter()
    assert sum(len(list(calm.filter(record(logging.INFO, "defect")))) for _ in range(100)) == 100


def test_a_clock_that_is_set_back_silences_nothing():
    calm = RepeatFilter()
    for _ in range(MAX_REPEATS + 1):
        list(calm.filter(record(at=1000.0)))
    assert list(calm.filter(record(at=10.0)))[-1].created == 10.0


def test_what_is_held_back_at_the_end_is_said_on_the_way_out():
    script = (
        "import logging; from monitor.telemetry.logs import setup_logging; setup_logging('info', 'json')\n"
        "for _ in range(50): logging.getLogger('x').warning('again')\n"
        "logging.shutdown()"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert len(lines) == log.MAX_REPEATS + 1
    assert lines[-1]["held_back"] == 50 - log.MAX_REPEATS
