"""A reference checkpoint, and one server that detectors are added to, replaced on and removed from."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from serving import EmbeddedTriton
from tests.conftest import free_port_settings
from tests.export.made import ServedOriginal, original, save_reference

REFERENCE_NAME = "model_97_acc_60_frames_FF_data.pt"


@pytest.fixture(scope="session")
def network() -> ServedOriginal:
    """The served original with seeded weights."""
    return original()


@pytest.fixture(scope="session")
def checkpoint(network: ServedOriginal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its state_dict, 226.5 MB."""
    return save_reference(network, tmp_path_factory.mktemp("checkpoints") / REFERENCE_NAME)


@pytest.fixture(scope="session")
def crops() -> NDArray[np.uint8]:
    """(100, 112, 112, 3): smooth blobs that differ from frame to frame, so that scores do."""
    random = np.random.default_rng(11)
    coarse = random.integers(0, 256, (100, 7, 7, 3)).astype(np.uint8)
    return np.ascontiguousarray(coarse.repeat(16, 1).repeat(16, 2))


@pytest.fixture(scope="session")
def workshop(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the default detector that tests may change; graphs are hard links."""
    target = tmp_path_factory.mktemp("workshop") / "repository"
    return Path(shutil.copytree(repository, target, copy_function=os.link, ignore=shutil.ignore_patterns(".*")))


@pytest.fixture(scope="session")
def live_server(workshop: Path) -> Iterator[EmbeddedTriton]:
    """A server on ``workshop``, profile ``reference`` (fp32)."""
    with EmbeddedTriton(free_port_settings(workshop, profile="reference")) as server:
        yield server
