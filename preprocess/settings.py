"""Limits and choices of preprocessing; each is settable by ``UNMASK_PREPROCESS_<NAME>``."""

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from common.settings import AreaSettings


class PreprocessSettings(AreaSettings):
    """What one file may cost, and which faces count.

    Raises:
        common.errors.InvalidSettings: An unknown name or a value outside its range.
    """

    model_config = SettingsConfigDict(env_prefix="UNMASK_PREPROCESS_")

    isolation: Literal["process", "none"] = "process"
    """``process``: a child process with rlimits reads the file. ``none``: this process does, for trusted files only."""

    max_file_bytes: int = Field(default=8 * 2**30, gt=0)
    """Largest file in bytes."""
    max_frame_pixels: int = Field(default=8192 * 4608, gt=0)
    """Most pixels (width x height) a frame may have; the default is 8K."""
    max_duration_s: float = Field(default=4 * 3600.0, gt=0)
    """Longest video in seconds by its timestamps."""
    max_file_frames: int = Field(default=2_000_000, gt=0)
    """Most frames a file may hold; their timestamps are kept in memory (about 40 bytes each)."""
    max_decoded_frames: int = Field(default=500_000, gt=0)
    """Most frames that are decoded for one file, those that are skipped over included."""
    max_wall_s: float = Field(default=120.0, gt=0)
    """Longest time for one file in seconds."""
    max_memory_bytes: int = Field(default=6 * 2**30, ge=2**30)
    """Address space of the decoding process in bytes (RLIMIT_AS): several times what is resident."""

    files_per_worker: int = Field(default=500, ge=1)
    """Files after which a decoding process is replaced by a fresh one: detectors and decoders grow a little with each."""
    decoder_threads: int = Field(default=0, ge=0, le=64)
    """Threads of the video decoder; 0: the processors that this process may use, shared out among the
    workers, at most 8 each."""
    queued_frames: int = Field(default=4, ge=1, le=64)
    """Decoded frames that may wait for the face detector; bounds memory."""

    min_confidence: float = Field(default=0.5, gt=0, lt=1)
    """Faces that the detector scores lower are not seen."""
    min_face_px: float = Field(default=24.0, ge=0)
    """Longer side of a face's box in source pixels; smaller faces are dropped as ``face_too_small``."""
    min_sharpness: float = Field(default=4.0, ge=0)
    """Lowest ``sharpness`` of a crop (see ``preprocess.quality``); lower ones are dropped as ``face_too_blurry``."""
    min_exposure: float = Field(default=8.0, ge=0, le=255)
    """Lowest mean grey level of a crop; lower ones are dropped as ``face_too_dark``."""
    min_track_confidence: float = Field(default=0.65, ge=0, lt=1)
    """A track whose median detector score is lower gives no clip (``not_a_face``): bottle tops, backs of heads, shirts."""
    min_track_share: float = Field(default=0.08, ge=0, le=1)
    """A track seen in a smaller share of the sampled frames than this gives no clip (``short_track``)."""
    min_track_frames: int = Field(default=2, ge=1)
    """Nor does one with fewer frames than this, unless fewer were sampled."""
    max_tracks: int = Field(default=8, ge=1)
    """Most clips of one file: the longest and largest tracks are kept, the rest is ``track_limit``."""
    max_faces_per_frame: int = Field(default=32, ge=1)
    """Most faces followed in one frame, largest first."""
