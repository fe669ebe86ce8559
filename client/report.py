"""One self-contained HTML file that can be handed to an editor: nothing in it is fetched from anywhere."""

import base64
import os
import secrets
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from client import timeline, wording
from client.results import Result
from client.settings import ClientSettings
from client.verdict import TrackVerdict, Verdict
from preprocess import Extraction

_JPEG_QUALITY = 85
_STAGES = {
    "start": "Starting the face detector",
    "open": "Opening the file",
    "decode": "Reading the video",
    "convert": "Converting pictures",
    "detect": "Finding faces",
    "track": "Following people",
    "crop": "Cutting out faces",
    "picture": "Keeping pictures of the frames",
    "hand_over": "Handing over",
    "hash": "Checksum of the file",
    "request": "Asking the detector",
    "server_queue": "of which waiting in the server",
    "server_compute": "of which computing in the server",
    "total": "In all",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crop:
    uri: str
    time: str
    score: str
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One file as the template reads it."""

    result: Result
    crops: dict[int, list[_Crop]]
    crops_left_out: bool


class Report:
    """Gathers results as they come; each file's crops are reduced to a bounded number of JPEGs at once."""

    def __init__(self, settings: ClientSettings | None = None) -> None:
        self._settings = settings or ClientSettings()
        self._entries: list[_Entry] = []
        self._crops_left = self._settings.report_crops

    def add(self, result: Result, extraction: Extraction | None = None) -> None:
        """Takes a file in; ``extraction`` gives the faces to show."""
        crops: dict[int, list[_Crop]] = {}
        left_out = False
        if result.verdict is not None and extraction is not None:
            for clip in extraction.clips:
                track = next(item for item in result.verdict.tracks if item.track_id == clip.track_id)
                limit = min(self._settings.report_crops_per_track, self._crops_left)
                left_out = left_out or limit < min(self._settings.report_crops_per_track, len(clip))
                crops[clip.track_id] = _crops(clip.frames, clip.timestamps_s, track, result.verdict, limit)
                self._crops_left -= len(crops[clip.track_id])
        self._entries.append(_Entry(result=result, crops=crops, crops_left_out=left_out))

    def render(self) -> str:
        """The whole page."""
        counts = Counter(entry.result.label for entry in self._entries)
        return _template().render(entries=self._entries, counts=counts)

    def write(self, path: Path) -> None:
        """Writes the page; a reader sees the old file or the new one, never half of it.

        Raises:
            OSError: The folder does not exist or cannot be written to.
        """
        write_atomically(path, self.render())


def write_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text beside ``path`` and then puts it in its place; nothing is left behind on failure."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _crops(
    frames: NDArray[np.uint8], timestamps_s: NDArray[np.float64], track: TrackVerdict, verdict: Verdict, limit: int
) -> list[_Crop]:
    """Spread over the clip, and with them the frame of the highest score."""
    if limit < 1:
        return []
    positions = set(np.linspace(0, len(frames) - 1, min(limit, len(frames))).round().astype(int).tolist())
    if track.frames:
        worst = max(range(len(track.frames)), key=lambda position: track.frames[position].score)
        if worst not in positions:
            positions.discard(min(positions, key=lambda position: abs(position - worst)))
            positions.add(worst)
    return [
        _Crop(
            uri=_data_uri(frames[position]),
            time=_clock(float(timestamps_s[position])),
            score=wording.number(track.frames[position].score) if track.frames else "",
            zone=timeline.zone(track.frames[position].score, verdict) if track.frames else "none",
        )
        for position in sorted(positions)
    ]


def _data_uri(crop: NDArray[np.uint8]) -> str:
    import cv2

    encoded, jpeg = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise ValueError(f"a crop of shape {crop.shape} could not be encoded as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")


def _clock(seconds: float) -> str:
    """``m:ss.s`` or ``h:mm:ss.s``, cut to a tenth."""
    tenths = int(max(0.0, seconds) * 10 + 1e-6)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"


def _file_name(path: str) -> str:
    # By the rules of the machine that read the file: on Linux a backslash is a letter like any other.
    return PurePath(path).name or path


def _size(count_bytes: int) -> str:
    size = float(count_bytes)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _dropped_counts(verdict: Verdict) -> list[tuple[str, int]]:
    return [(wording.dropped(code), count) for code, count in Counter(item.reason for item in verdict.dropped).most_common()]


def _stages(verdict: Verdict) -> list[tuple[str, float, bool]]:
    """Name, seconds, and whether it is part of the stage before it; known stages first, in their order."""
    order = [name for name in _STAGES if name in verdict.stage_s and name != "total"]
    order += [name for name in verdict.stage_s if name not in _STAGES]
    order += ["total"] if "total" in verdict.stage_s else []
    return [
        (_STAGES.get(name, name.replace("_", " ").capitalize()), verdict.stage_s[name], name.startswith("server_"))
        for name in order
    ]


def template_filters() -> dict[str, Any]:
    """What the templates call verdicts' facts by; the console's pages say the same with the same words."""
    return {
        "clock": _clock,
        "dropped_counts": _dropped_counts,
        "explanation": wording.explanation,
        "file_name": _file_name,
        "headline": wording.headline,
        "limits": wording.limits,
        "number": wording.number,
        "printable": wording.printable,
        "reason": wording.reason,
        "semantics": wording.semantics,
        "size": _size,
        "span": timeline.span_of,
        "stages": _stages,
        "timeline": timeline.draw,
        "zone": timeline.zone,
    }


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(template_filters())
    environment.globals["field_caveat"] = wording.field_caveat()
    return environment.get_template("report.html.j2")
