"""Nothing comes from elsewhere: no external address, and the vendored scripts are what npm has."""

import hashlib
import re
import tomllib

import pytest

from tests.support import ROOT

WEB = ROOT / "monitor" / "web"
VENDOR = WEB / "static" / "vendor"
OWN = sorted(path for path in WEB.glob("**/*") if path.suffix in {".html", ".css", ".js", ".svg"})
OWN = [path for path in OWN if VENDOR not in path.parents]


@pytest.mark.parametrize("folder", [VENDOR, ROOT / "tests" / "web" / "vendor"], ids=["page", "tests"])
def test_each_vendored_file_is_the_one_of_its_package_and_has_its_licence(folder):
    vendored = tomllib.loads((folder / "vendored.toml").read_text())
    assert {path.name for path in folder.iterdir() if path.suffix in {".js", ".css"}} == set(vendored)
    for name, entry in vendored.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"], name
        assert (folder / f"{name.split('.')[0]}.LICENSE").stat().st_size > 100, name


@pytest.mark.parametrize("path", OWN, ids=lambda path: str(path.relative_to(WEB)))
def test_no_template_style_or_script_names_an_external_address(path):
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")  # a namespace, which nobody fetches
    assert re.findall(r"(?:https?:)?//[a-z0-9]", text, re.IGNORECASE) == []
    assert re.findall(r"@import|\bstyle=|\bon[a-z]+=|<script(?! src=)", text) == []  # the policy refuses them


def test_every_script_and_style_of_a_template_exists():
    for path in WEB.glob("templates/*.html"):
        for target in re.findall(r'(?:src|href)="/(static/[^"]+)"', path.read_text()):
            assert (WEB / target).is_file(), (path.name, target)
