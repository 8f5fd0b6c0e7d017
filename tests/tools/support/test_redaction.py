"""No secret is left in a text, and nothing else is lost that helps."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.settings import parse_settings
from monitor.settings.secrecy import find_secrets, redacted
from monitor.tools.support.redaction import MIN_SECRET_LENGTH, Redactor

LETTERS = st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="*")


SECRETS = st.text(LETTERS, min_size=MIN_SECRET_LENGTH)


WORDS = st.text(LETTERS)


@given(SECRETS, WORDS, WORDS)
def test_a_known_secret_is_gone_wherever_it_stands(secret: str, before: str, after: str) -> None:
    assert secret not in Redactor([secret])(before + secret + after)


@given(SECRETS)
def test_a_known_secret_is_gone_in_every_usual_spelling(secret: str) -> None:
    hide = Redactor([secret])
    for spelling in (quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]):
        assert spelling not in hide(f"[{spelling}]")


@given(
    st.text(st.characters(whitelist_categories=["L", "N"], whitelist_characters=":/#?@%!$&+;,="), min_size=1)
)
def test_users_and_passwords_of_unknown_urls_are_gone(user: str) -> None:
    assert (
        Redactor([])(f"opening rtsp://{user}@10.0.0.9:554/live now")
        == "opening rtsp://***@10.0.0.9:554/live now"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password=hunter2 next", "password=*** next"),
        ('{"password": "hunter2", "n": 1}', '{"password": "***", "n": 1}'),
        ('{"password": null}', '{"password": null}'),
        ("a?token=hunter2&size=3", "a?token=***&size=3"),
        ("REDIS_PASSWORD: hunter2", "REDIS_PASSWORD: ***"),
        ("Authorization: Basic aHVudGVyMg==\r\n", "Authorization: ***\r\n"),
        ("frame_key=defects:frame:1 score=0.9", "frame_key=defects:frame:1 score=0.9"),
        ("http://127.0.0.1:9464/metrics", "http://127.0.0.1:9464/metrics"),
    ],
)
def test_what_is_called_a_secret_goes_and_the_rest_stays(text: str, shown: str) -> None:
    assert Redactor([])(text) == shown


def test_a_short_secret_does_not_spoil_every_word() -> None:
    assert Redactor(["a"])("a camera") == "a camera"


TEXT = """
[redis]
url = "redis://u:in-redis-url@h/0"
password = "in-redis"
sentinel_password = "${SENTINEL}"
[[camera]]
name = "one"
source = "rtsp://u:in%2Dcamera@h/x?token=in-query&size=big"
"""


def test_every_secret_of_settings_and_environment_is_known(tmp_path) -> None:
    (tmp_path / "redis").write_text("in-credential\n")
    environment = {
        "SENTINEL": "in-sentinel",
        "MQTT_PASSWORD": "in-variable",
        "HOME": "/root",
        "CREDENTIALS_DIRECTORY": str(tmp_path),
    }
    settings = parse_settings(TEXT, "line.toml", environment)
    found = find_secrets(settings, TEXT, environment)
    assert found >= {
        *(
            "in-redis-url",
            "in-redis",
            "in-sentinel",
            "in%2Dcamera",
            "in-query",
            "in-variable",
            "in-credential",
        )
    }
    assert "/root" not in found
    assert "big" not in found
    redacted_text = Redactor(found)(f"in-camera {json.dumps(redacted(settings))}")
    assert not [word for word in found if word in redacted_text]
    assert "in-camera" not in redacted_text


def test_settings_that_cannot_be_read_still_give_what_they_refer_to() -> None:
    assert find_secrets(None, 'x = "${ONE}', {"ONE": "first"}) == {"first"}
