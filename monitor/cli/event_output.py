"""How `defect-monitor events` prints events: lines of JSON, rows, and one event in full."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitor.events.event import Event


_ROW = "{:<19}  {:<10} {:>8}  {:<10} {:>5}  {}"


def print_line(event: "Event") -> None:
    """Print one event as a line of JSON."""
    print(event.to_json(), flush=True)


def _cells(event: "Event") -> tuple[Any, ...]:
    regions = ", ".join(f"{it.x},{it.y} {it.width}×{it.height}" for it in event.regions)
    return (
        f"{event.captured_at.astimezone():%Y-%m-%d %H:%M:%S}",
        event.camera,
        event.frame_number,
        event.label,
        f"{event.score:.3f}",
        regions or f"not localised: {event.explanation.reason}",
    )


def print_heading() -> None:
    """Print the heading of the table of events."""
    from rich.console import Console

    Console().print(_ROW.format("time", "camera", "frame", "label", "score", "where"), style="bold")


def print_row(event: "Event") -> None:
    """Print one event as a row of the table."""
    from rich.console import Console
    from rich.text import Text

    line = Text(_ROW.format(*_cells(event)), overflow="ellipsis", no_wrap=True)
    Console().print(line, style="red" if event.regions else "yellow")


def _flat(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{part} {inner}" for part, inner in value.items() if inner is not None)


def print_table(event: "Event") -> None:
    """Print all fields of one event as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(event.id), show_header=False)
    for name, value in event.model_dump(mode="json", exclude={"id", "regions"}).items():
        if value is not None:
            table.add_row(Text(name, style="bold"), Text(_flat(value)))
    for region in event.regions:
        size, at = f"{region.width}×{region.height}", f"{region.x},{region.y}"
        box = f"{size} at {at}, peak {region.peak}, {region.area} pixels"
        table.add_row(Text("region", style="bold"), Text(box))
    Console().print(table)
