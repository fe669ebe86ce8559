"""The cache of faces."""

from pathlib import Path

import numpy as np
import pytest

from training.errors import ShardError
from training.shards import Record, read_shards, write_shard


def test_records_read_back_as_they_were(records: list[Record], tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.npz", records)
    for before, after in zip(records, read_shards([path]), strict=True):
        assert after.encoded == before.encoded
        assert (after.identity, after.split, after.label, after.source) == (
            before.identity,
            before.split,
            before.label,
            before.source,
        )
        assert np.allclose(after.box_px, before.box_px)
        assert np.allclose(after.points_px, before.points_px)


def test_a_damaged_shard_is_named(records: list[Record], tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.npz", records[:2])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ShardError, match=r"a\.npz cannot be read"):
        read_shards([path])


def test_an_empty_file_and_one_array_are_no_shards(tmp_path: Path) -> None:
    (tmp_path / "empty.npz").touch()
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    for name in ("empty.npz", "array.npz"):
        with pytest.raises(ShardError, match=f"{name} cannot be read as a shard"):
            read_shards([tmp_path / name])


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"none\.npz"):
        read_shards([tmp_path / "none.npz"])


def test_an_empty_shard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="at least one"):
        write_shard(tmp_path / "a.npz", [])
