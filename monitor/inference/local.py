"""A model bundle on this machine, as a handle of the pipeline."""

import math

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError
from monitor.inference.candidates import InferenceOptions
from monitor.inference.device import ComputeDevice
from monitor.inference.handle import CamHeat, Classification, Evidence, ModelSpec, Proceed
from monitor.inference.loader import load_network
from monitor.inference.network import Network
from monitor.inference.reference_check import card_mismatch, score_references
from monitor.inference.scheduler import DeviceScheduler
from monitor.models.bundle import ModelBundle
from monitor.models.card import ModelCard
from monitor.models.novelty import NoveltyScore
from monitor.records import Image

_FAR = 1e9
"""Distance of an input whose own is infinite or not a number: it is farther than any other."""


class LocalModel:
    """A bundle run by this process; see `ModelHandle`. Its evidence is a copy of the activations.

    Making one is light; `load` builds or reads the graphs. Models of one device share its `scheduler`.
    """

    device: ComputeDevice
    refinement_seconds: float
    efficient_batch: int

    def __init__(
        self,
        bundle: ModelBundle,
        options: InferenceOptions,
        spec: ModelSpec | None = None,
        scheduler: DeviceScheduler | None = None,
    ) -> None:
        self.spec = spec or ModelSpec.from_card(bundle.card)
        self._bundle = bundle
        self._options = options
        self._scheduler = scheduler or DeviceScheduler()
        self._network: Network | None = None

    def load(self) -> None:
        """Make the model ready, if it is not. Raises DeviceError or ModelError."""
        if self._network is None:
            self._use(load_network(self._bundle, self.spec, self._options, self._scheduler))

    def share_network(self, other: "LocalModel") -> None:
        """Run the graphs of `other`, which is loaded, if they are the ones that `load` would make."""
        if other._network is not None and self._graphs_of() == other._graphs_of():
            self._use(other._network)

    @property
    def identity(self) -> tuple[object, ...]:
        """All that decides on its answers: two models of equal identity are interchangeable."""
        return self._bundle.card, self._options, self.spec

    @property
    def card(self) -> ModelCard:
        """The card of its bundle."""
        return self._bundle.card

    def _use(self, network: Network) -> None:
        self._network, self.device = network, network.device
        self.refinement_seconds, self.efficient_batch = network.refinement_seconds, network.efficient_batch

    def _graphs_of(self) -> tuple[object, ...]:
        """Return all that the graphs depend on."""
        card, regions = self._bundle.card, self.spec.regions
        network = card.model.sha256, card.cam_layer, card.classes, card.defect_class, card.preprocessing
        return *network, card.screening, self._options, regions.max_n, regions.scoring

    def check_references(self) -> None:
        """Raise ModelError unless the reference images score as the card says; the model is loaded."""
        scores = score_references(self._loaded, self._bundle, math.inf)  # the card has no peaks of heat
        difference = card_mismatch(self._bundle, scores, self.spec.threshold, self.device.precision)
        if difference is not None:
            raise ModelError(f"the model at {self._bundle.path} is not what its card says: {difference}")

    def classify(
        self, inputs: NDArray[np.uint8], thresholds: NDArray[np.float64] | None = None
    ) -> Classification:
        """Classify (b, h, w, 3) uint8 inputs of the model's size; any b ≥ 1."""
        if thresholds is None:
            thresholds = np.full(len(inputs), self.spec.threshold)
        scores, features, activations, screened = self._loaded.classify(inputs, thresholds)
        detector = self._bundle.familiarity
        novelty = (
            [None] * len(scores)
            if detector is None
            else _novelty(
                np.where(np.isnan(screened), detector.distance(features), screened * detector.limit),
                detector.limit,
            )
        )
        return Classification(scores, novelty, activations, self._kinds(scores >= thresholds, features))

    def explain(self, image: Image, evidence: Evidence | None, proceed: Proceed = lambda: True) -> CamHeat:
        """Explain the defect on one input `image` (h, w, 3) uint8."""
        activations = evidence if isinstance(evidence, np.ndarray) else self._loaded.activations(image)
        heat, head = self._loaded.explain(image, activations, proceed), self._bundle.box_head
        if head is None:
            return heat
        hot = heat.heatmap >= self.spec.regions.threshold
        return heat._replace(extents=head.extents(activations[0], hot))

    def close(self) -> None:
        """Free the network, unless another model shares it."""
        self._network = None

    def _kinds(self, flagged: NDArray[np.bool_], features: NDArray[np.float32]) -> list[str | None]:
        classifier = self._bundle.kinds
        if classifier is None:
            return []
        names = iter(classifier.classify(features[flagged]))
        return [next(names) if each else None for each in flagged]

    @property
    def _loaded(self) -> Network:
        if self._network is None:
            raise ModelError(f"the model {self.spec.name} is not loaded")
        return self._network


def _novelty(distances: NDArray[np.float32], limit: float) -> list[NoveltyScore | None]:
    return [NoveltyScore(float(each) if np.isfinite(each) else _FAR, limit) for each in distances]
