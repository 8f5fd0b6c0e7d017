"""Charts as inline SVG; colours and fonts come from the page's style sheet."""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from monitor.learning.evaluate.metrics import Flags, Scores, roc

WIDTH, HEIGHT = 520, 260


LEFT, RIGHT, TOP, BOTTOM = 50, 14, 14, 42


def histogram(scores: Scores, defective: Flags, threshold: float, bins: int = 40) -> str:
    """Draw the number of images by score: defects upwards, good parts downwards, on a log scale."""
    counts = [np.histogram(scores[flags], bins, (0, 1))[0] for flags in (defective, ~defective)]
    top = np.log1p(max(1, *(int(side.max()) for side in counts)))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    reach = (HEIGHT - BOTTOM - TOP) / 2
    parts = []
    for ticks in (10**power for power in range(4)):
        length = reach * np.log1p(ticks) / top
        if length <= reach:
            parts += [
                f"{_line(LEFT, y, WIDTH - RIGHT, y, 'grid')}{_text(LEFT - 6, y + 4, str(ticks), 'end')}"
                for y in (middle - length, middle + length)
            ]
    for side, kind, sign in zip(counts, ("defect", "good"), (-1, 1), strict=True):
        for index in np.flatnonzero(side):
            length = reach * np.log1p(side[index]) / top
            y = middle - length if sign < 0 else middle
            span = f"{index / bins:.3f} to {(index + 1) / bins:.3f}"
            parts.append(
                f'<rect class="{kind}" x="{_x(index / bins) + 0.5:.1f}" y="{y:.1f}" '
                f'width="{_x(1 / bins) - LEFT - 1:.1f}" height="{length:.1f}">'
                f"<title>{side[index]} {kind}, score {span}</title></rect>"
            )
    parts.append(_line(LEFT, middle, WIDTH - RIGHT, middle, "axis"))
    x = _x(threshold)
    parts.append(_line(x, TOP - 4, x, HEIGHT - BOTTOM, "threshold"))
    # The text stands on the side of the line that has room for it.
    left_half = threshold < 0.5
    parts.append(_text(x + (5 if left_half else -5), TOP + 6, "threshold", "start" if left_half else "end"))
    return _svg("Histogram of scores", parts + _score_axis("score"))


def roc_curve(scores: Scores, defective: Flags) -> str:
    """Draw recall over the fraction of flagged good parts, both 0..1."""
    x, y = roc(scores, defective)
    parts = [*_unit_grid(), _line(_x(0), _y(0), _x(1), _y(1), "grid"), _path(zip(x, y, strict=True), "curve")]
    return _svg("ROC", [*parts, *_score_axis("fraction of good parts flagged"), _upright("recall")])


def reliability(scores: Scores, defective: Flags, bins: int = 10) -> str:
    """Draw the fraction of defects over the mean score; the area of a dot grows with its images."""
    bin_of = np.minimum((scores * bins).astype(int), bins - 1)
    parts = [*_unit_grid(), _line(_x(0), _y(0), _x(1), _y(1), "threshold")]
    for index in np.unique(bin_of):
        inside = bin_of == index
        x, y = float(scores[inside].mean()), float(defective[inside].mean())
        radius = 3 + 9 * np.sqrt(inside.mean())
        parts.append(
            f'<circle class="dot" cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="{radius:.1f}">'
            f"<title>{inside.sum()} images: mean score {x:.3f}, {y:.3f} of them defective</title></circle>"
        )
    return _svg("Calibration", [*parts, *_score_axis("mean score"), _upright("fraction of defects")])


def cost_over_threshold(thresholds: Scores, costs: Scores, threshold: float) -> str:
    """Draw the expected cost of a frame over the threshold, scaled to its highest value."""
    highest = float(costs.max()) or 1.0
    x = _x(threshold)
    parts = [
        *_unit_grid(highest),
        _path(zip(thresholds, costs / highest, strict=True), "curve"),
        _line(x, TOP - 4, x, HEIGHT - BOTTOM, "threshold"),
    ]
    return _svg("Expected cost", [*parts, *_score_axis("threshold"), _upright("expected cost")])


def _x(fraction: float) -> float:
    return LEFT + float(fraction) * (WIDTH - LEFT - RIGHT)


def _y(fraction: float) -> float:
    return HEIGHT - BOTTOM - float(fraction) * (HEIGHT - TOP - BOTTOM)


def _unit_grid(highest: float = 1.0) -> list[str]:
    return [
        _line(LEFT, _y(v), WIDTH - RIGHT, _y(v), "grid")
        + _text(LEFT - 6, _y(v) + 4, f"{v * highest:.3g}", "end")
        for v in (0, 0.25, 0.5, 0.75, 1)
    ]


def _score_axis(name: str) -> list[str]:
    bottom = HEIGHT - BOTTOM
    ticks = [_text(_x(v), bottom + 17, f"{v:g}", "middle") for v in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    return [
        _line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis"),
        *ticks,
        _text(_x(0.5), HEIGHT - 4, name, "middle"),
    ]


def _upright(name: str) -> str:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return f'<text transform="rotate(-90)" x="{-middle:.1f}" y="11" text-anchor="middle">{name}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _path(points: Iterable[tuple[float, float]], kind: str) -> str:
    return f'<path class="{kind}" d="M{"L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)}"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def _svg(name: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{"".join(parts)}</svg>'


STYLE = """
:root { color-scheme: light dark; --ink: #1d2327; --dim: #5b6670; --paper: #fbfbfa; --card: #ffffff;
  --rule: #dfe3e6; --defect: #c2410c; --good: #1d6fa5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9eb; --dim: #9aa5ad; --paper: #16191c;
  --card: #1f2427; --rule: #363d42; --defect: #fb8b4c; --good: #63b3e4; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.6rem; margin: 0 0 2px; } h2 { font-size: 1.2rem; margin: 38px 0 10px; }
p { margin: 6px 0; max-width: 78ch; } .dim, figcaption, .note { color: var(--dim); }
.note { font-size: .88rem; } code { overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; }
.tiles { margin: 18px 0; } .tile { padding: 10px 14px; }
.tile, figure { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
.tile b { display: block; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--dim); font-size: .88rem; } .bad b { color: var(--defect); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 14px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; background: var(--card); }
table { font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--rule); padding: 5px 12px; text-align: right; }
th { text-align: right; font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 0; padding: 10px; } figcaption b { color: var(--ink); }
figcaption { font-size: .85rem; padding-top: 6px; overflow-wrap: anywhere; }
.images { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 14px; }
.images { align-items: start; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 6px; } .pair img { width: 100%; display: block; }
.pair.three { grid-template-columns: 1fr 1fr 1fr; }
.wrong { border-color: var(--defect); border-width: 2px; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--dim); font-size: 13px; }
.grid { stroke: var(--rule); } .axis { stroke: var(--dim); }
.threshold { stroke: var(--ink); stroke-dasharray: 5 4; }
rect.defect, .key.defect { fill: var(--defect); background: var(--defect); }
rect.good, .key.good { fill: var(--good); background: var(--good); }
.curve { fill: none; stroke: var(--good); stroke-width: 2.5; } .dot { fill: var(--good); fill-opacity: .75; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; }
"""


def page(title: str, body: str) -> str:
    """Wrap `body`, which is HTML, in a document whose policy forbids it to load anything."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )
