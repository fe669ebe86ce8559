"""Both stages on made people: the loss falls, resuming changes nothing, and no checkpoint is lost."""

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from export.load import load_detector
from training import checkpoints
from training.batches import FrameBatches, Phase, difficulty_of
from training.clips import ClipMaker
from training.course import check_blocks, schedule
from training.errors import (
    CheckpointError,
    CheckpointMismatchError,
    CheckpointWriteError,
    EmptyClassError,
    LeakError,
    PictureError,
    TrainingError,
)
from training.features import kept_features, made_of, read_features, write_features
from training.fit_clips import (
    GENUINE_VARIANTS,
    ClipFitSettings,
    FeatureClip,
    fit_head,
    frame_mean_margins,
    head_auc,
    head_of_classifier,
    make_genuine_clips,
    margins,
)
from training.fit_frames import FrameFit, FrameFitSettings
from training.frame_model import FrameModel
from training.losses import frame_loss
from training.pairs import PairMaker
from training.run import (
    RunSettings,
    best_frame_model,
    fit_clips_stage,
    fit_frames_stage,
    write_run_weights,
)
from training.shards import Record

SMALL = FrameFitSettings(phases=(Phase(steps=6, window_px=32, pairs=2, windows=2),), precision="fp32", severity=0.2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums in one order, so that runs can be compared bit by bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def loss_of(model: FrameModel, records: list[Record]) -> float:
    """Loss on one batch that training sees."""
    batch = FrameBatches(PairMaker(records), SMALL.phases, SMALL.pair_options(), SMALL.seed)[0]
    with torch.no_grad():
        logits, maps = copy.deepcopy(model).train()(batch.frames)
        loss, _ = frame_loss(logits, maps, batch, SMALL.loss)
    return float(loss)


def test_a_smoke_run_lowers_the_loss_and_writes_weights_that_load(records: list[Record], tmp_path: Path) -> None:
    settings = RunSettings(
        frames=replace(SMALL, phases=(Phase(steps=30, window_px=32, pairs=3, windows=2),)),
        clips=ClipFitSettings(epochs=2), hidden_sizes=(16,), train_clip_pairs=4, val_clip_pairs=4, clip_frames=(3, 4),
        validation_pairs=2,
    )  # fmt: skip
    model = fit_frames_stage(records, settings, tmp_path, workers=0, validate_every=30)
    torch.manual_seed(settings.frames.seed)
    assert loss_of(model, records) < 0.9 * loss_of(FrameModel(), records)
    stage = fit_clips_stage(model, records, settings, tmp_path)
    info = write_run_weights(tmp_path / "w.safetensors", model, stage, settings, training_data="made people", caveat="a test")
    loaded = load_detector(tmp_path / "w.safetensors")
    assert loaded.info == info
    assert json.loads((tmp_path / "w.json").read_text())["threshold"] == info.threshold
    frames = np.random.default_rng(0).integers(0, 255, (3, 112, 112, 3), np.uint8)
    with torch.no_grad():
        expected = stage.head(model.encoder(torch.from_numpy(frames)))
        found = loaded.head(loaded.encoder(torch.from_numpy(frames)))
    assert torch.allclose(expected, found, atol=0.05, rtol=0.05)


def test_pairs_are_made_in_another_process_after_opencv_has_started_its_threads(records: list[Record]) -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 5)
    # Its threads spin for a while before they wait, and only those that wait are waited for in the forked process.
    time.sleep(1)
    batches = FrameBatches(PairMaker(records), SMALL.phases, SMALL.pair_options(), SMALL.seed)
    first = next(batches.from_step(0, workers=1))
    cv2.setNumThreads(threads)
    assert torch.equal(first.frames, batches[0].frames)


