"""The shell of a report: one HTML file that loads nothing from anywhere."""

from html import escape

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
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 14px; }
.pictures { align-items: start; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 6px; } .pair img { width: 100%; display: block; }
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
    """`body`, which is HTML already, as a whole document; the policy forbids it to load anything."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )
