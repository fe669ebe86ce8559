"""Detectors come to, change on and leave a running Triton; what it served before it goes on serving."""

import contextlib
import dataclasses
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray

from client import Detector, choose, list_detectors
from client.errors import DetectorNotFound, ServerError
from export import calibration
from export.build import Int8Source
from export.contents import detectors
from export.default_detector import untrained_detector
from export.errors import LiveError, RepositoryBusy
from export.facts import Flags
from export.live import LiveServer
from export.load import Loaded, load_detector
from export.repository import Written, remove_detector, write_configs, write_detector
from serving import EmbeddedTriton
from tests.conftest import free_port_settings
from tests.export.made import ServedOriginal
from tests.serving.test_worker_loss import crash_triton, process_of

Crops = NDArray[np.uint8]
NO_INT8 = Int8Source(wanted=False)
LENGTHS = (1, 2, 7, 16, 60, 100)


@pytest.fixture(scope="module")
def live(live_server: EmbeddedTriton) -> Iterator[LiveServer]:
    with LiveServer(live_server.grpc_url, live_server.admin_key) as server:
        yield server


@pytest.fixture(scope="module")
def original_loaded(checkpoint: Path) -> Loaded:
    return load_detector(checkpoint, Flags(classes="real,fake", name="original"))


@pytest.fixture(scope="module")
def added(original_loaded: Loaded, workshop: Path, live: LiveServer) -> Written:
    """``original``: the reference checkpoint, run as it was served, added to the running server."""
    return write_detector(
        original_loaded.encoder, original_loaded.head, original_loaded.info, workshop, int8=NO_INT8, live=live
    )


@pytest.fixture(scope="module")
def sequence(checkpoint: Path, added: Written, workshop: Path, live: LiveServer) -> Written:  # noqa: ARG001 - in this order
    """``in_order``: the same checkpoint run as a true sequence model."""
    loaded = load_detector(checkpoint, Flags(classes="real,fake", name="in_order", semantics="sequence", frames=(20,)))
    return write_detector(loaded.encoder, loaded.head, loaded.info, workshop, int8=NO_INT8, live=live)


@pytest.mark.usefixtures("added")
def test_through_triton_it_is_the_served_original(live_server: EmbeddedTriton, network: ServedOriginal, crops: Crops) -> None:
    random = np.random.default_rng().integers(0, 256, (16, 112, 112, 3), dtype=np.uint8)
    probabilities = []
    with Detector(live_server.grpc_url, detector="original") as detector, torch.inference_mode():
        for inputs in (crops, random):
            features = network.features(torch.from_numpy(inputs))
            for length in (length for length in LENGTHS if length <= len(inputs)):
                expected = float(network.judge(features[:length])[1])
                found = detector.infer_frames(inputs[:length])
                assert found.score == pytest.approx(expected, abs=1e-5)
                assert found.frame_scores[-1] == pytest.approx(expected, abs=1e-5)
                probabilities.append(found.score)
    assert np.ptp(probabilities) > 0.01, "the seeded weights must tell clips apart, or this test shows nothing"


@pytest.mark.usefixtures("added")
def test_through_triton_it_is_the_served_original_on_real_faces(
    live_server: EmbeddedTriton, network: ServedOriginal, media: Path
) -> None:
    crops = np.concatenate(calibration.face_clips(media / "real", image_size_px=112, crop_margin=1.0, most=8))
    assert len(crops) >= max(LENGTHS)
    with Detector(live_server.grpc_url, detector="original") as detector, torch.inference_mode():
        features = network.features(torch.from_numpy(crops))
        for length in LENGTHS:
            expected = float(network.judge(features[-length:])[1])
            assert detector.infer_frames(crops[-length:]).score == pytest.approx(expected, abs=1e-5)
            # Another last frame, so that this is not one score six times.
            expected = float(network.judge(features[:length])[1])
            assert detector.infer_frames(crops[:length]).score == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("added")
def test_only_the_last_frame_counts_and_each_frame_has_its_own_score(live_server: EmbeddedTriton, crops: Crops) -> None:
    with Detector(live_server.grpc_url, detector="original") as detector:
        clip = crops[:20]
        result = detector.infer_frames(clip)
        replaced = np.concatenate([crops[50:69], clip[-1:]])
        assert detector.infer_frames(np.ascontiguousarray(replaced)).score == pytest.approx(result.score, abs=1e-7)
        assert abs(detector.infer_frames(np.ascontiguousarray(clip[::-1])).score - result.score) > 1e-3
        alone = [detector.infer_frames(clip[index : index + 1]).score for index in range(5)]
        np.testing.assert_allclose(result.frame_scores[:5], alone, atol=1e-6)


