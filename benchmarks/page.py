"""One self-contained HTML page of result files."""

import base64
from collections.abc import Sequence
from pathlib import Path

from benchmarks.plots import draw
from benchmarks.record import Record
from benchmarks.tables import rows

TEMPLATES = Path(__file__).resolve().parent / "templates"


def write_page(records: Sequence[Record], folder: Path) -> Path:
    """Writes ``index.html`` and the plots beside it; returns the page's path.

    Raises:
        EngineUnavailable: matplotlib is not installed.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder.mkdir(parents=True, exist_ok=True)
    runs = []
    for number, record in enumerate(records):
        stem = record.kind if len({r.kind for r in records}) == len(records) else f"{record.kind}-{number + 1}"
        plots = [(base64.b64encode(path.read_bytes()).decode(), title) for path, title in draw(record, folder, stem)]
        runs.append({"record": record, "plots": plots, "rows": rows(record), "ratios": record.figures.get("ratio_to_baseline")})
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    page = folder / "index.html"
    page.write_text(environment.get_template("bench.html.j2").render(runs=runs))
    return page
