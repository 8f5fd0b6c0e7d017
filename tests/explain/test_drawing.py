"""Heat on pictures, the sheet of all methods, and the command that draws them."""

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer import Typer
from typer.testing import CliRunner

from monitor.cli.explain import explain
from monitor.errors import ModelError, MonitorError, UsageError
from monitor.explain.drawing import render_method
from monitor.explain.explainer import METHODS, Explainer
from monitor.explain.grid import comparison_sheet
from monitor.explain.heatmap import emphasize, overlay_heatmap, upsample
from monitor.explain.targets import ExplainableModel, load_application, load_model_file, whole_image
from monitor.records import Box

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, saving


@given(st.floats(0, 1, width=32))
def test_emphasis_is_the_articles_sigmoid(value):
    heat = np.array([[value]], np.float32)
    expected = 1 / (1 + np.exp(-50 * (float(value) - 0.5)))
    assert emphasize(heat)[0, 0] == pytest.approx(expected, abs=1e-4)


def test_enlarging_is_bilinear_and_leaves_the_right_size_alone():
    heat = np.array([[0, 1]], np.float32)
    np.testing.assert_allclose(upsample(heat, 1, 4), [[0, 0.25, 0.75, 1]])
    assert upsample(heat, 1, 2) is heat


def test_an_overlay_is_blue_where_cold_and_red_where_hot_and_spares_the_picture_at_share_zero():
    image = np.full((40, 60, 3), 90, np.uint8)
    heat = np.array([[0, 1]], np.float32)
    overlay = overlay_heatmap(image, heat)
    cold, hot = overlay[20, 0].astype(int), overlay[20, -1].astype(int)
    assert cold[0] > cold[2] + 50
    assert hot[2] > hot[0] + 50
    np.testing.assert_array_equal(overlay_heatmap(image, heat, share=0), image)
    np.testing.assert_array_equal(image, 90)
    assert (
        overlay_heatmap(image, heat, emphasized=True)[20, 20] == overlay_heatmap(image, heat * 0)[20, 20]
    ).all()