def test_resuming_gives_what_not_stopping_gives(records: list[Record], tmp_path: Path) -> None:
    maker = PairMaker(records)
    whole = FrameFit(settings=SMALL, folder=tmp_path / "whole", workers=0).run(maker)
    FrameFit(settings=SMALL, folder=tmp_path / "parts", workers=0).run(maker, stop_at=3)
    resumed = FrameFit(settings=SMALL, folder=tmp_path / "parts", workers=0)
    parts = resumed.run(maker)
    assert resumed.step == 6
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_full_disk_is_an_error_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    checkpoints.save(path, {"step": 1}, settings={})
    # What is written beside the checkpoint goes to a device that is always full.
    (tmp_path / "run.pt.partial").symlink_to("/dev/full")
    with pytest.raises(CheckpointWriteError, match="the checkpoint before it is untouched; free some room"):
        checkpoints.save(path, {"step": 2, "weights": torch.zeros(100_000)}, settings={})
    assert checkpoints.load(path)["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.pt"]


def test_a_run_that_diverges_says_how_to_start_another(records: list[Record], tmp_path: Path) -> None:
    settings = replace(SMALL, learning_rate=1e30, warm_up_steps=0)
    with pytest.raises(TrainingError, match=r"at step \d; start another run anew with a learning rate under 1e\+30"):
        FrameFit(settings=settings, folder=tmp_path, workers=0).run(PairMaker(records))


def test_a_corrupt_picture_in_another_process_is_named_without_a_traceback(records: list[Record], tmp_path: Path) -> None:
    broken = [replace(record, encoded=b"\xff\xd8broken", source="broken.jpg") for record in records]
    with pytest.raises(PictureError, match=r"^broken\.jpg cannot be decoded as a picture"):
        FrameFit(settings=SMALL, folder=tmp_path, workers=1).run(PairMaker(broken))


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")
def test_without_a_compiler_compiling_is_refused_by_name(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("/no/compiler",))
    one = replace(SMALL, phases=(Phase(steps=1, window_px=32, pairs=2, blocks=(1, 1, 1, 1)),))
    fit = FrameFit(settings=one, folder=tmp_path, workers=0, compiled=True)
    with pytest.raises(TrainingError, match="leave out --compile and resume"):
        fit.run(PairMaker(records))


def test_fp16_is_resumed_with_the_scale_of_its_gradients(records: list[Record], tmp_path: Path) -> None:
    # Two steps: processors compute fp16 slowly.
    two = Phase(steps=2, window_px=16, pairs=2, blocks=(1, 1, 1, 1))
    settings, maker = replace(SMALL, phases=(two,), precision="fp16"), PairMaker(records)
    whole = FrameFit(settings=settings, folder=tmp_path / "whole", workers=0).run(maker)
    FrameFit(settings=settings, folder=tmp_path / "parts", workers=0).run(maker, stop_at=1)
    parts = FrameFit(settings=settings, folder=tmp_path / "parts", workers=0).run(maker)
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.isfinite(a).all()
        assert torch.equal(a, b), name


def test_the_cool_down_may_change_when_a_run_is_resumed(records: list[Record], tmp_path: Path) -> None:
    FrameFit(settings=SMALL, folder=tmp_path, workers=0).run(PairMaker(records), stop_at=2)
    resumed = FrameFit(settings=replace(SMALL, cool_down=0.5), folder=tmp_path, workers=0)
    resumed.run(PairMaker(records), stop_at=3)
    assert resumed.step == 3


def test_a_run_with_other_settings_is_not_resumed(records: list[Record], tmp_path: Path) -> None:
    short = replace(SMALL, phases=(Phase(steps=1, window_px=32, pairs=2, windows=2),))
    FrameFit(settings=short, folder=tmp_path, workers=0).run(PairMaker(records))
    with pytest.raises(CheckpointMismatchError, match=r"learning_rate 0\.001 there, 0\.1 here"):
        FrameFit(settings=replace(short, learning_rate=0.1), folder=tmp_path, workers=0).run(PairMaker(records))


