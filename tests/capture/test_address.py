"""What a source's text means, and that no secret of it is ever shown."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.sources.address import SimulationOptions, SourceAddress, parse_address, redact_url
from monitor.errors import SourceError

SECRET = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map("Zq9".__add__)


def outcome(text: str) -> str:
    """What a user is told of `text`: nothing if it is an address."""
    try:
        assert parse_address(text).location
    except SourceError as error:
        return f"{error.cause}: {error}"
    return ""


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0", SourceAddress("device", "/dev/video0")),
        ("12", SourceAddress("device", "/dev/video12")),
        ("/dev/video3", SourceAddress("device", "/dev/video3")),
        ("rtsp://cam/1", SourceAddress("stream", "rtsp://cam/1")),
        ("RTSPS://u:p%20w@[::1]:8554/a?b=c", SourceAddress("stream", "RTSPS://u:p%20w@[::1]:8554/a?b=c")),
        ("simulate:", SourceAddress("simulation", "simulate:", SimulationOptions())),
        (
            "simulate:?seed=7&defect_rate=0.5&size=640x480",
            SourceAddress(
                "simulation",
                "simulate:?seed=7&defect_rate=0.5&size=640x480",
                SimulationOptions(7, 640, 480, 0.5),
            ),
        ),
        ("part 1/*.PNG", SourceAddress("files", "part 1/*.PNG")),
        ("C:odd", SourceAddress("files", "C:odd")),
    ],
)
def test_the_table_of_sources(text: str, address: SourceAddress):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "a\nb",
        "rtsp://cam/a b",
        "rtsp://cam/a'b",
        'rtsp://cam/"x"',
        "rtsp://cam/\n",
        "rtsp://",
        "rtsp:///path",
        "rtsp:cam",
        "rtsp://cam:99999/",
        "rtsp://cam:port/",
        "rtsp://[::1/",
        "ftp://cam/video",
        "file:///x.mp4",
        "simulate:?sede=1",
        "simulate:?seed=x",
        "simulate:?size=10",
        "simulate:?seed",
        "simulate:nonsense",
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(text: str):
    with pytest.raises(SourceError) as caught:
        parse_address(text)
    assert caught.value.cause == "invalid"
    assert "\n" not in str(caught.value)


@given(
    st.one_of(
        st.text(max_size=60), st.text(max_size=60).map("rtsp://".__add__), st.text().map("simulate:".__add__)
    )
)
def test_any_text_is_an_address_or_a_source_error(text: str):
    told = outcome(text)
    assert not told or told.startswith("invalid: ")
    assert told.isprintable()


@given(SECRET, SECRET, st.booleans())
def test_user_and_password_are_never_shown(user: str, password: str, encoded: bool):
    if encoded:
        user, password = quote(user, safe=""), quote(password, safe="")
    url = f"rtsp://{user}:{password}@camera.example/live"
    assert redact_url(url) == "rtsp://***@camera.example/live"
    assert "Zq9" not in outcome(url)


@pytest.mark.parametrize("key", ["password", "user", "PWD", "token", "passwd"])
def test_secrets_in_a_query_are_never_shown(key: str):
    assert (
        redact_url(f"rtsp://cam/live?channel=1&{key}=s3cr3t&x=2")
        == f"rtsp://cam/live?channel=1&{key}=***&x=2"
    )
    assert "s3cr3t" not in redact_url(f"rtsp://cam/channel=1_{key}=s3cr3t_2")


def test_paths_are_shown_as_they_are_but_on_one_line():
    assert redact_url("folder/user=me/*.png") == "folder/user=me/*.png"
    assert redact_url("a\nb\x1b") == "a\\nb\\x1b"
