"""Nothing comes from elsewhere: no external address, and the vendored scripts are what npm has."""

import hashlib
import re
import tomllib

import pytest

from tests.support import ROOT

WEB = ROOT / "monitor" / "web"
VENDOR = WEB / "static" / "vendor"
VENDORED = tomllib.loads((VENDOR / "vendored.toml").read_text())
OWN = sorted(path for path in WEB.glob("**/*") if path.suffix in {".html", ".css", ".js", ".svg"})
OWN = [path for path in OWN if VENDOR not in path.parents]


def test_each_vendored_file_is_the_one_of_its_package_and_has_its_licence():
    files = {path.name for path in VENDOR.iterdir() if path.suffix in {".js", ".css"}}
    assert files == set(VENDORED)
    for name, entry in VENDORED.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == entry["sha256"], name
        licence = name.split(".")[0] + ".LICENSE"
        assert (VENDOR / licence).stat().st_size > 100, licence


@pytest.mark.parametrize("path", OWN, ids=lambda path: str(path.relative_to(WEB)))
def test_no_template_style_or_script_names_an_external_address(path):
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")  # a namespace, which nobody fetches
    assert re.findall(r"(?:https?:)?//[a-z0-9]", text, re.IGNORECASE) == []
    assert re.findall(r"@import|\bstyle=|\bon[a-z]+=|<script(?! src=)", text) == []  # the policy refuses them


def test_every_script_and_style_of_a_template_exists():
    for path in WEB.glob("templates/*.html"):
        for target in re.findall(r'(?:src|href)="/(static/[^"]+)"', path.read_text()):
            assert (WEB / target).is_file(), (path.name, target)
