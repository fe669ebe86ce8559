"""A server to measure: one that is started for the run, or one that runs already."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.errors import BenchmarkError, ServerDied

if TYPE_CHECKING:
    from serving import EmbeddedTriton

_CONNECT_S = 2.0


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
        """False when nobody listens at the server's address any more."""
        return listens(self.grpc_url or str(self.http_url))


def listens(address: str) -> bool:
    """Whether somebody takes connections at ``HOST:PORT`` or ``http://HOST:PORT/...``."""
    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False


LOST = ("unreachable", "connection_lost")
"""Codes of the client's errors that mean that nobody is there any more."""


@contextmanager
def watching(target: Target) -> Iterator[None]:
    """Turns whatever a dead server makes the block raise into ``ServerDied``; everything else goes through."""
    try:
        yield
    except BenchmarkError:
        raise
    except Exception as error:
        if getattr(error, "code", None) in LOST or not target.alive():
            raise ServerDied(f"the server ended in mid-run ({error})") from error
        raise


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
