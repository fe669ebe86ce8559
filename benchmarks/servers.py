"""A server to measure: one that is started for the run, or one that runs already."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving import EmbeddedTriton


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send requests, and what is known of the server behind."""

    grpc_url: str | None
    http_url: str | None
    profile: str
    embedded: "EmbeddedTriton | None" = None

    @property
    def url(self) -> str:
        """The address that the client prefers."""
        return f"grpc://{self.grpc_url}" if self.grpc_url else str(self.http_url)

    def pids(self) -> list[int]:
        """The server's processes; none where it was not started here."""
        return self.embedded.pids() if self.embedded else []

    def alive(self) -> bool:
        """False when a server that was started here has ended."""
        return self.embedded is None or self.embedded.alive()


@contextmanager
def serve(repository: Path, profile: str, **settings: Any) -> Iterator[Target]:
    """Starts the embedded Triton on free ports, for the block.

    Raises:
        serving.errors.ServingError: It does not start.
    """
    from serving import EmbeddedTriton, ServingSettings

    options = {"model_repository": repository, "profile": profile, "grpc_port": 0, "http_port": 0, "metrics_port": 0}
    with EmbeddedTriton(ServingSettings.model_validate(options | settings)) as server:
        yield Target(server.grpc_url, server.http_url, str(server.profile), server)
