"""From a picture and a subject to a drawn explanation: one method, or the sheet of all."""

from dataclasses import dataclass

from monitor.explain.edges import edges
from monitor.explain.explainer import CAMS, DEFAULT_METHOD, PRODUCTS, Explained, Explainer
from monitor.explain.grid import comparison
from monitor.explain.overlay import enlarge, superimpose
from monitor.explain.score_cam import Scoring
from monitor.explain.subject import Subject
from monitor.explain.traced import Choice
from monitor.records import Heat, Image


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A drawn explanation: `kind` names the class explained, `verdict` is a line of class, score and note."""

    picture: Image
    kind: str
    verdict: str


def draw_one(
    explainer: Explainer,
    subject: Subject,
    image: Image,
    target: int | None = None,
    method: str = DEFAULT_METHOD,
    *,
    max_n: int | None = None,
    scoring: Scoring = "seed",
    choice: Choice = "deviation",
    emphasized: bool = False,
) -> Drawn:
    """Lay the heat of one method over `image` (h, w, 3)."""
    explained = explainer.explain(
        subject.prepare(image), target, method, max_n=max_n, scoring=scoring, choice=choice
    )
    heat = _spread(subject, explained, image)
    kind = subject.class_name(int(explained.target[0]))
    return Drawn(
        superimpose(image, heat, emphasized=emphasized),
        kind,
        _verdict(kind, explained),
    )


def draw_all(
    explainer: Explainer,
    subject: Subject,
    image: Image,
    name: str,
    target: int | None = None,
    *,
    max_n: int | None = None,
    scoring: Scoring = "seed",
    choice: Choice = "deviation",
) -> Drawn:
    """Draw the comparison of all methods on `image` (h, w, 3), called `name`."""
    x = subject.prepare(image)
    found = {"guided-backprop": explainer.explain(x, target, "guided-backprop")}
    for cam in CAMS:
        found[cam] = explainer.explain(x, target, cam, max_n=max_n, scoring=scoring, choice=choice)
        for product in PRODUCTS:
            found[f"{product}-{cam}"] = explainer.multiply(found[cam], product, x)
    one = found[DEFAULT_METHOD]
    kind = subject.class_name(int(one.target[0]))
    facts = [
        name,
        f"{kind} {one.score[0]:.3f}",
        f"layer {one.layer}",
        f"faster-score-cam: {explainer.kept(max_n)} of {explainer.network.channels} maps",
        f"chosen by {choice}, scoring {scoring}",
    ]
    sheet = comparison(
        image,
        {method: _spread(subject, explained, image) for method, explained in found.items()},
        edges(x[0]),
        facts,
        {method: explained.notes[0] for method, explained in found.items() if explained.notes[0]},
    )
    return Drawn(sheet, kind, _verdict(kind, one))


def _spread(subject: Subject, explained: Explained, image: Image) -> Heat:
    """Heat in the picture's own pixels; that of the input's size lies over the picture as it is."""
    spread = subject.spread if explained.method in CAMS else enlarge
    return spread(explained.heat[0], *image.shape[:2])


def _verdict(kind: str, explained: Explained) -> str:
    note = explained.notes[0]
    return f"{kind} {explained.score[0]:.3f}" + (f", no heat: {note}" if note else "")
