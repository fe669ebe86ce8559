"""Settings of the embedded Triton, each readable from the environment as ``UNMASK_SERVING_<NAME>``."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from common.places import default_repository
from common.settings import AreaSettings

ProfileChoice = Literal["auto", "cpu", "gpu", "reference"]
Port = Annotated[int, Field(ge=0, le=65535)]


class ServingSettings(AreaSettings):
    """How to start the server. Unknown settings are rejected."""

    model_config = SettingsConfigDict(env_prefix="UNMASK_SERVING_")

    model_repository: Path = Field(default_factory=default_repository)
    """Folder with one folder a model."""
    profile: ProfileChoice = "auto"
    """Which configuration of each model is live; ``auto`` takes the fastest one that works here."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback makes the server reachable for others, and it has no authentication."""
    grpc_port: Port = 8001
    """0 takes a free port."""
    http_port: Port = 8000
    """0 takes a free port."""
    metrics_port: Port = 8002
    """0 takes a free port."""
    micro_batch_frames: int = Field(default=16, ge=1, le=256)
    """Most frames that the encoder computes at a time: larger batches fall out of the processor's caches."""
    streams: int = Field(default=0, ge=0, le=1024)
    """Micro-batches computed side by side; 0 leaves it to the model's configuration (OpenVINO's THROUGHPUT hint)."""
    threads: int = Field(default=0, ge=0, le=4096)
    """Processor threads of the encoder; 0 takes all cores."""
    explainer: bool = True
    """Whether explainers (heat maps) are loaded, too: they start two more processes and take about 0.4 GB."""
    start_timeout_s: float = Field(default=180.0, gt=0)
    """Longest wait for every model to be ready."""
    drain_timeout_s: float = Field(default=30.0, ge=0)
    """How long requests in flight may take after a stop was asked for; 0 cuts them off."""
    admin_key: str = Field(default="", pattern=r"^[A-Za-z0-9_-]*$")
    """Opens Triton's model-repository API (list, load, unload), which can run code: whoever loads a model chooses its files. Empty makes a
    new one that nobody else knows; `unmask export --url` needs one that it is told, in the environment."""
    verbose: int = Field(default=0, ge=0, le=3)
    """Triton's own verbosity."""
