"""A Triton with detectors for every kind of verdict, and consoles in front of it."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from client.model_info import ModelInfo, explainer_name
from console.settings import ConsoleSettings
from console.supervisor import Console
from serving import EmbeddedTriton
from tests.clips import astronaut, make_clips
from tests.conftest import free_port_settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.console.pages import Watched

# The seeded weights score every face about 0.86; where thresholds lie decides what that is called.
_TRAINED = ModelInfo(
    detector="trained_fake",
    semantics="sequence",
    trained=True,
    training_data="nothing but this test's word",
    accuracy=0.93,
    accuracy_data="40 clips that nobody measured",
    training_frames=(),
    image_size_px=112,
    crop_margin=1.3,
    class_order=("real", "fake"),
    max_frames=256,
    temperature=1.0,
    threshold=0.5,
    abstain_low=0.4,
    abstain_high=0.6,
    weights_sha256="0" * 64,
    caveat="A detector for tests.",
)
DETECTORS = {
    "FAKE": _TRAINED,
    "REAL": replace(_TRAINED, detector="trained_real", threshold=0.98, abstain_low=0.97, abstain_high=0.99),
    "UNCERTAIN": replace(_TRAINED, detector="trained_band", threshold=0.5, abstain_low=0.01, abstain_high=0.99),
}


def add_detectors(repository: Path) -> None:
    """Adds the trained ensembles to a copy of the repository: the untrained one's configuration with other facts. One of them has an
    explainer, too."""
    for info in DETECTORS.values():
        _copy_ensemble(repository / "deepfake_detector", repository / info.detector, info.to_parameters())
    explained = DETECTORS["FAKE"]
    facts = {"explains": explained.detector, "weights_sha256": explained.weights_sha256}
    _copy_ensemble(repository / "deepfake_explainer", repository / explainer_name(explained.detector), facts)


def _copy_ensemble(source: Path, target: Path, parameters: dict[str, str]) -> None:
    shutil.copytree(source, target)
    for path in (target / "config.pbtxt", *(target / "configs").iterdir()):
        config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        config.name = target.name
        for name, value in parameters.items():
            config.parameters[name].string_value = value
        path.write_text(text_format.MessageToString(config))


@pytest.fixture(scope="session")
def detectors_repository(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built repository with the trained detectors beside the untrained one."""
    path = tmp_path_factory.mktemp("console") / "repository"
    shutil.copytree(repository, path, copy_function=os.link, ignore=shutil.ignore_patterns(".*"))
    add_detectors(path)
    return path


@pytest.fixture(scope="session")
def detectors(detectors_repository: Path) -> Iterator[EmbeddedTriton]:
    """A running server with all detectors."""
    with EmbeddedTriton(free_port_settings(detectors_repository, profile="cpu")) as server:
        yield server


def console_settings(data_dir: Path, **settings: Any) -> ConsoleSettings:
    """Settings for a console on a free port."""
    return ConsoleSettings.model_validate({"port": 0, "data_dir": data_dir, "workers": 0, **settings})


@pytest.fixture(scope="session")
def console(detectors: EmbeddedTriton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console with two workers."""
    data = tmp_path_factory.mktemp("data")
    settings = console_settings(
        data, triton_url=detectors.grpc_url, workers=2, webhook_allow_private=True, rate_limit="100000/minute"
    )
    with Console(settings) as running:
        yield running


@pytest.fixture
def api(console: Console) -> Iterator[httpx.Client]:
    """A client of that console."""
    with httpx.Client(base_url=console.url, timeout=120, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small made clips, and a picture."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("clips")
    made = make_clips(folder, ["one_face.mp4", "two_faces.mp4", "enters_and_leaves.mp4"])
    made["face.jpg"] = folder / "face.jpg"
    Image.fromarray(astronaut()).save(made["face.jpg"])
    made["nobody.png"] = folder / "nobody.png"
    Image.linear_gradient("L").save(made["nobody.png"])
    return made


def uploaded(client: httpx.Client, path: Path, **options: Any) -> dict[str, Any]:
    """The finished analysis of an upload, however long a busy machine takes for it."""
    with path.open("rb") as file:
        answer = client.post("/v1/analyses", params={"wait": 60, **options}, files={"file": (path.name, file)})
    assert answer.status_code in (200, 202), answer.text
    document = answer.json()
    while document["state"] not in ("done", "failed"):  # the test's own time limit ends it
        document = client.get(document["links"]["self"], params={"wait": 60}).json()
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """One Chromium for all pages."""
    pytest.importorskip("playwright", reason="playwright is not installed (extra `dev`)")
    from playwright.sync_api import expect, sync_playwright

    from tests.console.pages import CHROMIUM, PATIENCE_MS, SHOTS

    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    SHOTS.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def watched(browser: "Browser", console: Console) -> Iterator["Watched"]:
    """A fresh profile whose pages may ask nobody but the console."""
    from tests.console.pages import PATIENCE_MS, Watched

    context = browser.new_context(
        base_url=console.url, viewport={"width": 1280, "height": 860}, color_scheme="light", accept_downloads=True
    )
    context.set_default_timeout(PATIENCE_MS)
    found = Watched(context, urlsplit(console.url).netloc)
    yield found
    context.close()
    assert found.foreign == []


@pytest.fixture
def page(watched: "Watched") -> "Page":
    """One page of it."""
    return watched.context.new_page()
