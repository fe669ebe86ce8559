"""Servers and frames that the client's tests share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from client import Detector
from serving import EmbeddedTriton
from tests.client.misbehaving import write_repository
from tests.conftest import free_port_settings

PATIENCE_S = 240.0


def url_of(server: EmbeddedTriton, protocol: str) -> str:
    """The server's address by protocol."""
    return server.grpc_url if protocol == "grpc" else server.http_url


@pytest.fixture(scope="session", params=["grpc", "http"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Each transport in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def detector(triton: EmbeddedTriton, protocol: str) -> Iterator[Detector]:
    """The default detector on the real server."""
    # A loaded machine may need minutes for 256 frames in fp32; what is tested is not its speed.
    with Detector(url_of(triton, protocol), deadline_s=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="session")
def frames() -> NDArray[np.uint8]:
    """Seeded noise, (256, 112, 112, 3), brighter from frame to frame: their order matters."""
    noise = np.random.default_rng(7).integers(0, 128, (256, 112, 112, 3), dtype=np.uint8)
    return noise + np.linspace(0, 127, 256, dtype=np.uint8)[:, None, None, None]


@pytest.fixture(scope="session")
def bad_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Detectors that break the contract."""
    return write_repository(tmp_path_factory.mktemp("misbehaving"))


@pytest.fixture(scope="session")
def bad_triton(bad_repository: Path) -> Iterator[EmbeddedTriton]:
    """A real server of the detectors that break the contract."""
    with EmbeddedTriton(free_port_settings(bad_repository, profile="reference")) as server:
        yield server
