"""Templates and what they are given."""

import json
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import jinja2
import numpy as np
from starlette.requests import Request
from starlette.responses import HTMLResponse

from client import Verdict, timeline, wording
from client.report import template_filters
from console import heat_picture
from console.documents import Problem
from console.identity import COOKIE
from console.pages.advice import advice
from unmask import __version__

STAGES = (("decode", "Read"), ("faces", "Faces"), ("network", "Detector"), ("verdict", "Verdict"))
Item = TypeVar("Item")


def page(
    request: Request, template: str, *, status: int = 200, headers: dict[str, str] | None = None, **facts: Any
) -> HTMLResponse:
    """A page."""
    text = (
        _environment()
        .get_template(template)
        .render(path=request.url.path, version=__version__, signed_in=COOKIE in request.cookies, **facts)
    )
    return HTMLResponse(text, status_code=status, headers=headers)


def error_page(request: Request, problem: Problem, headers: dict[str, str] | None = None) -> HTMLResponse:
    """The page of an error."""
    return page(request, "error.html.j2", status=problem.status, headers=headers, problem=problem, advice=advice(problem.code))


def player_data(verdict: Verdict) -> dict[str, Any]:
    """What the result page's script needs: when each sampled frame is, and where faces are in it."""
    times: dict[int, float] = {drop.frame_index: drop.timestamp_s for drop in verdict.dropped}
    tracks = []
    for track in verdict.tracks:
        frames = []
        for item in track.frames:
            times[item.frame_index] = item.timestamp_s
            zone = timeline.zone(item.score, verdict)
            frames.append(
                {
                    "i": item.frame_index,
                    "t": round(item.timestamp_s, 3),
                    "b": item.box_px,
                    "s": wording.number(item.score),
                    "z": zone,
                }
            )
        tracks.append({"id": track.track_id, "frames": frames})
    return {
        "kind": verdict.source.kind,
        "width": verdict.source.width_px,
        "height": verdict.source.height_px,
        "margin": verdict.preprocessing.crop_margin,
        "ramp": heat_ramp(),
        "frames": [{"i": index, "t": round(times[index], 3)} for index in sorted(times)],
        "tracks": tracks,
    }


@cache
def heat_ramp() -> list[list[int]]:
    """Some of the heat maps' colours, for the script that draws them over the video: red, green, blue, opacity, each 0 to 255."""
    steps = [round(share / 16 * (heat_picture.STEPS - 1)) for share in range(17)]
    return [[*heat_picture.ramp()[step], round(255 * heat_picture.opacity(step / (heat_picture.STEPS - 1)))] for step in steps]


@cache
def heat_stops() -> list[tuple[str, str, str]]:
    """The heat maps' colours for the legend: offset, colour, opacity."""
    stops = []
    for number in range(9):
        share = number / 8
        red, green, blue = heat_picture.ramp()[round(share * (heat_picture.STEPS - 1))]
        stops.append((f"{share:.3f}", f"#{red:02x}{green:02x}{blue:02x}", f"{heat_picture.opacity(share):.2f}"))
    return stops


def first_frame(verdict: Verdict, folder: Path) -> int | None:
    """The picture to show first: where the deciding person's score is highest, else the first there is."""
    deciding = [track for track in verdict.tracks if track.track_id == verdict.deciding_track]
    if deciding and deciding[0].frames:
        best = max(deciding[0].frames, key=lambda item: item.score)
        if (folder / f"{best.frame_index}.jpg").is_file():
            return best.frame_index
    numbers = sorted(int(path.stem) for path in folder.glob("*.jpg")) if folder.is_dir() else []
    return numbers[0] if numbers else None


def verdict_of(text: str) -> Verdict:
    """A stored verdict."""
    return Verdict.from_dict(json.loads(text))


def _spread(items: tuple[Item, ...], count: int) -> list[Item]:
    """At most so many of them, evenly."""
    if len(items) <= count:
        return list(items)
    return [items[int(position)] for position in np.linspace(0, len(items) - 1, count).round()]


def _date(seconds: float | None) -> str:
    """UTC, short; the script shows it in the reader's own time zone."""
    if seconds is None:
        return ""
    moment = datetime.fromtimestamp(seconds, UTC)
    form = "%d %b, %H:%M UTC" if abs(seconds - time.time()) < 300 * 86400 else "%d %b %Y"
    return moment.strftime(form).lstrip("0")


def _iso(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds is not None else ""


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent.parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(template_filters())
    environment.filters.update(date=_date, iso=_iso, spread=_spread)
    environment.globals["field_caveat"] = wording.field_caveat()
    return environment
