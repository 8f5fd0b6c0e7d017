"""`defect-monitor explain`: heat maps of images by any method, of any Keras classifier."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from monitor.cli.tiling import CAMERA_HELP, LIKE_HELP, read_tiling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from monitor.explain.targets import ExplainableModel, Preprocess
    from monitor.learning.datasets.tiling import Tiling
    from monitor.records import Heatmap, Image

_MODEL_FILES = (".keras", ".h5", ".hdf5")


def explain(
    images: Annotated[list[Path], typer.Argument(help="Images, folders of images, or patterns in quotes.")],
    *,
    out: Annotated[
        Path,
        typer.Option(help="A .png or .jpg for one image; else a folder, which gets a folder for each class."),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A shipped model, a bundle's folder, a .keras or .h5 file, or keras:NAME (keras:VGG16)."
        ),
    ] = "dagm-class1",
    layer: Annotated[
        str | None,
        typer.Option(help="Layer to explain (default: the card's, or the last with rows and columns)."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="Method, such as grad-cam, score-cam, guided-backprop, edges-grad-cam++.")
    ] = "faster-score-cam",
    max_n: Annotated[
        int | None, typer.Option("--max-n", help="Number of maps that Faster-Score-CAM scores (default 10).")
    ] = None,
    scoring: Annotated[
        Literal["seed", "article", "paper"], typer.Option(help="How the Score-CAMs score a map.")
    ] = "seed",
    choice: Annotated[
        Literal["deviation", "gradient"],
        typer.Option(
            help="What ranks Faster-Score-CAM's maps: deviation, or gradient (deviation times gradient)."
        ),
    ] = "deviation",
    gradient_of: Annotated[
        Literal["logit", "probability"],
        typer.Option(
            help="What the Grad-CAMs differentiate: the class's logit (as in their papers) or probability."
        ),
    ] = "logit",
    target: Annotated[
        int | None, typer.Option(help="Class to explain, counted from 0 (default: the predicted one).")
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Draw all methods side by side.")] = False,
    emphasize: Annotated[
        bool, typer.Option("--emphasize", help="Stretch the contrast of the heat around one half.")
    ] = False,
    weights: Annotated[Path | None, typer.Option(help="Weights file for keras:NAME.")] = None,
    preprocess: Annotated[
        Literal["none", "unit", "tf", "torch", "caffe"] | None,
        typer.Option(
            help="Input of a .keras or .h5 file: RGB 0..255, RGB 0..1, or one of Keras' ImageNet modes."
        ),
    ] = None,
    head: Annotated[
        Literal["softmax", "sigmoid", "logits"] | None,
        typer.Option(help="What the model gives, where its last layer does not show it."),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(help=f"{LIKE_HELP} Default for a bundle: as in training."),
    ] = None,
    camera: Annotated[str | None, typer.Option(help=CAMERA_HELP)] = None,
    bit_depth: Annotated[
        int | None, typer.Option(min=8, max=16, help="Bits that files of 16 bits use (default: as declared).")
    ] = None,
) -> None:
    """Show where the evidence for a class lies in IMAGES, as heat over each image.

    Of a frame in tiles those are explained that the model's threshold flags, or the one of highest score.
    """
    import sys

    from monitor.errors import ImageError, UsageError, printable
    from monitor.imaging.files import read_image
    from monitor.inference.device import prepare_gpus

    if grid and emphasize:
        raise UsageError("--emphasize is a row of --grid already")
    paths = _images(images)
    as_file = _is_file(out, len(paths))
    names = _names(paths)
    prepare_gpus()

    from monitor.explain import Explainer
    from monitor.explain.drawing import CamOptions, render_comparison, render_method

    subject = _subject(model, weights, preprocess, read_tiling(None, None, None, like, camera))
    explainer = Explainer(subject.model, layer or subject.layer, head)
    explainer.network.verify()
    options = CamOptions(max_n=max_n, scoring=scoring, choice=choice, gradient_of=gradient_of)
    unreadable = 0
    for path in paths:
        try:
            image = read_image(path, bit_depth=bit_depth)
        except ImageError as error:
            if len(paths) == 1:
                raise
            unreadable += 1
            print(printable(f"not explained: {error}"), file=sys.stderr)
            continue
        if grid:
            drawn = render_comparison(explainer, subject, image, printable(path.name), target, **options)
        else:
            drawn = render_method(explainer, subject, image, target, method, emphasized=emphasize, **options)
        place = out if as_file else out / drawn.class_name.replace("/", "_") / f"{names[path]}.png"
        _save(place, drawn.picture)
        print(printable(f"{path}: {drawn.summary} -> {place}"))
    if unreadable:
        raise ImageError(f"{unreadable} of {len(paths)} images cannot be read")


def _subject(
    model: str, weights: Path | None, preprocess: "Preprocess | None", tiling: "Tiling | None"
) -> "ExplainableModel":
    from monitor.errors import UsageError
    from monitor.explain.targets import load_application, load_model_file

    is_bundle = not model.startswith("keras:") and not model.lower().endswith(_MODEL_FILES)
    if tiling is not None and not is_bundle:
        raise UsageError("--like goes with a bundle; another model sees the whole image")
    if model.startswith("keras:"):
        if preprocess is not None:
            raise UsageError("--preprocess is for a .keras or .h5 file; a network of Keras brings its own")
        return load_application(model.removeprefix("keras:"), weights)
    if weights is not None:
        raise UsageError("--weights goes with --model keras:NAME")
    if not is_bundle:
        return load_model_file(Path(model), preprocess)
    if preprocess is not None:
        raise UsageError("--preprocess is for a .keras or .h5 file; a bundle's card states it")
    return _bundle(model, tiling)


def _bundle(model: str, tiling: "Tiling | None") -> "ExplainableModel":
    import numpy as np

    from monitor.explain.targets import ExplainableModel
    from monitor.imaging.geometry import resize_to_input, tiles_to_explain
    from monitor.imaging.regions import merge_heatmaps
    from monitor.learning.datasets.tiling import Tiling
    from monitor.models.bundle import load_bundle
    from monitor.models.preprocessing import preprocess as prepared
    from monitor.models.registry import resolve_model_path
    from monitor.records import Box, TileHeatmap

    bundle = load_bundle(resolve_model_path(model))
    card, network = bundle.card, bundle.keras_model()
    used = tiling or Tiling.of(card.training)

    def input_of(image: "Image") -> "NDArray[np.float32]":
        return prepared(card, resize_to_input(image, card.input_size)[None])

    def flagged_tiles(image: "Image") -> "Sequence[Box]":
        boxes = used.boxes(image.shape[1], image.shape[0])
        if len(boxes) == 1:
            return boxes
        inputs = np.concatenate([input_of(box.of(image)) for box in boxes])
        scores = network.predict(inputs, batch_size=8, verbose=0)[:, card.defect_class]
        return [boxes[index] for index in reversed(tiles_to_explain(scores, card.threshold))]

    def spread(heat: "Heatmap", height: int, width: int) -> "Heatmap":
        patch = TileHeatmap(heat, Box(0, 0, width, height), 1.0)
        return merge_heatmaps(
            [patch], width=width, height=height, input_size=card.input_size, cell_offset=card.cell_offset
        )

    return ExplainableModel(network, input_of, card.classes, card.cam_layer, spread, flagged_tiles)


def _images(paths: list[Path]) -> list[Path]:
    """Return the files named, the images directly in the folders named, and what patterns match."""
    import sys

    from monitor.errors import ImageError, printable
    from monitor.imaging.folders import find_images

    found: list[Path] = []
    for path in paths:
        try:
            inside = find_images(path)
        except OSError as error:
            raise ImageError(f"{path}: cannot be listed: {error.strerror}") from error
        if inside.others:
            print(printable(f"not explained in {path}: {inside.others_summary}"), file=sys.stderr)
        if not inside.images and path.is_dir():
            raise ImageError(f"{path}: the folder has no images")
        found += inside.images or (path,)
    return list(dict.fromkeys(found))


def _names(images: list[Path]) -> dict[Path, str]:
    """Return a name for each result: the file's stem, led by its folders' names where stems repeat."""
    names = {path: path.stem for path in images}
    depth = 1
    while len(set(names.values())) < len(images) and depth < 64:
        taken = list(names.values())
        depth += 1
        names = {
            path: "-".join(path.absolute().with_suffix("").parts[-depth:]) if taken.count(name) > 1 else name
            for path, name in names.items()
        }
    if len(set(names.values())) < len(images):  # a.png beside a.jpg
        names = {path: f"{name}-{path.suffix[1:]}" for path, name in names.items()}
    return names


def _is_file(out: Path, count: int) -> bool:
    from monitor.errors import UsageError

    if out.suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        if out.exists() and not out.is_dir():
            raise UsageError(f"{out} is a file; --out takes a folder, or a .png or .jpg for one image")
        return False
    if count > 1:
        raise UsageError(f"{count} images do not fit into one file {out}; give a folder")
    return True


def _save(place: Path, picture: "Image") -> None:
    import cv2

    from monitor.errors import ImageError

    _, data = cv2.imencode(place.suffix, picture)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data.tobytes())
    except OSError as error:
        raise ImageError(f"{place} cannot be written: {error.strerror or error}") from error
