"""Heat maps of a result: computed by the explainer when they are first asked for, and kept with the result from then on.

Not with every verdict: the explainer computes in fp32, which takes as long as the analysis itself, and most results are never asked.
For that the crops are kept as the detector saw them (``write_crops``), beside the JPEGs that people see.
"""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from client import Detector, Verdict
from client.errors import ClientError, ExplainerNotFound
from console.errors import ModelChanged, NoExplainer, NoHeatmaps, ServerDown, TooManyStreams
from preprocess import Extraction

_CROPS = "crops-{track}.npy"
_MAPS = "heatmaps.npz"
_MOST_WAITING = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackMaps:
    """Of one person."""

    track_id: int
    score: float
    """Of the explainer, which computes in fp32."""
    evidence: NDArray[np.float32]
    """(T, S, S), in the order of the verdict's frames; positive raised the score."""

    @property
    def heatmaps(self) -> NDArray[np.float32]:
        """(T, S, S), 0 and above: Grad-CAM."""
        return np.maximum(self.evidence, 0.0)

    @property
    def largest(self) -> float:
        """Of the whole clip: what the pictures' colours are scaled by."""
        return float(self.heatmaps.max())


def write_crops(folder: Path, extraction: Extraction) -> None:
    """Keeps the crops without loss, (T, H, W, 3) uint8 RGB."""
    for clip in extraction.clips:
        np.save(folder / _CROPS.format(track=clip.track_id), clip.frames)


class HeatMaps:
    """Asks the explainer, for one result at a time: a crowd must starve neither the detector nor the threads of other requests."""

    def __init__(self, triton_url: str) -> None:
        self._url = triton_url
        self._thread = ThreadPoolExecutor(1, "unmask-heatmaps")
        self._waiting = 0
        self._detectors: dict[str, Detector] = {}

    async def of(self, folder: Path, verdict: Verdict) -> tuple[TrackMaps, ...]:
        """The maps of a result whose files lie in ``folder``.

        Raises:
            NoHeatmaps: Nobody was scored, or the crops were not kept.
            NoExplainer, ModelChanged, ServerDown: They cannot be computed by this server, or not now.
            TooManyStreams: So many wait for theirs already.
        """
        if (found := await run_in_threadpool(_read, folder)) is not None:
            return found
        if self._waiting >= _MOST_WAITING:
            raise TooManyStreams(
                f"{_MOST_WAITING} requests wait for heat maps already, the limit; ask again in a moment", retry_after_s=5
            )
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._thread.submit(self._of, folder, verdict))
        finally:
            self._waiting -= 1

    def _of(self, folder: Path, verdict: Verdict) -> tuple[TrackMaps, ...]:
        if (found := _read(folder)) is None:  # else computed while this one waited
            found = self._compute(folder, verdict)
            _write(folder, found)
        return found

    def _compute(self, folder: Path, verdict: Verdict) -> tuple[TrackMaps, ...]:
        scored = [track for track in verdict.tracks if track.frames]
        if not scored:
            raise NoHeatmaps("nobody in this file was scored, so there is nothing to explain; its page says why")
        name = verdict.model.info.detector
        detector = self._detectors.setdefault(name, Detector(self._url, detector=name))
        maps = []
        try:
            served = detector.model().info.weights_sha256
            if served != verdict.model.info.weights_sha256:
                raise ModelChanged(
                    f"this result is of weights {verdict.model.info.weights_sha256[:12]}, and {name} is served with "
                    f"{served[:12]} now; check the file again for maps of those"
                )
            for track in scored:
                try:
                    crops = np.load(folder / _CROPS.format(track=track.track_id), allow_pickle=False)
                except (OSError, ValueError) as error:
                    raise NoHeatmaps(
                        "the faces of this result were not kept as the detector saw them; check it again"
                    ) from error
                found = detector.explain_frames(crops)
                maps.append(TrackMaps(track_id=track.track_id, score=found.scores.score, evidence=found.evidence))
        except ExplainerNotFound as error:
            raise NoExplainer(str(error)) from error
        except ClientError as error:
            raise ServerDown(str(error), code=error.code, retry_after_s=2) from error
        return tuple(maps)

    def close(self) -> None:
        """Lets go of the connections."""
        self._thread.shutdown(cancel_futures=True)
        for detector in self._detectors.values():
            detector.close()


def _read(folder: Path) -> tuple[TrackMaps, ...] | None:
    try:
        with np.load(folder / _MAPS, allow_pickle=False) as stored:
            return tuple(
                TrackMaps(track_id=int(name), score=float(stored[f"score-{name}"]), evidence=stored[name])
                for name in stored.files
                if name.isdecimal()
            )
    except (OSError, ValueError, KeyError):
        return None


def _write(folder: Path, maps: tuple[TrackMaps, ...]) -> None:
    """A reader sees all of it or nothing; a result that was deleted meanwhile stays deleted."""
    arrays = {str(item.track_id): item.evidence for item in maps}
    arrays |= {f"score-{item.track_id}": np.float64(item.score) for item in maps}  # type: ignore[misc]
    draft = folder / f".{secrets.token_hex(4)}.npz"
    try:
        np.savez(draft, **arrays)
        draft.replace(folder / _MAPS)
    except FileNotFoundError:
        return
