"""A camera's user and password are plain text in the settings, and appear nowhere else."""

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.sources.address import parse_address, redact_url, with_login
from monitor.errors import SettingsError, SourceError
from monitor.settings import Settings, parse_settings, redacted
from monitor.settings.secrecy import find_secrets


def read(keys: str, **environment: str) -> Settings:
    return parse_settings(f'[[camera]]\nname = "c"\n{keys}\n', "line.toml", environment)


@given(
    user=st.text(st.characters(exclude_categories=["C"], exclude_characters=":"), min_size=1, max_size=5),
    password=st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=5),
    scheme=st.sampled_from(["rtsp", "rtsps", "http", "https"]),
)
def test_any_text_goes_into_a_url_and_comes_out_again(user: str, password: str, scheme: str):
    url = with_login(f"{scheme}://camera.local:8554/stream?channel=1", user, password)
    parts = urlsplit(url)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (user, password)
    assert (parts.hostname, parts.port, parts.path) == ("camera.local", 8554, "/stream")
    assert parse_address(url).kind == "stream"
    assert redact_url(url) == f"{scheme}://***@camera.local:8554/stream?channel=1"


def test_a_password_from_the_environment_needs_no_encoding():
    settings = read(
        'source = "rtsp://10.0.0.1/1"\nusername = "admin"\npassword = "${PASS}"', PASS="p@/?#%:é "
    )
    camera = settings.camera[0]
    assert camera.source == "rtsp://10.0.0.1/1"
    assert unquote(urlsplit(camera.address).password or "") == "p@/?#%:é "


def test_the_password_is_hidden_and_known_as_a_secret():
    settings = read('source = "rtsp://10.0.0.1/1"\nusername = "admin"\npassword = "s3cr/t"')
    assert "s3cr/t" not in str(redacted(settings)) + repr(settings)
    secrets = find_secrets(settings, "", {})
    assert {"s3cr/t", "s3cr%2Ft"} <= secrets


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('source = "rtsp://h/1"\nusername = "admin"', "username and password belong together"),
        ('source = "rtsp://h/1"\npassword = "hidden"', "username and password belong together"),
        ('source = "rtsp://u:p@h/1"\nusername = "a"\npassword = "hidden"', "a user is given twice"),
        ('source = "images/"\nusername = "a"\npassword = "hidden"', "are for rtsp://"),
        ('source = "rtsp://h/1"\nusername = "a:b"\npassword = "hidden"', "must not contain ':'"),
        (f'source = "rtsp://h/1"\nusername = "a"\npassword = "{"ü" * 30}"', "127 at most"),
    ],
)
def test_a_login_that_cannot_be_meant_is_refused_without_the_password(keys: str, message: str):
    with pytest.raises(SettingsError, match=message) as caught:
        read(keys)
    assert "hidden" not in str(caught.value)


def test_a_url_that_is_no_stream_takes_no_login():
    with pytest.raises(SourceError):
        with_login("simulate:", "user", "password")
