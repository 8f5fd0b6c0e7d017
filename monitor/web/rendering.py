"""Draw templates: everything is escaped, texts come from the catalogue, times are machine-readable."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from monitor.web.texts import LANGUAGES, translate


class Renderer:
    """The page's templates. `shared` are values that every template sees."""

    def __init__(self, shared: Mapping[str, object]) -> None:
        self._environment = Environment(
            loader=PackageLoader("monitor.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= dict(shared) | {
            "address": address,
            "cause_class": cause_class,
            "languages": LANGUAGES,
        }
        self._environment.filters |= {"when": when, "duration": duration}

    def fragment(self, template: str, language: str, **values: object) -> str:
        """Return a template as text, for a part of a page."""
        text = partial(translate, language)
        found = self._environment.get_template(template)
        return found.render(t=text, language=language, **values)

    def page(self, request: Request, template: str, *, status: int = 200, **values: object) -> HTMLResponse:
        """Return a whole page in the language of the request."""
        text = self.fragment(
            template,
            request.state.language,
            path=request.url.path,
            visitor=request.state.visitor,
            **values,
        )
        return HTMLResponse(text, status)


def address(path: str, **query: object) -> str:
    """Return an address with its query; values that are None are left out."""
    pairs = [(name, str(value)) for name, value in query.items() if value is not None and value != ""]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def cause_class(cause: str) -> str:
    """Return the class that colours a cause of losses: four kinds are all that the eye keeps apart."""
    kinds = {
        "not-running": "away",
        "stopping": "away",
        "overload": "overload",
        "late": "overload",
        "pool-busy": "overload",
        "daemon-away": "away",
    }
    damage = ("damaged", "lost-upstream", "unreadable", "unusable", "frozen", "misconfigured")
    return f"cause-{kinds.get(cause, 'damage' if cause in damage else 'outage')}"


def when(at: datetime | None, form: str = "%H:%M:%S") -> Markup:
    """Return a `<time>` element in local time, also exact for machines; `%f` gives milliseconds."""
    if at is None:
        return Markup("–")
    exact = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    local = at.astimezone()
    shown = local.strftime(form.replace("%f", f"{local.microsecond // 1000:03}"))
    return Markup('<time datetime="{}">{}</time>').format(exact, escape(shown))


def duration(seconds: float) -> str:
    """Return a duration for people: `0.4 s`, `41 s`, `2 min 10 s`, `3 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
