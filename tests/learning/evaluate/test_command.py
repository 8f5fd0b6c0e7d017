"""The command `evaluate`: mistakes are one sentence, and the report is written."""

import json
import os

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from monitor.cli.evaluate import evaluate
from monitor.errors import DataError, ModelError, SettingsError, UsageError
from monitor.models.bundle import save_bundle
from monitor.models.novelty import fit_novelty_detector

# Keras itself calls NumPy in a deprecated way when it saves a model.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

APP = typer.Typer()


APP.command()(evaluate)


def run(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=True)


@pytest.fixture(scope="module")
def bundle(small_bundle, tmp_path_factory):
    """A bundle whose verdicts are worth nothing: what the command writes about them is the question."""
    features = np.float32(np.random.default_rng(0).gamma(2, 1, (60, 12)))
    familiarity = fit_novelty_detector(features[:40], features[40:])
    folder = tmp_path_factory.mktemp("evaluated") / "small"
    return save_bundle(folder, small_bundle.keras_model(), small_bundle.card, familiarity).path


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--data", "nowhere"], DataError, "nowhere does not exist"),
        (["--data", "{surface}", "--split", "Test"], DataError, "--test-share"),
        (["--data", "{surface}", "--tiles", "auto"], UsageError, "--tiles auto is for training"),
        (["--data", "{surface}", "--tiles", "2"], UsageError, "--tiles '2' is not ROWSxCOLUMNS"),
        (["--data", "{surface}", "--tiles", "0x2"], UsageError, "--tiles 0x2"),
        (["--data", "{surface}", "--roi", "1,2,3"], UsageError, "--roi '1,2,3' is not x,y,width,height"),
        (["--data", "{surface}", "--overlap", "0.7"], UsageError, "between 0 and 0.5"),
        (["--data", "{surface}", "--camera", "a"], UsageError, "--like"),
        (["--data", "{surface}", "--like", "no.toml"], SettingsError, "no.toml"),
        (["--data", "{surface}", "--test-share", "0.3", "--group", "("], UsageError, "--group"),
        (["--data", "{surface}", "--classes", "steel"], DataError, "no class steel"),
        (["--data", "{surface}", "--split", "all", "--model", "none-such"], ModelError, "none-such"),
        (["--data", "{surface}", "--split", "all", "--others", "no/*.jpg"], DataError, "no images at no/"),
        (["--data", "{surface}", "--report", "no/report.html"], UsageError, "there is no folder no"),
        (["--data", "{surface}", "--report", "{surface}"], UsageError, "it is a folder"),
        (["--data", "{surface}", "--json", "--markdown"], UsageError, "--json and --markdown exclude"),
    ],
)
def test_a_mistake_is_one_sentence(surface, arguments, error, words):
    result = run(*(argument.format(surface=surface) for argument in arguments))
    assert isinstance(result.exception, error)
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_report_that_may_not_be_written_is_refused_before_the_work(surface, tmp_path):
    tmp_path.chmod(0o500)
    result = run("--data", surface, "--split", "all", "--report", tmp_path / "report.html")
    assert isinstance(result.exception, UsageError)
    assert "permission denied" in str(result.exception)


@pytest.mark.parametrize("arguments", [["--data", ".", "--split", "Validation"], []])
def test_wrong_usage_has_its_own_exit_code(arguments):
    assert run(*arguments).exit_code == 2


def test_a_model_is_judged_in_json_and_in_a_report(bundle, surface, tmp_path, monkeypatch):
    from monitor.learning.evaluate.cam_variants import CamVariant

    # All of them take minutes.
    monkeypatch.setattr(
        "monitor.learning.evaluate.cam_variants.cam_variants", lambda: [CamVariant("grad-cam")]
    )
    report = tmp_path / "report.html"
    result = run(
        *("--data", surface, "--model", bundle, "--split", "all", "--no-robustness", "--json"),
        *("--others", surface / "good", "--explanations", "--report", report),
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["as_recorded"]["classification"]["defects"] == 5
    assert document["as_recorded"]["localisation"]["defects"] == 5
    assert document["other_surfaces"]["pictures"] == 9
    assert document["robustness"] == []
    assert [one["asked"]["method"] for one in document["explanations"]] == ["grad-cam"]
    assert all(0 <= one["score"] <= 1 for one in document["pictures"])
    page = report.read_text("utf-8")
    assert "plate, all: 14 images" in page
    assert "grad-cam" in page


def test_the_tables_name_every_measure(bundle, surface, network, monkeypatch):
    monkeypatch.setattr(
        "monitor.learning.evaluate.model_under_test.load_model_under_test",
        lambda bundle, device, tiling: network,
    )
    result = run("--data", surface, "--model", bundle, "--test-share", "0.4", "--robustness")
    assert result.exit_code == 0, result.output
    for words in ("AUC", "95 % Wilson", "IoU 0.3", "marked unfamiliar", "H.264", "rotation 5°"):
        assert words in result.stdout


def test_undivided_data_are_evaluated_as_a_whole_and_cut_like_the_camera(bundle, surface, tmp_path):
    line = tmp_path / "line.toml"
    line.write_text(
        '[[camera]]\nname = "left"\nsource = "0"\nroi = [0, 0, 160, 160]\ntiles = [2, 1]\noverlap = 0.25\n'
        '[[camera]]\nname = "right"\nsource = "1"\n'
    )
    options = ("--data", surface, "--model", bundle, "--no-robustness", "--json", "--like", line)
    result = run(*options, "--camera", "left")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["frames"] == {"roi": [0, 0, 160, 160], "tiles": [2, 1], "overlap": 0.25}
    assert len(document["pictures"]) == 14
    assert "several cameras (left, right)" in str(run(*options).exception)
    assert "no camera middle" in str(run(*options, "--camera", "middle").exception)
