"""Streams are decoded by a device where there is one, and in software where there is none."""

import logging

import pytest

from monitor.capture.sources import hardware
from monitor.capture.sources.hardware import find_hw_decoder, hw_accel
from monitor.capture.sources.opening import open_source
from monitor.errors import SourceError
from tests.support.rtsp_server import RtspServer


@pytest.fixture(autouse=True)
def forgotten() -> None:
    find_hw_decoder.cache_clear()


@pytest.fixture
def without_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with none of the devices that FFmpeg was built for, whatever this one has."""
    monkeypatch.setattr(hardware, "hwdevices_available", lambda: ["videotoolbox", "d3d11va"])


def test_what_is_there_is_said_once(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "monitor"):
        kinds = {find_hw_decoder() for _ in range(3)}
    (line,) = caplog.messages
    assert (str(*kinds) in line) if kinds != {None} else "in software" in line


def test_software_asks_for_no_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware, "hwdevices_available", lambda: pytest.fail("looked for devices"))
    assert hw_accel("software") is None


def test_auto_falls_back_to_software_where_there_is_no_device(without_device: None, rtsp: RtspServer):
    assert find_hw_decoder() is None
    source = open_source(rtsp.url, decode="auto")
    assert source.read() is not None
    source.close()


def test_hardware_refuses_a_stream_that_no_device_decodes(without_device: None, rtsp: RtspServer):
    with pytest.raises(SourceError, match="no device of this machine decodes h264") as caught:
        open_source(rtsp.url, decode="hardware")
    assert caught.value.cause == "codec"


def test_a_device_decodes_the_same_stream(rtsp: RtspServer):
    if find_hw_decoder() is None:
        pytest.skip("no device that decodes video is on this machine")
    source = open_source(rtsp.url, decode="hardware")
    assert source.read() is not None
    source.close()