def test_what_is_still_to_come_may_be_changed_and_what_was_may_not(records: list[Record], tmp_path: Path) -> None:
    first = Phase(steps=2, window_px=32, pairs=2, windows=2, difficulty=0.0)
    then = Phase(steps=2, window_px=32, pairs=3, windows=1, difficulty=0.5)
    maker = PairMaker(records)
    FrameFit(settings=replace(SMALL, phases=(first,)), folder=tmp_path, workers=0).run(maker)
    longer = FrameFit(settings=replace(SMALL, phases=(first, then)), folder=tmp_path, workers=0)
    longer.run(maker)
    assert longer.step == 4
    with pytest.raises(CheckpointMismatchError, match="is at step 4 of other phases"):
        FrameFit(settings=replace(SMALL, phases=(replace(first, pairs=3), then)), folder=tmp_path, workers=0).run(maker)


def test_a_run_that_is_cut_short_is_validated_where_it_is(records: list[Record], tmp_path: Path) -> None:
    maker = PairMaker(records)
    FrameFit(settings=SMALL, folder=tmp_path, workers=0).run(maker, stop_at=4)
    cut = replace(SMALL, phases=(replace(SMALL.phases[0], steps=4),))
    looked = []

    def validate(model: FrameModel) -> dict[str, float]:
        looked.append(model)
        return {"auc": 0.6}

    for _ in range(2):
        FrameFit(settings=cut, folder=tmp_path, workers=0).run(maker, validate=validate)
    assert len(looked) == 1
    assert checkpoints.load(tmp_path / "frames_best.pt")["step"] == 4


def test_patience_is_what_is_left_of_it_after_a_stop(records: list[Record], tmp_path: Path) -> None:
    maker = PairMaker(records)

    def run(stop_at: int | None = None) -> int:
        fit = FrameFit(settings=SMALL, folder=tmp_path, workers=0)
        fit.run(maker, validate=lambda _: {"auc": 0.6}, validate_every=1, patience=2, stop_at=stop_at)
        return fit.step

    assert run(stop_at=2) == 2
    # One look was better than none, two were not better than it; a run that has ended stays where it is.
    assert run() == 3
    assert run() == 3
    assert checkpoints.load(tmp_path / "frames_best.pt")["step"] == 1


def test_a_phase_that_leaves_out_what_has_learned_is_refused(records: list[Record], tmp_path: Path) -> None:
    torch.manual_seed(3)
    other = FrameModel()
    torch.nn.init.ones_(other.encoder.backbone.get_parameter("layer3.2.bn3.weight"))
    checkpoints.save(tmp_path / "other.pt", {"model": other.state_dict()}, settings={})
    few = replace(SMALL, phases=(Phase(steps=1, window_px=32, pairs=2, windows=2, blocks=(1, 1, 1, 1)),))
    with pytest.raises(TrainingError, match=r"has BLOCKS 1-1-1-1, but 1-1-3-1 blocks of the four layers have learned"):
        FrameFit(settings=few, folder=tmp_path / "run", workers=0).run(PairMaker(records), init=tmp_path / "other.pt")


def test_blocks_may_only_become_more() -> None:
    model = FrameModel()
    all_of_them, one = (Phase(steps=2, window_px=32, pairs=2, blocks=count) for count in ((), (1, 1, 1, 1)))
    check_blocks(model, (one, all_of_them), 0)
    with pytest.raises(TrainingError, match="set its BLOCKS to 0"):
        check_blocks(model, (all_of_them, one), 0)
    # What lies behind is not looked at.
    check_blocks(model, (all_of_them, one), 4)


def test_a_run_of_another_network_is_a_mismatch(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "other.pt", {"model": {"classifier.weight": torch.zeros(3, 5)}}, settings={})
    with pytest.raises(CheckpointMismatchError, match="holds another network"):
        FrameModel().start_from(tmp_path / "other.pt")


def test_a_small_file_on_a_full_disk_is_a_checkpoint_error(tmp_path: Path) -> None:
    checkpoints.write_text(tmp_path / "h.json", "[1]")
    (tmp_path / "h.json.partial").symlink_to("/dev/full")
    with pytest.raises(CheckpointWriteError, match="free some room and resume"):
        checkpoints.write_text(tmp_path / "h.json", "[1, 2]")
    assert (tmp_path / "h.json").read_text() == "[1]"


