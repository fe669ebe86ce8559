"""One picture of everything that was cut from a file, for people who want to see what the detector sees."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.assembly import REASONS
from preprocess.clip import Clip, Extraction

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

THUMB_PX = 112
COLUMNS = 12
_GAP_PX = 6
_CAPTION_PX = 32
_TITLE_PX = 34
_MARGIN_PX = 18
_PAPER, _INK, _FAINT, _RULE = (255, 255, 255), (28, 30, 34), (106, 112, 120), (208, 212, 218)


def contact_sheet(extraction: Extraction) -> "Image":
    """Title, then a band of captioned crops for each track, then what was not used and why; an RGB Pillow image."""
    from PIL import Image, ImageDraw, ImageFont

    text, small, bold = (ImageFont.load_default(size) for size in (14, 11, 18))
    footer = _footer(extraction)
    width = 2 * _MARGIN_PX + COLUMNS * (THUMB_PX + _GAP_PX) - _GAP_PX
    line_px = 20
    wrapped = [piece for line in footer for piece in _wrap(line, text, width - 2 * _MARGIN_PX)]
    heights = [_TITLE_PX + _rows(clip) * (THUMB_PX + _CAPTION_PX + _GAP_PX) for clip in extraction.clips]
    head_px = 64
    height = 2 * _MARGIN_PX + head_px + sum(heights) + len(wrapped) * line_px
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN_PX, _MARGIN_PX), _title(Path(extraction.source.path).name, bold, width - 2 * _MARGIN_PX), _INK, bold)
    draw.text((_MARGIN_PX, _MARGIN_PX + 28), _facts(extraction), _FAINT, text)
    top = _MARGIN_PX + head_px
    for clip, band_px in zip(extraction.clips, heights, strict=True):
        draw.line((_MARGIN_PX, top, width - _MARGIN_PX, top), _RULE)
        draw.text((_MARGIN_PX, top + 9), _headline(clip, len(extraction.sampled_frame_indices)), _INK, text)
        for position in range(len(clip)):
            row, column = divmod(position, COLUMNS)
            x = _MARGIN_PX + column * (THUMB_PX + _GAP_PX)
            y = top + _TITLE_PX + row * (THUMB_PX + _CAPTION_PX + _GAP_PX)
            thumb = Image.fromarray(clip.frames[position]).resize((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
            sheet.paste(thumb, (x, y))
            score = float(clip.detector_scores[position])
            draw.text(
                (x, y + THUMB_PX + 3), f"{clip.timestamps_s[position]:.2f} s  #{clip.frame_indices[position]}", _INK, small
            )
            face_px = float(clip.quality["face_px"][position]) if "face_px" in clip.quality else 0.0
            draw.text((x, y + THUMB_PX + 16), f"{face_px:.0f} px  score {score:.2f}", _FAINT, small)
        top += band_px
    draw.line((_MARGIN_PX, top, width - _MARGIN_PX, top), _RULE)
    for number, piece in enumerate(wrapped):
        draw.text((_MARGIN_PX, top + 8 + number * line_px), piece, _FAINT, text)
    return sheet


def _title(name: str, font: "FreeTypeFont | ImageFont", width_px: int) -> str:
    """A file's name in one line: any character but a zero and a slash may be in it, and it may have 255 of them."""
    name = "".join(character if character.isprintable() else "?" for character in name)
    kept = len(name)
    while (
        font.getlength(shown := name if kept == len(name) else f"{name[: kept - 12]}...{name[-12:]}") > width_px and kept > 24
    ):
        kept -= 1
    return shown


def _rows(clip: Clip) -> int:
    return -(-len(clip) // COLUMNS)


def _facts(extraction: Extraction) -> str:
    source = extraction.source
    facts = [f"{source.container} / {source.codec}", f"{source.width_px} x {source.height_px} px"]
    if source.kind == "video":
        facts += [f"{source.duration_s or 0:.2f} s", f"{source.fps or 0:.4g} frames/s", f"{source.frame_count} frames"]
    if source.rotation_deg:
        facts.append(f"turned by {source.rotation_deg} degrees")
    facts.append(f"{len(extraction.sampled_frame_indices)} looked at")
    return "   ".join(facts)


def _headline(clip: Clip, sampled: int) -> str:
    first_s, last_s = float(clip.timestamps_s[0]), float(clip.timestamps_s[-1])
    return f"Face {clip.track_id + 1}: {len(clip)} of {sampled} frames, {first_s:.2f} s to {last_s:.2f} s"


def _footer(extraction: Extraction) -> list[str]:
    counts = Counter(drop.reason for drop in extraction.dropped)
    lines = [f"{count} frames not used: {REASONS.get(reason, reason)}" for reason, count in counts.most_common()]
    if not extraction.clips:
        lines.insert(0, "No usable face was found.")
    return [*lines, *extraction.notes]


def _wrap(line: str, font: "FreeTypeFont | ImageFont", width_px: int) -> list[str]:
    lines, current = [], ""
    for word in line.split():
        longer = f"{current} {word}".strip()
        if font.getlength(longer) > width_px and current:
            lines.append(current)
            current = word
        else:
            current = longer
    return [*lines, current] if current else lines
