"""The embedded Triton: launcher and the Python-based backends.

``EmbeddedTriton`` starts the server of the nvidia-pytriton wheel on this project's model repository:

    with EmbeddedTriton(ServingSettings(grpc_port=0, http_port=0, metrics_port=0)) as server:
        ...  # server.grpc_url, server.http_url
"""

from typing import TYPE_CHECKING, Any

from serving.errors import ServingError

if TYPE_CHECKING:
    from serving.launcher import EmbeddedTriton
    from serving.settings import ServingSettings

__all__ = ["EmbeddedTriton", "ServingError", "ServingSettings"]

# The backends import `serving.*` inside Triton's workers, which need neither pydantic nor psutil.
_HOMES = {"EmbeddedTriton": "serving.launcher", "ServingSettings": "serving.settings"}


def __getattr__(name: str) -> Any:
    """Imports a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'serving' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
