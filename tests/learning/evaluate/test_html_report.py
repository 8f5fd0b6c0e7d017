"""The HTML report: all tables and images in one file, names from outside escaped."""

import dataclasses
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from monitor.learning.evaluate.corruptions import CORRUPTIONS
from monitor.learning.evaluate.evaluator import evaluate, explain_image
from monitor.learning.evaluate.html_report import ReportHeader, report
from monitor.learning.evaluate.metrics import Estimate
from monitor.learning.evaluate.tables import Table, format_number, interval, markdown, tables

ABOUT = ReportHeader("model <b>", "data & more", "defect-monitor evaluate --data 'a b'", "2026-01-01")


@pytest.fixture(scope="module")
def evaluation(network, samples):
    return evaluate(network, samples, corruptions=CORRUPTIONS[:2], others=samples[:1], repeats=20)


@pytest.fixture(scope="module")
def written(network, evaluation):
    return report(evaluation, ABOUT, lambda one: explain_image(network, one.sample), worst=2, places=3)


class Reader(HTMLParser):
    """Collects what the page would load, and checks that elements close in order."""

    void = frozenset({"meta", "img"})

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in {"src", "href", "srcset", "xlink:href"}]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    return reader


def test_the_page_loads_nothing_and_has_the_pictures_asked_for(written):
    loads = read(written).loads
    assert all(load.startswith("data:image/jpeg;base64,") for load in loads)
    # Two worst defects, two worst good parts, three places; each a picture and its heat.
    assert len(loads) == 2 * (2 + 2 + 3)
    assert "url(" not in written
    assert "<script" not in written


def test_every_cell_of_every_table_is_on_the_page(written, evaluation):
    words = set(read(written).words)
    for table in tables(evaluation):
        assert {cell for row in (table.header, *table.rows) for cell in row if cell} <= words


def test_names_from_outside_are_words_and_not_html(written, network, evaluation):
    words = read(written).words
    assert "model <b>" in words
    assert "defect-monitor evaluate --data 'a b'" in words
    odd = '"><img src=x onerror=alert(1)>'
    judged = tuple(
        dataclasses.replace(one, sample=dataclasses.replace(one.sample, surface=odd))
        for one in evaluation.results
    )
    page = report(
        dataclasses.replace(evaluation, results=judged),
        ABOUT,
        lambda one: explain_image(network, one.sample),
        worst=1,
    )
    assert odd not in page
    assert html.escape(odd) in page
    assert all(load.startswith("data:") for load in read(page).loads)


def test_misses_and_false_alarms_stand_out(written):
    # One miss and one false alarm among the worst, and the miss again among the places.
    assert written.count('<figure class="wrong">') == 3
    assert '<div class="tile bad"><b>1 of 5</b><span>defects missed</span>' in written
    assert '<div class="tile bad"><b>1 of 9</b><span>false alarms</span>' in written


def test_what_was_not_measured_is_not_said(written):
    caption = re.search(r"13\.png</b> plate, spot: ([^<]*)<", written).group(1)
    assert caption == "score 0.471, not located"


def test_bars_of_the_histogram_count_every_picture(written):
    for kind, count in (("defect", 5), ("good", 9)):
        assert sum(int(n) for n in re.findall(rf"<title>(\d+) {kind}, score", written)) == count


def test_a_set_without_defects_or_masks_still_makes_a_page(network, samples):
    good = [sample for sample in samples if not sample.defective]
    found = evaluate(dataclasses.replace(network, limit=None), good, repeats=5)
    page = report(found, ABOUT, lambda one: explain_image(network, one.sample))
    assert "Heat beside masks" not in page
    assert "nan" not in " ".join(read(page).words)


def test_markdown_has_every_cell_in_its_column():
    table = Table("T", ("a|b", "c"), (("x", "1"), ("y", "2")), "note")
    assert markdown(table).splitlines() == [
        "### T",
        "",
        "| a\\|b | c |",
        "| --- | ---: |",
        "| x | 1 |",
        "| y | 2 |",
        "",
        "note",
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.0, "1"),
        (0.0, "0"),
        (0.99999, "> 0.999"),
        (0.00001, "< 0.001"),
        (0.98765, "0.988"),
        (-0.25, "-0.250"),
        (float("nan"), "–"),
    ],
)
def test_a_figure_is_not_rounded_to_perfection(value, words):
    assert format_number(value) == words


def test_an_interval_of_nothing_is_a_dash():
    assert interval(Estimate(float("nan"), float("nan"), float("nan"))) == "–"
    assert interval(Estimate(0.5, 0.25, 1.0)) == "0.250 to 1"


WRAPPER = """<!doctype html><meta charset="utf-8"><iframe src="report.html"></iframe><p id="state"></p>
<script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument
  const images = [...page.images]
  state.textContent = JSON.stringify({
    images: images.length,
    loaded: images.filter((image) => image.complete && image.naturalWidth > 0).length,
    charts: [...page.querySelectorAll("svg")].filter((one) => one.getBoundingClientRect().height > 50).length,
  })
})
</script>"""


def test_a_browser_shows_every_picture_and_has_nothing_to_complain_of(written, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    (tmp_path / "report.html").write_text(written, "utf-8")
    (tmp_path / "look.html").write_text(WRAPPER, "utf-8")
    command = [
        browser,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--allow-file-access-from-files", "--enable-logging=stderr", "--virtual-time-budget=20000"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "look.html").as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    state = json.loads(re.search(r'<p id="state">(.*?)</p>', done.stdout).group(1))
    assert (state["images"], state["loaded"], state["charts"]) == (14, 14, 3)
    assert "CONSOLE" not in done.stderr
