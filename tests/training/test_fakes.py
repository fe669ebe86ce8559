"""What pairs and clips promise: real and fake differ where the mask is, and in nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from training.batches import FrameBatches, Phase
from training.clips import FRAME_KINDS, MIN_VIDEO_FACES, TEMPORAL_KINDS, ClipKind, ClipMaker, crops_of
from training.corruptions import Corruption, draw, encode_clip
from training.errors import EmptyClassError, PictureError
from training.fakes.blend import self_blend, swap
from training.pairs import MIN_FACE_PX, PairMaker, PairOptions
from training.shards import Record

OPTIONS = PairOptions(image_size_px=112, crop_margin=1.3)


@pytest.mark.parametrize("seed", range(6))
def test_self_blending_changes_nothing_outside_its_mask(records: list[Record], seed: int) -> None:
    record = records[seed]
    pair = self_blend(record.picture(), record.points_px, np.random.default_rng(seed))
    assert np.array_equal(pair.real[pair.mask == 0], pair.fake[pair.mask == 0])
    assert 0 < pair.mask.max() <= 1
    assert np.abs(pair.real.astype(int) - pair.fake)[pair.mask > 0.3].mean() > 0.5


def test_a_swap_takes_the_inner_face_of_the_other(records: list[Record]) -> None:
    base, donor = records[0], records[1]
    pair = swap(base.picture(), base.points_px, donor.picture(), donor.points_px, np.random.default_rng(3))
    assert np.array_equal(pair.real, base.picture())
    assert np.array_equal(pair.real[pair.mask == 0], pair.fake[pair.mask == 0])
    assert np.abs(pair.real.astype(int) - pair.fake)[pair.mask > 0.3].mean() > 2


def test_a_pair_is_made_of_its_seed_alone(records: list[Record]) -> None:
    maker = PairMaker(records)
    a, b, c = (maker.make(np.random.default_rng(seed), OPTIONS) for seed in (5, 5, 6))
    assert np.array_equal(a.crops, b.crops)
    assert not np.array_equal(a.crops, c.crops)
    assert a.crops.shape == (2, 112, 112, 3)


def test_faces_keep_their_least_size(records: list[Record]) -> None:
    maker = PairMaker(records)
    sizes = [maker.make(np.random.default_rng(seed), OPTIONS).face_px for seed in range(40)]
    assert min(sizes) >= MIN_FACE_PX - 1
    assert min(sizes) < 0.7 * max(sizes)


@pytest.mark.parametrize("codec", ["jpeg", "h264", "mpeg1", "mpeg4"])
def test_codecs_keep_the_picture_and_cost_more_at_higher_levels(records: list[Record], codec: str) -> None:
    picture = records[0].picture()[:161, :175]
    losses = []
    for level in (0.0, 1.0):
        out = Corruption(codec=codec, level=level).apply(picture)  # type: ignore[arg-type]
        assert out.shape == picture.shape
        losses.append(float(np.abs(out.astype(int) - picture).mean()))
    assert losses[0] < losses[1] < 20


def test_a_video_codec_gives_back_every_frame(records: list[Record]) -> None:
    frames = [np.roll(records[0].picture(), shift, axis=1) for shift in range(5)]
    assert [f.shape for f in encode_clip(frames, "h264", 0.5)] == [f.shape for f in frames]


def test_corruptions_are_drawn_without_the_class() -> None:
    drawn = [draw(np.random.default_rng(seed), severity=1.0, min_scale=0.4) for seed in range(200)]
    assert {c.codec for c in drawn} == {"none", "jpeg", "h264", "mpeg1", "mpeg4"}
    assert 0.4 <= min(c.scale for c in drawn) < 0.6
    assert all(c.scale == 1.0 or c.scale < 1.0 for c in drawn)


@pytest.mark.parametrize("kind", [*FRAME_KINDS, *TEMPORAL_KINDS])
def test_clips_differ_from_their_genuine_ones(records: list[Record], kind: ClipKind) -> None:
    pair = ClipMaker(records).make(kind, 6, np.random.default_rng(1), severity=0.0)
    assert len(pair.real) == len(pair.fake) == len(pair.boxes) == 6
    assert any(not np.array_equal(a, b) for a, b in zip(pair.real, pair.fake, strict=True))
    crops = crops_of(pair.real, pair.boxes, np.random.default_rng(0), size_px=112, margin=1.3)
    assert crops.shape == (6, 112, 112, 3)


def test_videos_of_any_data_set_are_clips_and_files_of_one_name_are_apart(records: list[Record]) -> None:
    frames = [
        replace(records[person], dataset="faceforensics", identity=f"{person}", source="c23/000.mp4")
        for person in (0, 1) for _ in range(8)
    ]  # fmt: skip
    maker = ClipMaker([*frames, records[2]])
    assert [{record.identity for record in clip} for clip in maker.videos] == [{"0"}, {"1"}]
    assert maker.photographs == [records[2]]


def test_a_draw_does_the_same_to_both_of_a_pair(records: list[Record]) -> None:
    picture = records[0].picture()
    for seed in range(12):
        corruption = draw(np.random.default_rng(seed), severity=1.0, min_scale=0.4)
        assert np.array_equal(corruption.apply(picture), corruption.apply(picture.copy())), corruption


def test_flicker_moves_the_face_against_its_surroundings(records: list[Record]) -> None:
    pair = ClipMaker(records).make("flicker", 8, np.random.default_rng(4), severity=0.0)
    difference = [float((b.astype(int) - a).mean()) for a, b in zip(pair.real, pair.fake, strict=True)]
    assert np.std(difference) > 0.3


def test_windows_lie_in_the_crop_and_reals_have_no_mask(records: list[Record]) -> None:
    batch = FrameBatches(PairMaker(records), [Phase(steps=2, window_px=48, pairs=3, windows=2)], OPTIONS, 1)[0]
    assert batch.frames.shape == (12, 48, 48, 3)
    assert batch.labels.tolist() == [0] * 6 + [1] * 6
    assert float(batch.masks[:6].abs().max()) == 0.0
    assert float(batch.masks[6:].max()) > 0.1
    assert float(batch.weights[:6].min()) == 1.0


def test_no_real_picture_is_an_empty_class(records: list[Record]) -> None:
    with pytest.raises(EmptyClassError, match="of 1 pictures none is real"):
        PairMaker([replace(records[0], label="fake")])


def test_a_swap_among_one_person_says_so(records: list[Record]) -> None:
    maker = PairMaker([records[0], records[0]])
    with pytest.raises(EmptyClassError, match="nobody but person-0"):
        maker.make(np.random.default_rng(0), replace(OPTIONS, swap_share=1.0))


def test_a_swap_finds_the_few_others(records: list[Record]) -> None:
    many = [replace(records[0], source=f"{number}.png") for number in range(400)] + [records[1]]
    maker, clips = PairMaker(many), ClipMaker(many)
    for number in range(20):
        rng = np.random.default_rng(number)
        assert many[maker._donor(0, rng)].identity != records[0].identity
        assert clips._donor(records[0].identity, rng).identity != records[0].identity


def test_videos_of_too_few_faces_are_no_clips(records: list[Record]) -> None:
    short = [replace(records[0], source="film.mp4") for _ in range(MIN_VIDEO_FACES - 1)]
    with pytest.raises(EmptyClassError, match="1 videos, none with 8 faces, and no photograph"):
        ClipMaker(short)


def test_a_photograph_cannot_freeze(records: list[Record]) -> None:
    kinds = (*FRAME_KINDS, *TEMPORAL_KINDS)
    assert "frozen" not in ClipMaker(records).makeable(kinds)
    film = [replace(records[0], source="film.mp4") for _ in range(MIN_VIDEO_FACES)]
    assert ClipMaker([*records, *film]).makeable(kinds) == kinds


def test_a_corrupt_picture_is_named(records: list[Record]) -> None:
    maker = PairMaker([replace(records[0], encoded=b"\xff\xd8broken", source="broken.jpg")])
    with pytest.raises(PictureError, match=r"broken\.jpg cannot be decoded"):
        maker.make(np.random.default_rng(0), replace(OPTIONS, swap_share=0.0))