@pytest.mark.usefixtures("sequence")
def test_with_sequence_semantics_earlier_frames_count(live_server: EmbeddedTriton, crops: Crops) -> None:
    with Detector(live_server.grpc_url, detector="in_order") as detector:
        clip = crops[:20]
        swapped = np.concatenate([clip[18::-1], clip[-1:]])
        difference = detector.infer_frames(np.ascontiguousarray(swapped)).score - detector.infer_frames(clip).score
        assert abs(difference) > 1e-4


def test_the_same_encoder_is_not_stored_twice(added: Written, sequence: Written, workshop: Path) -> None:
    assert added.models[0] == sequence.models[0]
    assert added.models[1] != sequence.models[1]
    assert len(list(workshop.glob("frame_encoder*"))) == 2, "the default detector's and theirs"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.usefixtures("sequence")
def test_the_client_lists_them_and_chooses_by_length(live_server: EmbeddedTriton, protocol: str) -> None:
    models = list_detectors(live_server.grpc_url if protocol == "grpc" else live_server.http_url)
    assert [model.info.detector for model in models] == ["deepfake_detector", "in_order", "original"]
    assert [model.profile for model in models] == ["reference"] * 3
    assert choose(models, None).detector == "deepfake_detector"
    assert choose(models, 60).detector == "original"
    near = choose(models, 30)
    assert near.detector == "in_order"
    assert near.note == "No detector was trained for 30 frames; in_order, trained for 20, is the nearest of 3."


def test_exporting_the_same_again_changes_nothing(added: Written, original_loaded: Loaded, workshop: Path) -> None:
    before = (workshop / "original").stat().st_ino
    again = write_detector(original_loaded.encoder, original_loaded.head, original_loaded.info, workshop, int8=NO_INT8)
    assert (again.models, again.version, again.comparisons) == (added.models, added.version, ())
    assert (workshop / "original").stat().st_ino == before


@pytest.mark.usefixtures("added")
def test_what_is_served_is_not_replaced_behind_the_servers_back(
    checkpoint: Path, workshop: Path, live_server: EmbeddedTriton, crops: Crops
) -> None:
    turned = load_detector(checkpoint, Flags(classes="fake,real", name="original"))
    with pytest.raises(RepositoryBusy, match=r"a server runs on .*--url"):
        write_detector(turned.encoder, turned.head, turned.info, workshop, int8=NO_INT8)
    with pytest.raises(RepositoryBusy, match="a server runs on"):
        remove_detector("original", workshop)
    with Detector(live_server.grpc_url, detector="original") as detector:
        detector.infer_frames(crops[:4])


class Sabotage(LiveServer):
    """Breaks a graph between the export and the server, as a failing disk would."""

    def __init__(self, url: str, repository: Path) -> None:
        super().__init__(url)
        self.repository = repository

    def __enter__(self) -> "Sabotage":
        return self

    def load(self, model: str) -> None:
        if model.startswith("clip_head"):
            graph = next((self.repository / model).glob("*/model.onnx"))
            graph.write_bytes(graph.read_bytes()[:1000])
        super().load(model)


@pytest.mark.usefixtures("sequence")
def test_a_failed_load_leaves_the_old_version_serving(
    added: Written, checkpoint: Path, workshop: Path, live_server: EmbeddedTriton, crops: Crops
) -> None:
    turned = load_detector(checkpoint, Flags(classes="fake,real", name="original"))
    names = {path.name for path in workshop.iterdir()}
    with Detector(live_server.grpc_url, detector="original") as detector, Sabotage(live_server.grpc_url, workshop) as broken:
        before = detector.infer_frames(crops[:8])
        with pytest.raises(LiveError, match=r"could not load clip_head_"):
            write_detector(turned.encoder, turned.head, turned.info, workshop, int8=NO_INT8, live=broken)
        after = detector.infer_frames(crops[:8])
    assert (after.score, after.model.version) == (before.score, before.model.version)
    assert {path.name for path in workshop.iterdir()} == names
    assert {found.info.detector: found.version for found in detectors(workshop)}["original"] == added.version


