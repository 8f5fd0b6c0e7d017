"""The settings of a pool: what cannot work or is open to everyone is refused with its reason."""

import re
from pathlib import Path

import pytest

from monitor.errors import SettingsError
from monitor.settings import parse_settings
from monitor.settings.loader import load_table
from monitor.settings.pool import PoolSettings
from monitor.settings.secrecy import find_secrets


def pool_settings(folder: Path, text: str) -> PoolSettings:
    path = folder / "pool.toml"
    path.write_text(text)
    return load_table(path, PoolSettings, {"TOKEN": "s3cret"})


def test_every_key_of_a_pool_has_a_default(tmp_path: Path) -> None:
    assert pool_settings(tmp_path, "").url == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host = '0.0.0.0'", "whoever reaches 0.0.0.0 could use the pool: set token"),
        ("tls_key = 'key.pem'", "tls_certificate and tls_key go together"),
        ("min_replicas = 3", "max_replicas is below min_replicas, 3"),
        ("model = 'x'", "pool.toml:1: model: unknown key; did you mean 'models'?"),
        ("models = []", "pool.toml:1: models: tuple should have at least 1 item"),
    ],
)
def test_a_pool_that_cannot_work_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(expected)):
        pool_settings(tmp_path, text)


def test_a_pool_for_others_has_a_token_and_may_have_a_certificate(tmp_path: Path) -> None:
    text = "host = '::'\ntoken = '${TOKEN}'\ntls_key = 'key.pem'\ntls_certificate = 'cert.pem'\n"
    settings = pool_settings(tmp_path, text)
    assert settings.url == "https://[::]:8000"
    assert "s3cret" not in repr(settings)


def test_the_token_of_a_line_pc_is_a_secret() -> None:
    text = "[inference]\npool_token = 's3cret'\n[[camera]]\nname = 'a'\nsource = 'simulate:'\n"
    settings = parse_settings(text, "line.toml", {})
    assert "s3cret" in find_secrets(settings, text, {})
    assert "s3cret" not in repr(settings)
