"""A network so small that a million frames go through the daemon in minutes."""

from pathlib import Path

import cv2
import keras
import numpy as np

from monitor.classify.bundle import save_bundle
from monitor.classify.card import Card, ModelFile, Preprocessing, Training

SIDE = 32


def tiny_bundle(path: Path, video: Path, flagged: float) -> float:
    """Write a bundle with random weights to `path`; give the threshold that flags this share of frames."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(16, 5, strides=4, padding="same", activation="relu", name="maps")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    save_bundle(
        path,
        model,
        Card(
            name="tiny",
            classes=("good", "defect"),
            defect_class=1,
            input_height=SIDE,
            input_width=SIDE,
            preprocessing=Preprocessing(channel_order="bgr", mean=(128.0, 128.0, 128.0)),
            cam_layer="maps",
            cell_offset=(1.5, 1.5),
            threshold=0.5,
            threshold_origin="none",
            training=Training(
                command="", recipe="none", init="none", seed=1, data=(), epochs=0, kept_epoch=0, versions={}
            ),
            figures={},
            model=ModelFile(file="none.keras", sha256="0" * 64),
        ),
        None,
    )
    capture, frames = cv2.VideoCapture(str(video)), []
    while (read := capture.read())[0]:
        frames.append(cv2.resize(read[1], (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    capture.release()
    scores = model.predict(np.stack(frames).astype(np.float32) - 128, verbose=0)[:, 1]
    return float(np.quantile(scores, 1 - flagged))
