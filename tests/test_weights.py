"""The weights that ship: what they say of themselves, and that their verdicts are verdicts."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from client import Detector
from client.model_info import ModelInfo
from export import calibration
from export.contents import weights_sha256
from export.load import default_weights, load_detector
from export.model_configs import from_text
from serving import EmbeddedTriton
from tests.clips import write_demo
from tests.conftest import ROOT, free_port_settings

MOST_BYTES = 60_000_000


@pytest.fixture(scope="module")
def weights() -> Path:
    found = default_weights()
    assert found is not None, "weights/ holds none"
    return found


def test_they_are_small_and_say_what_they_are(weights: Path) -> None:
    assert weights.stat().st_size <= MOST_BYTES
    loaded = load_detector(weights)
    assert loaded.info.trained
    assert loaded.info.caveat
    assert 0 < loaded.info.abstain_low <= loaded.info.threshold <= loaded.info.abstain_high < 1
    assert ModelInfo.from_parameters(loaded.info.to_parameters()) == loaded.info
    facts = json.loads(weights.with_suffix(".json").read_text())
    assert facts == json.loads(json.dumps(asdict(loaded.info)))


def test_the_configurations_in_git_are_theirs(weights: Path) -> None:
    info = load_detector(weights).info
    for path in (ROOT / "model_repository" / "deepfake_detector").glob("**/*.pbtxt"):
        parameters = from_text(path.read_text()).parameters
        assert ModelInfo.from_parameters({key: value.string_value for key, value in parameters.items()}) == info, path


def test_their_int8_ranges_lie_beside_them(weights: Path) -> None:
    loaded = load_detector(weights)
    assert calibration.find(weights_sha256(loaded.encoder), loaded.info.image_size_px, beside=weights) is not None


def test_their_verdict_on_the_demonstration_clip_is_one(shipped_repository: Path, weights: Path, tmp_path: Path) -> None:
    info = load_detector(weights).info
    write_demo(tmp_path / "demo.mp4")
    with EmbeddedTriton(free_port_settings(shipped_repository, profile="reference")) as server:
        verdict = Detector(server.grpc_url, deadline_s=240).detect(tmp_path / "demo.mp4", frames=16)
    assert verdict.reason is None
    assert verdict.score is not None
    if info.abstain_low < verdict.score < info.abstain_high:
        assert verdict.label == "UNCERTAIN"
    else:
        assert verdict.label == ("FAKE" if verdict.score >= info.threshold else "REAL")
