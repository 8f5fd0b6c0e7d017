"""A network so small that a million frames go through the daemon in minutes."""

from pathlib import Path

import keras
import numpy as np

from monitor.capture.source import open_source
from monitor.classify.bundle import save_bundle
from monitor.classify.card import Card, ModelFile, Preprocessing, Training
from monitor.classify.preprocess import preprocess
from monitor.locate.fit import fit

SIDE = 32


def tiny_bundle(path: Path, video: Path, flagged: float) -> float:
    """Write a bundle with random weights to `path`; give the threshold that flags this share of frames."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(16, 5, strides=4, padding="same", activation="relu", name="maps")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    card = Card(
        name="tiny",
        classes=("good", "defect"),
        defect_class=1,
        input_height=SIDE,
        input_width=SIDE,
        preprocessing=Preprocessing(
            channel_order="bgr", mean=(128.0, 128.0, 128.0), deviation=(128.0, 128.0, 128.0)
        ),
        cam_layer="maps",
        cell_offset=(1.5, 1.5),
        threshold=0.5,
        threshold_origin="none",
        training=Training(
            command="", recipe="none", init="none", seed=1, data=(), epochs=0, kept_epoch=0, versions={}
        ),
        figures={},
        model=ModelFile(file="none.keras", sha256="0" * 64),
    )
    save_bundle(path, model, card, None)
    source = open_source(str(video))
    pictures = []
    while (picture := source.read()) is not None:  # the daemon's own way: the scores lie close together
        pictures.append(fit(picture, (SIDE, SIDE)))
    source.close()
    scores = np.sort(model.predict(preprocess(card, np.stack(pictures)), verbose=0)[:, 1].astype(float))
    first = len(scores) - max(1, round(flagged * len(scores)))
    return float(scores[first - 1] + scores[first]) / 2
