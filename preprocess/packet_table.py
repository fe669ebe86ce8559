"""What demuxing alone tells of a video, and which of its packets some frames need."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_SKIPPED_PACKETS = 32
"""Packets in a row that must not be needed before they are left out; draining the decoder costs about as much as a few."""


@dataclass(frozen=True, slots=True)
class PacketTable:
    """One entry a frame, in decoding order."""

    pts: NDArray[np.int64]
    """Presentation times in the stream's ticks, each once."""
    dts: NDArray[np.int64]
    random_access: NDArray[np.bool_]
    """Decoding may start here, and every picture shown at or after it comes out as if it had started at the beginning."""

    def place(self, pts: int | None, dts: int | None) -> int | None:
        """Place of the packet with these times, or None."""
        found = np.flatnonzero((self.pts == pts) & (self.dts == (pts if dts is None else dts)))
        return int(found[0]) if len(found) == 1 else None

    def runs(self, wanted_pts: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Runs of packets, start and exclusive end, that decode to the pictures of the rising ``wanted_pts``.

        Each run starts at 0 or at a point of random access that is shown no later than what it is decoded for.
        """
        by_pts = np.argsort(self.pts, kind="stable")
        targets = np.sort(by_pts[np.searchsorted(self.pts, wanted_pts, sorter=by_pts)])
        starts = np.flatnonzero(self.random_access)
        runs: list[tuple[int, int]] = []
        for target in targets.tolist():
            candidate = int(np.searchsorted(starts, target, side="right")) - 1
            while candidate >= 0 and self.pts[starts[candidate]] > self.pts[target]:
                candidate -= 1
            start = int(starts[candidate]) if candidate >= 0 else 0
            # An open group of pictures: decoded after its key frame, shown before it, and needing the group before. The
            # run that another target began at that key frame has to begin earlier.
            while runs and runs[-1][0] > start:
                runs.pop()
            end = runs[-1][1] if runs else 0
            if start - end >= MIN_SKIPPED_PACKETS:
                runs.append((start, target + 1))
            else:
                runs[-1:] = [(runs[-1][0] if runs else 0, target + 1)]
        return runs