@pytest.mark.usefixtures("sequence")
def test_a_detector_is_replaced_without_a_request_failing(
    added: Written, checkpoint: Path, workshop: Path, live: LiveServer, live_server: EmbeddedTriton, crops: Crops
) -> None:
    turned = load_detector(checkpoint, Flags(classes="fake,real", name="original"))
    clip = crops[:8]
    scores: list[float] = []
    failures: list[Exception] = []
    stop = threading.Event()
    with Detector(live_server.grpc_url, detector="original") as detector:
        before = detector.infer_frames(clip).score

        def ask() -> None:
            while not stop.is_set():
                try:
                    scores.append(detector.infer_frames(clip).score)
                except Exception as error:
                    failures.append(error)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            written = write_detector(turned.encoder, turned.head, turned.info, workshop, int8=NO_INT8, live=live)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        after = detector.infer_frames(clip)
    assert not failures
    assert {round(score, 4) for score in scores} <= {round(before, 4), round(1 - before, 4)}
    assert after.score == pytest.approx(1 - before, abs=1e-5)
    assert (written.version, after.model.version) == (added.version + 1, str(added.version + 1))
    assert written.removed == (added.models[1],), "the old head is used by nobody, the encoder by both"
    assert not (workshop / added.models[1]).exists()


def test_a_server_on_another_repository_refuses(tmp_path: Path, live: LiveServer) -> None:
    encoder, head, info = untrained_detector()
    with pytest.raises(LiveError, match="could not load"):
        write_detector(
            encoder, head, dataclasses.replace(info, detector="elsewhere"), tmp_path / "other", int8=NO_INT8, live=live
        )
    assert not list((tmp_path / "other").glob("*/config.pbtxt"))


def test_removing_one_leaves_what_others_are_made_of(
    sequence: Written, workshop: Path, live: LiveServer, live_server: EmbeddedTriton, crops: Crops
) -> None:
    scores: list[float] = []
    ends: list[Exception] = []
    answered = threading.Semaphore(0)
    clip = crops[:60]

    def ask_until_it_is_gone() -> None:
        with Detector(live_server.grpc_url, detector="in_order") as detector:
            try:
                while True:
                    scores.append(detector.infer_frames(clip).score)
                    answered.release()
            except Exception as error:
                ends.append(error)
                answered.release()

    threads = [threading.Thread(target=ask_until_it_is_gone) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            answered.acquire()
        assert remove_detector("in_order", workshop, live=live) == ("in_order", sequence.models[1])
    finally:
        for thread in threads:
            thread.join(timeout=300)
    # What was accepted was answered; what came later was told that there is no such detector.
    assert [type(error) for error in ends] == [DetectorNotFound] * 3, ends
    assert np.ptp(scores) < 1e-5
    assert not (workshop / "in_order").exists()
    with Detector(live_server.grpc_url, detector="in_order") as detector, pytest.raises(DetectorNotFound):
        detector.infer_frames(crops[:4])
    for name in ("original", "deepfake_detector"):
        with Detector(live_server.grpc_url, detector=name) as detector:
            detector.infer_frames(crops[:4])


def test_detectors_that_came_and_went_are_right_after_a_crash(repository: Path, tmp_path: Path, crops: Crops) -> None:
    """A server that crashes starts anew with what its repository has by then, not with what it was started with."""
    mine = Path(shutil.copytree(repository, tmp_path / "mine", copy_function=os.link, ignore=shutil.ignore_patterns(".*")))
    _, _, info = untrained_detector()

    def put(name: str) -> None:
        write_configs(mine, dataclasses.replace(info, detector=name), encoder=None, head=None)
        (mine / name / "1").mkdir()

    put("goes")
    with EmbeddedTriton(free_port_settings(mine, profile="reference", drain_timeout_s=0)) as server:
        with LiveServer(server.grpc_url, server.admin_key) as live:
            put("comes")
            live.load("comes")
            assert remove_detector("goes", mine, live=live) == ("goes",)
        with Detector(server.grpc_url, detector="comes") as detector:
            expected = detector.infer_frames(crops[:4]).score
        crashed = psutil.Process(process_of(server, "bin/tritonserver"))
        crash_triton(server)
        crashed.wait(timeout=180)
        found: list[str] = []
        deadline = time.monotonic() + 180
        while "comes" not in found:
            assert time.monotonic() < deadline, f"the server has {found}"
            time.sleep(0.5)
            with contextlib.suppress(ServerError):
                found = [model.info.detector for model in list_detectors(server.grpc_url)]
        assert "goes" not in found
        with Detector(server.grpc_url, detector="comes") as detector:
            assert detector.infer_frames(crops[:4]).score == pytest.approx(expected, abs=1e-6)
