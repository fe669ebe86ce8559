"""Heat maps are PyTorch's Grad-CAM, whatever the head, the clip's length and the profile."""

import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from client import Detector
from client.errors import DetectorNotFound, Overloaded, ServerFailed, Unreachable
from client.model_info import explainer_name
from export.default_detector import untrained_detector
from export.detector import ClipHead, ImageHead, LastFrameHead, SequenceHead
from export.errors import ExportError, FactError, RepositoryError
from export.explainer import LENGTHS, drop_explainer, gradcam, models_of, write_explainer
from export.facts import Flags, model_info
from export.gradient_graph import export_gradient, map_side
from export.repository import remove_detector
from serving import EmbeddedTriton
from serving.repository import check_repository, models_to_load

TOLERANCE = 1e-4
Answer = TypeVar("Answer")


def made(kind: str) -> ClipHead:
    """A head with seeded weights, spread so that frames differ."""
    torch.manual_seed(5)
    head: nn.Module
    if kind == "image":
        head = ImageHead()
    elif kind == "reference_last_frame":
        head = LastFrameHead(nn.LSTM(2048, 96, 2), nn.Linear(96, 2))
    else:
        head = SequenceHead(96, 2 if kind == "two layers" else 1, bias=kind != "without bias")
        nn.init.normal_(head.lstm.get_parameter("weight_ih_l0"), std=0.2)
        nn.init.normal_(head.lstm.get_parameter("weight_hh_l0"), std=0.2)
    return ClipHead(head, temperature=1.7).eval()


@pytest.mark.parametrize("kind", ["one layer", "two layers", "without bias", "reference_last_frame", "image"])
def test_every_head_s_gradient_is_that_of_automatic_differentiation(kind: str, tmp_path: Path) -> None:
    head = made(kind)
    export_gradient(head, tmp_path / "gradient.onnx", image_size_px=112)
    session = ort.InferenceSession(str(tmp_path / "gradient.onnx"), providers=["CPUExecutionProvider"])
    for length in LENGTHS:
        maps = torch.relu(torch.randn(length, 2048, 4, 4)).requires_grad_()
        features = maps.mean((2, 3))
        logits = head.head(features)
        pooled = logits[-1] if kind == "reference_last_frame" else logits.mean(0)
        (gradient,) = torch.autograd.grad(pooled[1] - pooled[0], maps)
        expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1).detach().numpy()
        clip, frames, raw, heat, evidence = session.run(None, {"MAPS": maps.detach().numpy()})
        largest = np.abs(expected).max()
        assert np.abs(evidence - expected).max() <= TOLERANCE * largest, length
        assert np.array_equal(heat, np.maximum(evidence, 0))
        with torch.no_grad():
            for found, wanted in zip((clip, frames, raw), head(features), strict=True):
                assert np.abs(found - wanted.numpy()).max() <= 1e-4
        if kind == "reference_last_frame":
            assert not evidence[:-1].any(), "no other frame than the last one counts"


def test_an_unknown_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="class Linear has no explainer"):
        export_gradient(ClipHead(nn.Linear(2048, 2), temperature=1.0), tmp_path / "x.onnx", image_size_px=112)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("picture_px", "side"), [(112, 4), (224, 7), (256, 8), (100, 4)])
def test_size_of_the_maps(picture_px: int, side: int) -> None:
    assert map_side(picture_px) == side


@pytest.fixture(scope="module")
def expected_maps(crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
    """By hooks in PyTorch, for each length."""
    encoder, head, info = untrained_detector()
    clip_head = ClipHead(head, temperature=info.temperature).eval()
    return {length: gradcam(encoder, clip_head, torch.from_numpy(crops[:length])).numpy() for length in LENGTHS}


def patiently(ask: Callable[[], Answer]) -> Answer:
    """An answer; a worker that a busy machine stops for a second is started anew, and says that the request may be sent again."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return ask()
        except (ServerFailed, Unreachable, Overloaded, DetectorNotFound):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def check_served(server: EmbeddedTriton, crops: NDArray[np.uint8], expected_maps: dict[int, NDArray[np.float32]]) -> None:
    """Frames -> heat maps through the server."""
    with Detector(server.grpc_url) as detector:
        for length, expected in expected_maps.items():
            clip = crops[:length]
            found = patiently(partial(detector.explain_frames, clip))
            assert found.evidence.shape == (length, 4, 4)
            assert np.abs(found.evidence - expected).max() <= TOLERANCE * np.abs(expected).max(), length
            assert np.array_equal(found.heatmaps, np.maximum(found.evidence, 0))
            assert found.scores.score == pytest.approx(patiently(partial(detector.infer_frames, clip)).score, abs=0.02)


def test_served_by_the_reference_profile(
    triton: EmbeddedTriton, crops: NDArray[np.uint8], expected_maps: dict[int, NDArray[np.float32]]
) -> None:
    check_served(triton, crops, expected_maps)


def test_served_by_the_cpu_profile(
    triton_cpu: EmbeddedTriton, crops: NDArray[np.uint8], expected_maps: dict[int, NDArray[np.float32]]
) -> None:
    check_served(triton_cpu, crops, expected_maps)


@pytest.fixture
def mine(repository: Path, tmp_path: Path) -> Path:
    """A copy of the repository that the test may change."""
    return Path(shutil.copytree(repository, tmp_path / "mine", copy_function=os.link, ignore=shutil.ignore_patterns(".*")))


def test_the_encoder_s_weights_are_stored_once(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.explainer.LENGTHS", (1, 7))  # the others are compared above
    encoder, head, info = untrained_detector()
    assert drop_explainer(info.detector, mine)
    assert not drop_explainer(info.detector, mine)
    assert not any((mine / model).exists() for model in models_of(info.detector))
    written = write_explainer(encoder, head, info, mine)
    assert set(written.differences) == {1, 7}
    maps, _, name = models_of(info.detector)
    assert written.name == name == "deepfake_explainer"
    assert (mine / maps / "1" / "model.onnx").samefile(next((mine / "frame_encoder").glob("[0-9]*/model.onnx")))
    assert not write_explainer(encoder, head, info, mine).differences, "the same again changes nothing"
    absent = dataclasses.replace(info, detector="absent")
    with pytest.raises(RepositoryError, match="export it first"):
        write_explainer(encoder, head, absent, mine)
    remove_detector(info.detector, mine)
    assert [path for path in mine.iterdir() if path.is_dir()] == []


def test_a_server_starts_without_explainers(mine: Path) -> None:
    parts = {"frame_encoder", "clip_head", "deepfake_detector"}
    assert set(models_to_load(mine, explainer=True)) == parts | set(models_of("deepfake_detector"))
    assert set(models_to_load(mine, explainer=False)) == parts
    # A checkout has the configurations alone; without the graphs the explainer is left out, and the detector is not.
    for model in models_of("deepfake_detector"):
        shutil.rmtree(mine / model / "1")
    check_repository(mine)
    assert set(models_to_load(mine, explainer=True)) == parts


def test_no_detector_takes_an_explainer_s_name() -> None:
    assert explainer_name("mine") == "explain_mine"
    for name in ("explain_mine", "deepfake_explainer", "frame_encoder", "clip_head_2"):
        with pytest.raises(FactError, match=r"names that begin with .* are those of a detector's parts"):
            model_info(
                Path("x.pt"), Flags(name=name, classes="real,fake"), {}, layout="reference", semantics="sequence",
                weights_sha256="0",
            )  # fmt: skip
