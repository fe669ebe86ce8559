"""The client's limits and defaults, each of which ``UNMASK_CLIENT_<NAME>`` in the environment overrides."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from common.settings import AreaSettings


class ClientSettings(AreaSettings):
    """Named limits; values outside their range are refused when the settings are read."""

    model_config = SettingsConfigDict(env_prefix="UNMASK_CLIENT_")

    deadline_s: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    """Seconds that one request to the server may take in all, connecting included."""
    connect_timeout_s: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Seconds within which a connection must stand, at most ``deadline_s``."""
    max_response_bytes: int = Field(default=64 * 2**20, ge=2**16)
    """Largest answer that is read; a hostile server cannot fill the memory."""
    metadata_max_age_s: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    """The model's facts are read again after this time: a server may be replaced between two requests unnoticed."""
    frames: int = Field(default=32, ge=1, le=4096)
    """Frames sampled from a video where the caller names no number and the model was not trained for certain numbers."""
    min_frames: int = Field(default=4, ge=1)
    """A track of a video with fewer face crops is not evaluated (``too_few_frames``). Images are exempt."""
    report_crops_per_track: int = Field(default=16, ge=0, le=256)
    """Face crops that the HTML report shows of each person."""
    report_crops: int = Field(default=1500, ge=0)
    """Face crops in one HTML report, all files together: about 4 kB each."""
