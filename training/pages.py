"""The evaluation as one page and one JSON file."""

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2rem auto;padding:0 1rem;color:#1f2430;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}
th,td{padding:.3rem .7rem;border-bottom:1px solid #e3e6ec;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{color:#59617a;font-weight:600}
img{max-width:100%}td .small{display:block}.small{color:#59617a;font-size:.88rem}
@media(prefers-color-scheme:dark){body{background:#171a21;color:#e6e9f0}th,.small{color:#9aa3b2}th,td{border-color:#2b303b}img{background:#fff}}
"""
_COLUMNS = (
    "auc",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "equal_error_rate",
    "precision",
    "recall",
    "f1",
    "false_alarm_rate",
    "expected_calibration_error",
    "brier",
)
_HEADS = (
    "clips",
    "real",
    "fake",
    "AUC",
    "AP",
    "accuracy",
    "balanced",
    "EER",
    "precision",
    "recall",
    "F1",
    "false alarms",
    "ECE",
    "Brier",
    "confusion",
)


def write_evaluation(folder: Path, title: str, content: Mapping[str, Any], plots: Mapping[str, Path]) -> tuple[Path, Path]:
    """Writes ``evaluation.json`` (everything) and ``evaluation.html`` (for people, pictures inside).

    Args:
        content: Section's title -> either name -> figures as ``Figures.as_dict`` gives them, or any JSON value.
        plots: Caption -> PNG.

    Returns:
        Page and data.
    """
    data = folder / "evaluation.json"
    data.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        "<p class=small>In brackets: 95 % bootstrap intervals, people drawn whole. Fake is the positive class.</p>",
    ]
    for section, value in content.items():
        if section != "rows":
            parts += [f"<h2>{html.escape(section)}</h2>", _section(value)]
    for caption, path in plots.items():
        encoded = base64.b64encode(path.read_bytes()).decode()
        parts.append(f"<h2>{html.escape(caption)}</h2><img alt='{html.escape(caption)}' src='data:image/png;base64,{encoded}'>")
    page = folder / "evaluation.html"
    page.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>{''.join(parts)}</html>\n",
        encoding="utf-8",
    )
    return page, data


def _section(value: Any) -> str:
    if isinstance(value, Mapping) and value and all(_is_figures(entry) for entry in value.values()):
        rows = "".join(f"<tr><td>{html.escape(name)}</td>{_cells(figures)}</tr>" for name, figures in value.items())
        return f"<table><tr><th></th>{''.join(f'<th>{head}</th>' for head in _HEADS)}</tr>{rows}</table>"
    if isinstance(value, Mapping) and value and all(isinstance(entry, Mapping) for entry in value.values()):
        names = list(dict.fromkeys(name for entry in value.values() for name in entry))
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td>{''.join(f'<td>{_text(entry.get(column))}</td>' for column in names)}</tr>"
            for name, entry in value.items()
        )
        return f"<table><tr><th></th>{''.join(f'<th>{html.escape(str(name))}</th>' for name in names)}</tr>{rows}</table>"
    if isinstance(value, Mapping):
        rows = "".join(f"<tr><td>{html.escape(str(name))}</td><td>{_text(entry)}</td></tr>" for name, entry in value.items())
        return f"<table>{rows}</table>" if value else "<p>none</p>"
    return f"<p>{_text(value)}</p>"


def _is_figures(entry: Any) -> bool:
    return isinstance(entry, Mapping) and {"auc", "brier", "confusion"} <= set(entry)


def _cells(figures: Mapping[str, Any]) -> str:
    cells = [str(figures[name]) for name in ("count", "real", "fake")]
    for name in _COLUMNS:
        value = figures[name]
        bounds = "" if value is None else f" <span class=small>[{_text(value['low'])}, {_text(value['high'])}]</span>"
        cells.append("n/a" if value is None else f"{value['value']:.3f}{bounds}")
    (tn, fp), (fn, tp) = figures["confusion"]
    cells.append(f"real {tn}/{fp}, fake {fn}/{tp}")
    return "".join(f"<td>{cell}</td>" for cell in cells)


def _text(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Mapping):
        return html.escape(", ".join(f"{name}: {_text(entry)}" for name, entry in value.items()))
    return html.escape(str(value))