def test_difficulty_rises_evenly_from_phase_to_phase() -> None:
    phases = tuple(
        Phase(steps=steps, window_px=32, pairs=2, difficulty=end) for steps, end in ((10, 0.0), (10, 0.5), (5, 0.5), (5, 1.0))
    )
    found = [difficulty_of(phases, step) for step in (0, 9, 10, 15, 20, 24, 25, 30)]
    assert found == pytest.approx([0, 0, 0, 0.25, 0.5, 0.5, 0.5, 1.0])


def test_the_learning_rate_rises_stays_and_falls() -> None:
    found = [schedule(step, 100, 10, 0.5) for step in (0, 9, 10, 49, 75, 99)]
    assert found[:4] == [0.1, 1.0, 1.0, 1.0]
    assert found[4] == pytest.approx(0.505)
    assert 0.01 <= found[5] < 0.02


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_a_checkpoint_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="delete it to start anew"):
        checkpoints.load(tmp_path / "run.pt")


def clips_that_differ_in_time(count: int, seed: int) -> list[FeatureClip]:
    """Features whose mean says nothing: fakes tremble, genuine ones do not."""
    rng = np.random.default_rng(seed)
    clips = []
    for number in range(count):
        features = np.abs(rng.normal(0.5, 0.1, 2048)).astype(np.float32) + np.zeros((8, 1), np.float32)
        tremble = rng.choice((-1.0, 1.0), 8).astype(np.float32)
        features[:, :64] += (tremble - tremble.mean())[:, None] * 0.8 * (number % 2)
        clips.append(FeatureClip(features=features, label=number % 2, kind="jitter", identity=str(number), pair=number // 2))
    return clips


def test_the_head_starts_as_the_mean_of_frames_and_learns_what_time_adds() -> None:
    model = FrameModel()
    torch.nn.init.normal_(model.classifier.weight, std=0.02, generator=torch.Generator().manual_seed(1))
    train, validation = clips_that_differ_in_time(120, 0), clips_that_differ_in_time(60, 1)
    head = head_of_classifier(model.classifier, 32, 1)
    start, mean = margins(head, validation), frame_mean_margins(model.classifier, validation)
    assert np.corrcoef(start, mean)[0, 1] > 0.999
    assert np.allclose(start, mean, atol=0.05 * np.abs(mean).max() + 0.02)
    fitted, history = fit_head(head, train, validation, ClipFitSettings(epochs=6, learning_rate=3e-3))
    assert head_auc(fitted, validation) > history[0]["val_auc"] + 0.2


def test_genuine_videos_are_seen_in_every_quality(records: list[Record]) -> None:
    videos = [replace(records[number // 8], dataset="clips", source=f"{number // 8}.mp4") for number in range(16)]
    clips = make_genuine_clips(FrameModel().eval().encoder, ClipMaker(videos), image_size_px=32, crop_margin=1.3)
    assert [clip.pair for clip in clips] == [0] * len(GENUINE_VARIANTS) + [1] * len(GENUINE_VARIANTS)
    assert {clip.label for clip in clips} == {0}
    first = [clip.features for clip in clips if clip.pair == 0]
    assert all(features.shape == (8, 2048) for features in first)
    for number, features in enumerate(first[1:], 1):
        assert not np.allclose(features, first[0]), GENUINE_VARIANTS[number]


def test_a_head_without_one_class_is_refused() -> None:
    clips = [clip for clip in clips_that_differ_in_time(8, 0) if clip.label == 0]
    with pytest.raises(EmptyClassError, match=r"training clips have labels \[0\]"):
        fit_head(head_of_classifier(FrameModel().classifier, 16, 1), clips, clips, ClipFitSettings())


def test_features_read_back(tmp_path: Path) -> None:
    clips = clips_that_differ_in_time(3, 0)
    write_features(tmp_path / "f.npz", clips)
    for before, after in zip(clips, read_features(tmp_path / "f.npz"), strict=True):
        assert (after.label, after.kind, after.identity, after.pair) == (
            before.label,
            before.kind,
            before.identity,
            before.pair,
        )
        assert np.allclose(after.features, before.features, atol=1e-3)


def test_features_are_made_anew_for_another_encoder_and_kept_for_the_same(tmp_path: Path, records: list[Record]) -> None:
    encoder = torch.nn.Linear(2, 2)
    made: list[int] = []

    def make() -> list[FeatureClip]:
        made.append(1)
        return clips_that_differ_in_time(2, len(made))

    path = tmp_path / "f.npz"
    first = kept_features(path, made_of(encoder, records, 3), make)
    again = kept_features(path, made_of(encoder, records, 3), make)
    assert len(made) == 1
    assert all(np.array_equal(a.features, b.features) for a, b in zip(first, again, strict=True))
    kept_features(path, made_of(encoder, records, 4), make)
    kept_features(path, made_of(encoder, records[1:], 4), make)
    torch.nn.init.zeros_(encoder.weight)
    kept_features(path, made_of(encoder, records[1:], 4), make)
    assert len(made) == 4


def test_damaged_features_are_a_checkpoint_error(tmp_path: Path) -> None:
    write_features(tmp_path / "f.npz", clips_that_differ_in_time(2, 0))
    (tmp_path / "f.npz").write_bytes((tmp_path / "f.npz").read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="delete it and resume"):
        read_features(tmp_path / "f.npz")


def test_a_person_on_both_sides_ends_the_run_before_it_starts(records: list[Record], tmp_path: Path) -> None:
    both = [*records, replace(records[0], split="test")]
    with pytest.raises(LeakError, match="made/person-0 is in train"):
        fit_frames_stage(both, RunSettings(frames=SMALL), tmp_path, workers=0)


def test_a_split_without_genuine_pictures_is_named(records: list[Record], tmp_path: Path) -> None:
    with pytest.raises(EmptyClassError, match="split 'val' has 0 of 6 pictures"):
        fit_frames_stage(records[:6], RunSettings(frames=SMALL), tmp_path, workers=0)


def test_fine_tuning_starts_from_a_checkpoint_that_export_reads(records: list[Record], tmp_path: Path) -> None:
    torch.manual_seed(3)
    other = FrameModel()
    torch.save(
        other.encoder.backbone.state_dict() | {"fc.weight": other.classifier.weight, "fc.bias": other.classifier.bias},
        tmp_path / "image.pt",
    )
    still = replace(SMALL, phases=(Phase(steps=1, window_px=32, pairs=2, windows=2),), learning_rate=1e-12, weight_decay=0.0)
    model = FrameFit(settings=still, folder=tmp_path / "run", workers=0).run(PairMaker(records), init=tmp_path / "image.pt")
    for name in ("conv1.weight", "layer1.0.conv1.weight", "layer4.2.conv3.weight"):
        found, expected = model.encoder.backbone.get_parameter(name), other.encoder.backbone.get_parameter(name)
        assert torch.allclose(found, expected, atol=1e-6), name


def test_a_run_may_go_on_in_another_folder_with_other_settings(records: list[Record], tmp_path: Path) -> None:
    before = FrameFit(settings=SMALL, folder=tmp_path / "one", workers=0).run(PairMaker(records), stop_at=2)
    still = replace(SMALL, phases=(Phase(steps=1, window_px=32, pairs=2, windows=2),), learning_rate=1e-12, weight_decay=0.0)
    after = FrameFit(settings=still, folder=tmp_path / "two", workers=0).run(
        PairMaker(records), init=tmp_path / "one" / "frames.pt"
    )
    for name, value in before.named_parameters():
        assert torch.allclose(after.get_parameter(name), value, atol=1e-6), name


def test_a_best_model_that_is_not_there_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"frames_best\.pt"):
        best_frame_model(tmp_path)
