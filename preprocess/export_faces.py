"""What ``unmask faces`` leaves in a folder: crops, contact sheet and JSON of one extraction."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from preprocess.assembly import REASONS
from preprocess.clip import Extraction
from preprocess.contact_sheet import contact_sheet


def describe(extraction: Extraction) -> dict[str, Any]:
    """Everything but the pixels, as JSON values; units are in the names."""
    return {
        "source": asdict(extraction.source),
        "sampled": {
            "frame_indices": extraction.sampled_frame_indices.tolist(),
            "timestamps_s": _rounded(extraction.sampled_timestamps_s.tolist(), 6),
        },
        "clips": [
            {
                "track_id": clip.track_id,
                "frame_indices": clip.frame_indices.tolist(),
                "timestamps_s": _rounded(clip.timestamps_s.tolist(), 6),
                "boxes_px": [_rounded(box, 2) for box in clip.boxes_px.tolist()],
                "detector_scores": _rounded(clip.detector_scores.tolist(), 4),
                "quality": {name: _rounded(values.tolist(), 3) for name, values in clip.quality.items()},
            }
            for clip in extraction.clips
        ],
        "dropped": [{**asdict(drop), "meaning": REASONS.get(drop.reason, drop.reason)} for drop in extraction.dropped],
        "notes": list(extraction.notes),
        "stage_s": {name: round(value, 6) for name, value in extraction.stage_s.items()},
    }


def _rounded(values: list[float], digits: int) -> list[float]:
    return [round(value, digits) for value in values]


def write_faces(extraction: Extraction, folder: Path) -> dict[str, Any]:
    """Writes ``track_N/FRAME.png``, ``contact_sheet.png`` and ``faces.json``; returns what the JSON says.

    What an earlier run left there is removed first. The JSON is written last and renamed into its place: where it is, the
    rest is complete.

    Raises:
        OSError: The folder cannot be written.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    report = describe(extraction)
    for clip, entry in zip(extraction.clips, report["clips"], strict=True):
        track = folder / f"track_{clip.track_id}"
        track.mkdir(exist_ok=True)
        entry["crops"] = []
        for position, (index, frame) in enumerate(zip(clip.frame_indices.tolist(), clip.frames, strict=True)):
            repeated = position > 0 and index == clip.frame_indices[position - 1]
            name = f"{track.name}/{index:06d}.png"
            if not repeated:
                Image.fromarray(frame).save(folder / name)
            entry["crops"].append(name)
    contact_sheet(extraction).save(folder / "contact_sheet.png")
    report["contact_sheet"] = "contact_sheet.png"
    handle, partial = tempfile.mkstemp(dir=folder, prefix=".faces.", suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(report, stream, indent=1)
        Path(partial).chmod(0o644)
        Path(partial).replace(folder / "faces.json")
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return report


def _clear(folder: Path) -> None:
    (folder / "faces.json").unlink(missing_ok=True)
    for crop in folder.glob("track_*/*.png"):
        if crop.stem.isdecimal() and len(crop.stem) >= 6:
            crop.unlink()
    for track in folder.glob("track_*"):
        if track.is_dir() and not any(track.iterdir()):
            track.rmdir()