@pytest.mark.parametrize("shape", [(512, 512), (100, 300), (900, 40)])
def test_the_sheet_has_twenty_cells_each_showing_its_own_method(shape):
    rng = np.random.default_rng(2)
    image = rng.integers(0, 255, (*shape, 3), dtype=np.uint8)
    heats = {method: np.zeros((4, 4), np.float32) for method in METHODS}
    blank = comparison_sheet(image, heats, heats["grad-cam"], ["a fact"], {})
    changed = []
    for method in METHODS:
        hot = comparison_sheet(
            image, heats | {method: np.eye(4, dtype=np.float32)}, heats["grad-cam"], ["a fact"], {}
        )
        assert hot.shape == blank.shape
        rows, columns = np.nonzero((hot != blank).any(axis=2))
        cell_height, cell_width = (blank.shape[0] - 6) / 4, (blank.shape[1] - 6) / 5
        changed.append(
            {(int(r // cell_height), int(c // cell_width)) for r, c in zip(rows, columns, strict=True)}
        )
    cams = [{(0, column), (1, column)} for column in range(1, 5)]
    guided = [{(2, column)} for column in range(5)]
    products = [{(3, column)} for column in range(1, 5)]
    assert changed == cams + guided + products


def test_a_method_without_heat_says_so_in_its_cell():
    image = np.zeros((64, 64, 3), np.uint8)
    heats = {method: np.zeros((4, 4), np.float32) for method in METHODS}
    plain = comparison_sheet(image, heats, heats["grad-cam"], [], {})
    told = comparison_sheet(image, heats, heats["grad-cam"], [], {"edges-grad-cam": "flat"})
    rows, columns = np.nonzero((plain != told).any(axis=2))
    assert rows.min() > 0.75 * plain.shape[0]
    assert 0.2 * plain.shape[1] < columns.min() <= columns.max() < 0.4 * plain.shape[1]


@pytest.fixture
def command():
    app = Typer(pretty_exceptions_enable=False)
    app.command()(explain)
    runner = CliRunner()

    def run(*arguments):
        result = runner.invoke(app, [str(one) for one in arguments])
        if isinstance(result.exception, MonitorError):
            raise result.exception
        return result

    return run


@pytest.fixture
def saved(classifier, tmp_path):
    path = tmp_path / "my.keras"
    classifier().save(path)
    return path


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "line"
    for name in ("a/0001.png", "b/0001.png", "b/0002.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.random.default_rng(len(name)).integers(0, 255, (50, 70), np.uint8))
    return folder


def test_one_picture_becomes_one_file_of_its_size(command, saved, photographs, tmp_path):
    out = tmp_path / "heat.png"
    picture = photographs / "a" / "0001.png"
    result = command(picture, "--model", saved, "--preprocess", "none", "--method", "grad-cam", "--out", out)
    assert result.exit_code == 0
    assert cv2.imread(str(out)).shape == (50, 70, 3)
    assert str(out) in result.output


def test_several_pictures_become_a_folder_a_class_and_names_that_repeat_are_kept_apart(
    command, saved, photographs, tmp_path
):
    out = tmp_path / "results"
    folders = (photographs / "a", photographs / "b")
    result = command(*folders, "--model", saved, "--preprocess", "caffe", "--out", out, "--target", 1)
    assert result.exit_code == 0
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.png")) == [
        "class 1/0002.png",
        "class 1/a-0001.png",
        "class 1/b-0001.png",
    ]


def test_the_grid_of_a_picture_is_drawn(command, saved, photographs, tmp_path):
    out = tmp_path / "sheet.png"
    picture = photographs / "b" / "0002.png"
    result = command(picture, "--model", saved, "--preprocess", "unit", "--grid", "--out", out)
    assert result.exit_code == 0
    height, width = cv2.imread(str(out)).shape[:2]
    assert width > 5 * 256
    assert height > 4 * 180


def test_the_shipped_model_is_taken_by_default(command, shipped_bundle, dagm_root, tmp_path):
    if not (shipped_bundle / "card.json").is_file():
        pytest.skip("the shipped model is missing")
    picture = dagm_root / "Class1" / "Test" / "0027.PNG"
    result = command(picture, "--out", tmp_path)
    assert result.exit_code == 0
    assert (tmp_path / "defect" / "0027.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        (["--layer", "secnd"], "nearest are second", 2),
        (["--layer", "scores"], "without rows and columns", 2),
        (["--max-n", "0"], "max_n is 0", 2),
        (["--max-n", "99"], "1 to 12 maps", 2),
        (["--method", "gradcam"], "no method 'gradcam'", 2),
        (["--target", "9"], "no class 9", 2),
        (["--grid", "--emphasize"], "already", 2),
        (["--weights", "w.h5"], "--weights goes with", 2),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_sentence(
    command, saved, photographs, tmp_path, *, arguments, sentence, code
):
    picture = photographs / "a" / "0001.png"
    with pytest.raises(UsageError, match=sentence) as caught:
        command(picture, "--model", saved, "--preprocess", "none", "--out", tmp_path / "x.png", *arguments)
    assert caught.value.exit_code == code
    assert "\n" not in str(caught.value)


def test_a_frame_in_tiles_is_explained_tile_by_tile(classifier):
    image = np.random.default_rng(1).integers(0, 255, (40, 90, 3), np.uint8)
    left, right = Box(0, 0, 30, 40), Box(50, 10, 90, 40)
    explainer = Explainer(classifier())

    def drawn(picture, parts):
        subject = ExplainableModel(
            None, lambda part: cv2.resize(part, (48, 32))[None].astype(np.float32), parts=parts
        )
        return render_method(explainer, subject, picture, 1)

    found = drawn(image, lambda _: [left, right])
    for box in (left, right):
        alone = drawn(box.of(image), whole_image)
        assert np.array_equal(box.of(found.picture), alone.picture)
    assert found.summary == f"{alone.summary} in tile 50,10,40,30"
    assert np.array_equal(found.picture[:, 30:50], image[:, 30:50])


def test_a_hairline_is_found_in_the_tiles_that_the_model_was_trained_on(command, dagm_root, tmp_path):
    image = dagm_root / "Class8" / "Train" / "1168.PNG"
    if not image.is_file():
        pytest.skip(f"DAGM Class8 is not on this machine: {image} is missing")
    out = tmp_path / "heat.png"
    assert "defect 0.94" in command(image, "--model", "dagm-class8", "--out", out).output
    config = tmp_path / "line.toml"
    config.write_text('[[camera]]\nname = "line"\nsource = "frames"\n')
    result = command(image, "--model", "dagm-class8", "--like", config, "--out", out)
    assert "good" in result.output, "a hairline vanishes in the whole frame"
    heat = cv2.imread(str(out))
    assert heat.shape == (512, 512, 3)


def test_files_that_are_not_there_or_not_what_they_say_are_refused(command, saved, photographs, tmp_path):
    picture, out = photographs / "a" / "0001.png", tmp_path / "x.png"
    broken = tmp_path / "broken.keras"
    broken.write_bytes(b"no model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "no.png").write_bytes(b"")
    for arguments, sentence in (
        ((picture, "--model", broken, "--preprocess", "none", "--out", out), "cannot be loaded"),
        ((picture, "--model", tmp_path / "none.keras", "--out", out), "there is no model file"),
        ((picture, "--model", saved, "--out", out), "state with --preprocess"),
        ((picture, "--model", "no-such-model", "--out", out), "there is no model"),
        ((picture, "--model", "keras:VGG61", "--out", out), "nearest are VGG1"),
        ((tmp_path / "empty", "--out", out), "no images"),
        ((tmp_path / "no.png", "--model", saved, "--preprocess", "none", "--out", out), "no.png"),
        ((photographs / "a", photographs / "b", "--out", out), "3 images do not fit into one file"),
        ((picture, "--out", tmp_path / "file"), "is a file"),
    ):
        with pytest.raises(MonitorError, match=sentence) as caught:
            command(*arguments)
        assert "\n" not in str(caught.value)


def test_a_grey_model_takes_a_picture_as_grey_and_four_channels_are_refused(classifier, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    classifier(channels=1).save(tmp_path / "grey.keras")
    assert load_model_file(tmp_path / "grey.keras", "none").preprocess(image).shape == (1, 32, 48, 1)
    classifier(channels=4).save(tmp_path / "four.keras")
    with pytest.raises(UsageError, match="takes 4 channels"):
        load_model_file(tmp_path / "four.keras", "none")


def test_a_keras_application_takes_a_weights_file_and_prepares_pictures_as_keras_does(tmp_path):
    model = keras.applications.MobileNetV2(weights=None)
    model.save_weights(tmp_path / "mobile.weights.h5")
    subject = load_application("MobileNetV2", tmp_path / "mobile.weights.h5")
    for mine, theirs in zip(subject.model.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    image = np.zeros((224, 224, 3), np.uint8)
    image[..., 2] = 255  # red
    np.testing.assert_allclose(subject.preprocess(image)[0, 0, 0], [1, -1, -1])
    with pytest.raises(ModelError, match="does not fit VGG16"):
        load_application("VGG16", tmp_path / "mobile.weights.h5")
    with pytest.raises(ModelError, match="there is no weights file"):
        load_application("VGG16", tmp_path / "absent.h5")


def test_an_application_without_weights_offline_is_one_sentence(monkeypatch):
    def offline(**_):
        raise Exception("URL fetch failure on https://example.org/weights.h5")  # noqa: TRY002 (as Keras does)

    monkeypatch.setattr(keras.applications, "VGG16", offline)
    with pytest.raises(ModelError, match="give a file with --weights"):
        load_application("VGG16")
