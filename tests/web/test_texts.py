"""The catalogue: the same keys in each language, and no template asks for a text that is not there."""

import re

import pytest

from monitor.web.texts import LANGUAGES, catalogue, choose_language, translate
from tests.support import ROOT


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_every_text_with_the_same_placeholders(language):
    import tomllib

    text = (ROOT / f"monitor/web/texts/{language}.toml").read_text()
    keys = {f"{group}.{key}" for group, entries in tomllib.loads(text).items() for key in entries}
    assert keys == set(catalogue("en"))
    for key, english in catalogue("en").items():
        fields = re.findall(r"\{(\w+)\}", catalogue(language)[key])
        assert sorted(fields) == sorted(re.findall(r"\{(\w+)\}", english)), key


def test_every_text_that_a_template_names_exists():
    for path in (ROOT / "monitor/web/templates").glob("*.html"):
        for key in re.findall(r"""\bt\(["']([a-z0-9_.-]+)["']\s*[,)]""", path.read_text()):
            assert key in catalogue("en"), (path.name, key)


def test_a_cause_without_a_text_is_shown_as_it_is():
    assert translate("de", "cause.aliens") == "aliens"


def test_the_cookie_comes_before_the_header():
    assert choose_language(None, "fr-FR,de-DE;q=0.8,en;q=0.5") == "de"
    assert choose_language("en", "de") == "en"
    assert choose_language("xx", "") == "en"


def test_every_state_cause_and_stage_of_the_daemon_has_a_text():
    from typing import get_args

    from monitor.records import CameraState, FailureCause, Stage

    wanted = {f"state.{name}" for name in get_args(CameraState)}
    wanted |= {f"cause.{name}" for name in get_args(FailureCause)}
    wanted |= {f"stage.{name}" for name in set(get_args(Stage)) - {"capture"}}  # not part of an event
    assert wanted <= set(catalogue("en"))
