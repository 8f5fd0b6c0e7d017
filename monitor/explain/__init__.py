"""Why a classifier says what it says: heat maps of any Keras image classifier.

heat = explain(model, images).heat                    # Faster-Score-CAM of the predicted classes
explainer = Explainer(model, layer="act_last")        # for more than one call: traced once
explained = explainer.explain(images, 1, "grad-cam++")
"""

from monitor.explain.explainer import (
    CAMS,
    DEFAULT_MAX_N,
    DEFAULT_METHOD,
    METHODS,
    CamResult,
    Explainer,
    explain,
)

__all__ = ["CAMS", "DEFAULT_MAX_N", "DEFAULT_METHOD", "METHODS", "CamResult", "Explainer", "explain"]
