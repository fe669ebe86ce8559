"""What several areas' tests share: the built model repository, running servers, real clips."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import EmbeddedTriton, ServingSettings

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the seeded detector: its scores stay what they are when other weights ship."""
    from export.default_detector import untrained_detector
    from export.explainer import write_explainer
    from export.repository import write_detector

    path = tmp_path_factory.mktemp("seeded") / "repository"
    detector = untrained_detector()
    write_detector(*detector, path)
    write_explainer(*detector, path)
    return path


@pytest.fixture(scope="session")
def shipped_repository() -> Path:
    """The checkout's model repository, built of the weights that ship."""
    from export.build import Int8Source
    from export.default_detector import default_detector
    from export.explainer import write_explainer
    from export.repository import write_detector

    path = ROOT / "model_repository"
    if not (list(path.glob("frame_encoder/*/model.onnx")) and list(path.glob("deepfake_explainer/[0-9]*"))):
        encoder, head, info, weights = default_detector()
        write_detector(encoder, head, info, path, int8=Int8Source(checkpoint=weights))
        write_explainer(encoder, head, info, path)
    return path


def free_port_settings(repository: Path, **settings: object) -> ServingSettings:
    """Settings for a server on free ports."""
    return ServingSettings(model_repository=repository, grpc_port=0, http_port=0, metrics_port=0, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def triton(repository: Path) -> Iterator[EmbeddedTriton]:
    """A running server, profile ``reference`` (fp32)."""
    with EmbeddedTriton(free_port_settings(repository, profile="reference")) as server:
        yield server


@pytest.fixture(scope="session")
def triton_cpu(repository: Path) -> Iterator[EmbeddedTriton]:
    """A running server, profile ``cpu`` (OpenVINO)."""
    with EmbeddedTriton(free_port_settings(repository, profile="cpu")) as server:
        yield server


@pytest.fixture(scope="session")
def media() -> Path:
    """Folder with real clips (``cases/``, ``real/``), from UNMASK_MEDIA or beside the checkout."""
    path = Path(os.environ.get("UNMASK_MEDIA", ROOT.parent / "shared" / "media"))
    if not path.is_dir():
        pytest.skip(
            "no real clips here: set UNMASK_MEDIA to a folder with cases/ and real/; the made clips cover the same paths"
        )
    return path
