"""Settings of the console, each readable from the environment as ``UNMASK_CONSOLE_<NAME>``."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from common.settings import AreaSettings

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def default_data_dir() -> Path:
    """``$XDG_DATA_HOME/unmask``, or ``~/.local/share/unmask``."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "unmask"


def default_workers() -> int:
    """One worker for two processors, at most 8."""
    return max(1, min(8, len(os.sched_getaffinity(0)) // 2))


class ConsoleSettings(AreaSettings):
    """Limits and choices. Unknown settings are rejected."""

    model_config = SettingsConfigDict(env_prefix="UNMASK_CONSOLE_")

    # Where
    host: str = "127.0.0.1"
    """Address to listen on. On anything but loopback every request needs an API key."""
    port: int = Field(default=8080, ge=0, le=65535)
    """0 takes a free one."""
    data_dir: Path = Field(default_factory=default_data_dir)
    """Uploads, results and the embedded database; workers on several machines must share it."""
    database_url: str | None = None
    """SQLAlchemy URL, such as ``postgresql+psycopg://user@host/unmask``; None: SQLite in ``data_dir``."""
    triton_url: str = "localhost:8001"
    """As for ``client.Detector``."""
    detector: str = "deepfake_detector"
    """The one that is asked where a request names none."""

    # Uploads
    max_upload_bytes: int = Field(default=2 * 2**30, gt=0)
    """Largest file."""
    max_batch_files: int = Field(default=50, ge=1, le=1000)
    """Most files of one request."""
    max_batch_bytes: int = Field(default=8 * 2**30, gt=0)
    """Most bytes of one request, all files and fields together."""
    max_fields: int = Field(default=32, ge=8)
    """Most fields of one request, files included."""
    max_field_bytes: int = Field(default=4096, ge=256)
    """Largest field that is not a file."""
    max_body_bytes: int = Field(default=64 * 1024, ge=4096)
    """Largest body of any request that is no upload."""
    header_timeout_s: Seconds = 10.0
    """Within which a request's head must have arrived."""
    upload_idle_s: Seconds = 20.0
    """Longest silence in the middle of an upload."""
    upload_total_s: Seconds = 3600.0
    """Longest time for one upload."""
    min_free_disk_bytes: int = Field(default=2**30, ge=0)
    """No upload is accepted while less is free in ``data_dir``."""

    # Queue
    workers: int = Field(default_factory=default_workers, ge=0, le=256)
    """Worker processes on this machine; 0: they run elsewhere."""
    max_queued: int = Field(default=1000, ge=1)
    """Analyses that may wait; more are refused with 429."""
    lease_s: Seconds = 15.0
    """A worker that has not been heard of for so long has lost its analysis, which then runs again."""
    max_attempts: int = Field(default=2, ge=1)
    """Times that an analysis is begun; an interrupted one is run again once."""
    server_wait_s: float = Field(default=300.0, ge=0, allow_inf_nan=False)
    """How long an analysis waits for a Triton that cannot be reached before it fails."""
    poll_s: Seconds = 0.5
    """How often an idle worker looks for work, and a waiting request for news, that nobody on this machine told it of: what was accepted
    or ended on another machine, or is due again."""
    drain_s: Seconds = 30.0
    """How long a worker may take to finish its analysis after a stop was asked for."""

    # Results
    result_ttl_s: Seconds = 30 * 86400.0
    """Results are deleted so long after they were made."""
    idempotency_ttl_s: Seconds = 86400.0
    """An Idempotency-Key is remembered for so long."""
    picture_px: int = Field(default=640, ge=64, le=4096)
    """Longer side of the pictures of sampled frames that are kept with a result."""
    max_wait_s: Seconds = 60.0
    """Most that ``?wait=`` may ask for."""
    max_event_streams: int = Field(default=500, ge=1)
    """Requests that may wait for news at a time."""

    # Who
    auth: Literal["auto", "always"] = "auto"
    """``auto``: no key is needed by a client on loopback while the console listens on loopback alone."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which the console may be addressed, beside loopback and ``host``; any other Host header is refused, which
    keeps foreign pages from reaching it by DNS rebinding."""
    session_ttl_s: Seconds = 12 * 3600.0
    """How long a browser stays signed in."""
    secure_cookies: bool = False
    """Send the session cookie over TLS only; set it behind a TLS proxy."""
    rate_limit: str = "1200/minute"
    """Requests a key (or, without keys, an address) may make, in the notation of the ``limits`` package."""

    # Webhooks
    webhook_secret: str | None = None
    """Signs deliveries; None: one is made in ``data_dir`` on first use."""
    webhook_attempts: int = Field(default=8, ge=1, le=20)
    """Deliveries are tried so often, after 1, 4, 16, ... seconds, at most an hour apart."""
    webhook_timeout_s: Seconds = 10.0
    webhook_allow_private: bool = False
    """Whether webhooks may go to loopback, link-local and private addresses."""

    @field_validator("rate_limit")
    @classmethod
    def _readable(cls, value: str) -> str:
        from limits import parse_many

        parse_many(value)
        return value

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.data_dir / 'console.sqlite3'}"

    @property
    def uploads_dir(self) -> Path:
        """Files that wait or are being worked on, named by the analysis."""
        return self.data_dir / "uploads"

    @property
    def results_dir(self) -> Path:
        """One folder an analysis."""
        return self.data_dir / "results"

    @property
    def bells_dir(self) -> Path:
        """Where processes of one machine wake each other."""
        return self.data_dir / "bells"

    def make_dirs(self) -> None:
        """Makes the folders, readable by this user alone."""
        for folder in (self.data_dir, self.uploads_dir, self.results_dir, self.bells_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
