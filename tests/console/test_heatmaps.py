"""Where the detector looked, as the API gives it."""

import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from client import Detector
from client.errors import ExplainerNotFound
from console import heat_picture
from console.supervisor import Console
from serving import EmbeddedTriton
from tests.console.conftest import uploaded


@pytest.fixture(scope="module")
def finished(console: Console, clips: dict[str, Path]) -> dict[str, Any]:
    """The analysis of two people by the detector that has an explainer."""
    with httpx.Client(base_url=console.url, timeout=120, trust_env=False) as client:
        return uploaded(client, clips["two_faces.mp4"], detector="trained_fake", frames=8)


def test_numbers_are_the_library_s(
    api: httpx.Client, finished: dict[str, Any], detectors: EmbeddedTriton, clips: dict[str, Path]
) -> None:
    document = api.get(f"/v1/analyses/{finished['id']}/heatmaps").json()
    assert (document["detector"], document["explainer"], document["crop_px"]) == ("trained_fake", "explain_trained_fake", 112)
    with Detector(detectors.grpc_url, detector="trained_fake") as detector:
        analysis = detector.analyze(clips["two_faces.mp4"], frames=8)
        assert len(document["tracks"]) == len(analysis.extraction.clips) == 2
        for track, clip in zip(document["tracks"], analysis.extraction.clips, strict=True):
            expected = detector.explain_frames(clip.frames)
            assert [frame["frame_index"] for frame in track["frames"]] == clip.frame_indices.tolist()
            found = np.array([frame["evidence"] for frame in track["frames"]])
            assert np.abs(found - expected.evidence).max() <= 1e-4 * np.abs(expected.evidence).max() + 1e-7
            heat = np.array([frame["heatmap"] for frame in track["frames"]])
            assert np.array_equal(heat, np.maximum(found, 0))
            assert track["largest"] == heat.max()
            assert track["score"] == pytest.approx(expected.scores.score, abs=1e-5)


def test_pictures_lie_over_the_crops(api: httpx.Client, console: Console, finished: dict[str, Any]) -> None:
    document = api.get(f"/v1/analyses/{finished['id']}/heatmaps").json()
    (kept,) = (console.settings.results_dir / finished["id"]).glob("*/heatmaps.npz")
    made_at = kept.stat().st_mtime_ns
    track = document["tracks"][0]
    strongest = max(track["frames"], key=lambda frame: max(map(max, frame["heatmap"])))
    answer = api.get(strongest["png"])
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content)).convert("RGBA")
    crop = Image.open(io.BytesIO(api.get(strongest["png"].replace("heatmaps", "crops").replace(".png", ".jpg")).content))
    assert picture.size == crop.size == (112, 112)
    alpha = np.asarray(picture)[:, :, 3]
    heat = np.array(strongest["heatmap"])
    y, x = np.unravel_index(alpha.argmax(), alpha.shape)
    # Alpha has 256 steps, so two squares may look alike.
    assert heat[y * 4 // 112, x * 4 // 112] >= 0.98 * heat.max()
    assert alpha.min() < alpha.max()
    assert kept.stat().st_mtime_ns == made_at, "computed once"
    assert api.get(f"/v1/analyses/{finished['id']}/heatmaps/0/99999.png").json()["code"] == "not_found"
    api.delete(f"/v1/analyses/{finished['id']}")
    assert not kept.exists()


def test_what_cannot_be_explained_says_why(
    api: httpx.Client, console: Console, detectors: EmbeddedTriton, clips: dict[str, Path]
) -> None:
    without = uploaded(api, clips["face.jpg"], detector="trained_real")
    answer = api.get(f"/v1/analyses/{without['id']}/heatmaps")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_explainer")
    assert "unmask export --explainer" in answer.json()["detail"]
    with Detector(detectors.grpc_url, detector="trained_real") as detector, pytest.raises(ExplainerNotFound):
        detector.explain_frames(np.zeros((2, 112, 112, 3), np.uint8))
    nobody = uploaded(api, clips["nobody.png"], detector="trained_fake")
    assert api.get(f"/v1/analyses/{nobody['id']}/heatmaps").json()["code"] == "no_heatmaps"
    # As if the result were of weights that were replaced since.
    older = uploaded(api, clips["face.jpg"], detector="trained_fake")
    older["verdict"]["model"]["info"]["weights_sha256"] = "1" * 64
    with sqlite3.connect(console.settings.data_dir / "console.sqlite3", timeout=60) as database:
        database.execute("UPDATE analyses SET verdict = ? WHERE id = ?", (json.dumps(older["verdict"]), older["id"]))
    database.close()
    answer = api.get(f"/v1/analyses/{older['id']}/heatmaps")
    assert (answer.status_code, answer.json()["code"]) == (409, "model_changed")


def test_colours_grow_lighter_all_the_way() -> None:
    # Relative luminance (WCAG 2.2), not what the ramp was made from.
    linear = np.array(heat_picture.ramp()) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -0.002).all()
    assert luminance[-1] - luminance[0] > 0.6


def test_enlarged_by_the_middle_of_each_square() -> None:
    values = np.arange(16, dtype=np.float32).reshape(4, 4)
    large = heat_picture.enlarge(values, 112)
    assert large.shape == (112, 112)
    assert np.allclose(large[14::28, 14::28], values, atol=0.2)
    assert (large.min(), large.max()) == (0, 15)
    assert not np.asarray(Image.open(io.BytesIO(heat_picture.png(np.zeros((4, 4), np.float32), 0.0, 8))).convert("RGBA"))[
        ..., 3
    ].any()
