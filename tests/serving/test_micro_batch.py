"""Cutting batches of requests into micro-batches and putting the results back."""

import numpy as np
import pytest

from serving.micro_batch import MIN_FRAMES, cut, gather, leaves_streams_idle, scatter, split_evenly


@pytest.mark.parametrize("streams", [1, 2, 8])
@pytest.mark.parametrize("limit", [1, 8, 16])
def test_parts_cover_every_frame_once_and_keep_the_limit(limit: int, streams: int) -> None:
    for total in range(300):
        parts = split_evenly(total, limit=limit, streams=streams)
        assert [frame for begin, end in parts for frame in range(begin, end)] == list(range(total))
        lengths = [end - begin for begin, end in parts]
        assert all(length <= limit for length in lengths)
        if lengths:
            assert max(lengths) - min(lengths) <= 1
            assert len(parts) % streams == 0 or min(lengths) <= 2 * MIN_FRAMES


def test_frames_come_back_to_the_request_that_they_came_from() -> None:
    random = np.random.default_rng(0)
    lengths = [3, 1, 20, 7]
    arrays = [random.integers(0, 255, (length, 2), dtype=np.uint8) for length in lengths]
    results = [np.zeros((length, 2), np.float32) for length in lengths]
    for pieces in cut(lengths, limit=8, streams=2):
        scatter(results, pieces, gather(arrays, pieces).astype(np.float32) * 2)
    for array, result in zip(arrays, results, strict=True):
        np.testing.assert_array_equal(result, array.astype(np.float32) * 2)


def test_a_micro_batch_within_one_request_is_not_copied() -> None:
    frames = np.zeros((16, 4), np.uint8)
    for pieces in cut([16], limit=8, streams=2):
        assert gather([frames], pieces).base is frames


def test_short_clips_leave_streams_idle_and_long_ones_do_not() -> None:
    idle = [total for total in range(1, 40) if leaves_streams_idle(total, limit=16, streams=2)]
    assert idle == [1, 2, 3]
    assert not any(leaves_streams_idle(total, limit=16, streams=1) for total in range(1, 40))
    assert max(total for total in range(1, 40) if leaves_streams_idle(total, limit=16, streams=8)) == 9
    assert not leaves_streams_idle(17, limit=16, streams=64), "it must fit into one micro-batch"
