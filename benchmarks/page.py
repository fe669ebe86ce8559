"""One self-contained HTML page of result files."""

import base64
from collections.abc import Sequence
from pathlib import Path

from benchmarks.errors import RecordError
from benchmarks.plots import draw
from benchmarks.record import Record
from benchmarks.tables import headings, rows

TEMPLATES = Path(__file__).resolve().parent / "templates"


def write_page(records: Sequence[Record], folder: Path) -> Path:
    """Writes ``index.html`` and the plots beside it; returns the page's path.

    Raises:
        EngineUnavailable: matplotlib is not installed.
        RecordError: A run lacks what its kind has.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError

    folder.mkdir(parents=True, exist_ok=True)
    runs = []
    for number, record in enumerate(records):
        stem = record.kind if len({r.kind for r in records}) == len(records) else f"{record.kind}-{number + 1}"
        try:
            plots = [(base64.b64encode(path.read_bytes()).decode(), title) for path, title in draw(record, folder, stem)]
            runs.append({"record": record, "plots": plots, "headings": headings(record), "rows": rows(record)})
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(
                f"the bench {record.kind} of {record.started_at} is damaged ({error!r}); run the benchmark again"
            ) from error
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    page = folder / "index.html"
    try:
        page.write_text(environment.get_template("bench.html.j2").render(runs=runs))
    except UndefinedError as error:
        raise RecordError(f"a result file is damaged ({error}); run the benchmark again") from error
    return page
