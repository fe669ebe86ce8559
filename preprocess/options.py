"""What a caller asks of one file, checked once."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from preprocess.errors import OptionError

Sampling = Literal["uniform", "first", "interval", "window"]
"""``uniform``: spread evenly over the span, each at the middle of its share. ``first``: the first ones, as the reference
projects do. ``interval``: one every ``interval_s`` seconds, at most ``frames``. ``window``: runs of ``window_frames``
consecutive frames spread evenly over the span, ``frames`` in all."""

ShortClip = Literal["shorten", "repeat_last", "error"]
"""When the span has fewer frames than asked for: give fewer, repeat the last one, or raise ``ClipTooShortError``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionOptions:
    """Options of one extraction. Image size and margin belong to the model and come from its metadata.

    Raises:
        OptionError: A value is outside its range; the message lists what is legal.
    """

    image_size_px: int
    """Height and width of a crop."""
    crop_margin: float
    """Side of the crop's square in the source, in multiples of the face box's longer side."""
    frames: int = 60
    """Frames that are looked at (T)."""
    sampling: Sampling = "uniform"
    short_clip: ShortClip = "shorten"
    interval_s: float = 1.0
    """Used by ``sampling="interval"``."""
    window_frames: int = 16
    """Used by ``sampling="window"``."""
    start_s: float | None = None
    """Start of the span, inclusive; None: the file's start."""
    end_s: float | None = None
    """End of the span, exclusive; None: the file's end."""
    picture_px: int | None = None
    """Keep a JPEG of each sampled frame for people, its longer side at most this; None: keep none."""
    align: bool = False
    """Turn each crop so that the eyes are level and stand at fixed points."""

    def __post_init__(self) -> None:
        def require(condition: bool, name: str, legal: str) -> None:
            if not condition:
                raise OptionError(f"{name} is {getattr(self, name)!r}; it must be {legal}")

        require(16 <= self.image_size_px <= 1024, "image_size_px", "from 16 to 1024")
        require(1.0 <= self.crop_margin <= 4.0, "crop_margin", "from 1 to 4")
        require(1 <= self.frames <= 10_000, "frames", "from 1 to 10000")
        require(self.sampling in get_args(Sampling), "sampling", "one of " + ", ".join(get_args(Sampling)))
        require(self.short_clip in get_args(ShortClip), "short_clip", "one of " + ", ".join(get_args(ShortClip)))
        require(math.isfinite(self.interval_s) and self.interval_s > 0, "interval_s", "a number of seconds above 0")
        require(1 <= self.window_frames <= 10_000, "window_frames", "from 1 to 10000")
        require(self.picture_px is None or 64 <= self.picture_px <= 4096, "picture_px", "from 64 to 4096, or None")
        require(self.start_s is None or (math.isfinite(self.start_s) and self.start_s >= 0), "start_s", "0 or more seconds")
        after = self.start_s or 0.0
        require(self.end_s is None or (math.isfinite(self.end_s) and self.end_s > after), "end_s", f"after start_s ({after:g})")
