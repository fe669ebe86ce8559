"""Frames of a video by their place in presentation order, decoded by FFmpeg through PyAV.

PyAV was measured against OpenCV's FFmpeg (``benchmarks/preprocessing``): equal speed, but only PyAV tells presentation
times, takes an open file instead of a path (so that the demuxer can open nothing else) and lets one demuxer be named.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from preprocess.deadline import Deadline
from preprocess.errors import (
    FileChangedError,
    NamesOtherFilesError,
    PreprocessError,
    TooLongError,
    TooManyFramesError,
    TooManyPixelsError,
    UndecodableError,
)
from preprocess.media import Container
from preprocess.random_access import is_random_access
from preprocess.settings import PreprocessSettings

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

MIN_SKIPPED_PACKETS = 32
"""Packets in a row that must not be needed before they are left out; draining the decoder costs about as much as a few."""


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A picture still as the decoder gave it; ``to_rgb`` is where the work is."""

    index: int
    """Position in presentation order."""
    timestamp_s: float
    picture: "VideoFrame"
    turn_deg: int
    """Clockwise turn that makes it upright."""

    def to_rgb(self) -> NDArray[np.uint8]:
        """Upright picture, (H, W, 3) uint8 RGB, contiguous."""
        frame = self.picture
        # Files that do not say their matrix mean BT.709 from 720 lines up and BT.601 below: so do players.
        unspecified = frame.colorspace == 2
        matrix = (1 if frame.height >= 720 else 5) if unspecified else frame.colorspace
        rgb = frame.to_ndarray(format="rgb24", src_colorspace=matrix, dst_colorspace=matrix)
        return np.ascontiguousarray(np.rot90(rgb, -(self.turn_deg // 90)), np.uint8)


@dataclass(frozen=True, slots=True)
class PacketTable:
    """What demuxing alone tells, one entry a frame in decoding order."""

    pts: NDArray[np.int64]
    random_access: NDArray[np.bool_]
    """Decoding may start here and every later-or-equal presentation time comes out as if it had started at 0."""


class VideoReader:
    """A video file, opened. Not thread-safe; close it, or use it as a context manager.

    Args:
        stream: The file, opened unbuffered; FFmpeg reads it through this object and can open nothing else.
        container: What ``identify`` found; its demuxer is the only one that is tried.
        name: For messages.

    Raises:
        UndecodableError: No video stream, no decoder, or not one frame.
        TooManyPixelsError, TooManyFramesError, TooLongError, TimeLimitError: Limits of the settings.
    """

    def __init__(
        self, stream: BinaryIO, container: Container, *, name: str, settings: PreprocessSettings, deadline: Deadline
    ) -> None:
        self._file = _GuardedFile(stream, name)
        self._kind = container
        self._name = name
        self._settings = settings
        self._deadline = deadline
        self._threads = settings.decoder_threads or min(8, len(os.sched_getaffinity(0)))
        self._decoded = 0
        self._container, self._stream = self._open()
        try:
            self._read_facts()
            table = self._demux()
            self._table = table if len(np.unique(table.pts)) == len(table.pts) > 0 else None
            pts = np.sort(self._table.pts) if self._table is not None else self._decode_all_pts()
            if len(pts) == 0:
                raise UndecodableError(f"{name} holds no video frame; it may be cut off: copy it again")
            self._pts = pts
            time_base = self._stream.time_base or Fraction(1, 1000)
            self.timestamps_s: NDArray[np.float64] = (pts - self._zero_pts(pts, time_base)) * float(time_base)
            self._check_duration()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the decoder; the file stays open, it is the caller's."""
        self._container.close()

    @property
    def frame_count(self) -> int:
        """Frames in the file."""
        return len(self._pts)

    @property
    def duration_s(self) -> float:
        """From the first frame's time to the end of the last one."""
        if len(self.timestamps_s) < 2:
            return 0.0
        span_s = float(self.timestamps_s[-1] - self.timestamps_s[0])
        return span_s + span_s / (len(self.timestamps_s) - 1)

    @property
    def fps(self) -> float | None:
        """Mean frames a second; None for a single frame."""
        return self.frame_count / self.duration_s if self.duration_s > 0 else None

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> Iterator[DecodedFrame]:
        """Decodes the frames of rising ``indices``, in this order. One that cannot be decoded is left out.

        What comes is what decoding in order from the start gives: packets are left out only up to a point from which
        the codec's standard guarantees the same pictures.

        Raises:
            UndecodableError, TooManyFramesError, TimeLimitError, FileChangedError
        """
        wanted = {int(self._pts[index]): int(index) for index in indices}
        if not wanted:
            return
        self._reopen()
        for frame in self._pictures(np.array(sorted(wanted), np.int64)):
            index = wanted.pop(frame.pts, None) if frame.pts is not None else None
            if index is not None:
                yield DecodedFrame(index, float(self.timestamps_s[index]), frame, self.turn_deg)
            if not wanted:
                return

    # -- opening ------------------------------------------------------------------------------------------------------

    def _open(self) -> "tuple[InputContainer, VideoStream]":
        import av

        self._file.seek(0)
        try:
            container = av.open(
                self._file,
                mode="r",
                format=self._kind.demuxer,
                container_options={"protocol_whitelist": "", "format_whitelist": ",".join(_demuxer_names(self._kind.demuxer))},
                buffer_size=1 << 18,
                io_open=self._refuse_open,
                metadata_errors="replace",
            )
        except PreprocessError:
            raise
        except (av.FFmpegError, ValueError, OSError) as error:
            raise self._undecodable(error) from error
        streams = [
            stream
            for stream in container.streams.video
            # Cover art is a video stream to FFmpeg; 1 << 10 is AV_DISPOSITION_ATTACHED_PIC.
            if not int(stream.disposition) & 1 << 10
        ]
        if not streams:
            container.close()
            raise UndecodableError(f"{self._name} is {self._kind.name} without a video stream; give a file with pictures")
        stream = streams[0]
        if stream.codec_context is None:
            container.close()
            raise UndecodableError(f"{self._name} has a video codec that this FFmpeg cannot decode; convert it to H.264")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = self._threads
        return container, stream

    def _reopen(self) -> None:
        self._container.close()
        self._container, self._stream = self._open()

    def _refuse_open(self, url: str, flags: int, options: dict[str, Any]) -> Any:  # noqa: ARG002
        raise NamesOtherFilesError(f"{self._name} asked to open {url[:200]!r}; only the file itself is read")

    def _read_facts(self) -> None:
        context = self._stream.codec_context
        self.codec = context.name
        self._check_pixels(context.width, context.height)
        self.turn_deg = 0
        self._stored = (context.width, context.height)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height, upright."""
        width, height = self._stored
        return (height, width) if self.turn_deg in (90, 270) else (width, height)

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height > self._settings.max_frame_pixels:
            raise TooManyPixelsError(
                f"{self._name} has frames of {width}x{height} = {width * height} pixels, the limit is "
                f"{self._settings.max_frame_pixels}; raise UNMASK_PREPROCESS_MAX_FRAME_PIXELS or scale it down"
            )

    def _zero_pts(self, pts: NDArray[np.int64], time_base: Fraction) -> int:
        """The player's zero: the container's start, where it tells one; else the first frame."""
        start_us = self._container.start_time
        if start_us is None:
            return int(pts[0])
        return min(int(pts[0]), round(Fraction(start_us, 1_000_000) / time_base))

    def _check_duration(self) -> None:
        length_s = float(self.timestamps_s[-1])
        if length_s > self._settings.max_duration_s:
            raise TooLongError(
                f"{self._name} lasts {length_s:.0f} s, the limit is {self._settings.max_duration_s:g} s; "
                "raise UNMASK_PREPROCESS_MAX_DURATION_S or cut the file"
            )

    # -- demuxing -----------------------------------------------------------------------------------------------------

    def _packets(self) -> "Iterator[Packet[VideoStream]]":
        """Packets that give a frame, in decoding order, to the first one that cannot be read."""
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except PreprocessError:
                raise
            except (av.FFmpegError, ValueError, OSError) as error:
                logger.debug("demuxing of %s ended early: %s", self._name, error)
                packet = None
            self._file.check()
            if packet is None:
                return
            if packet.size:
                yield packet

    def _demux(self) -> PacketTable:
        pts: list[int] = []
        random_access: list[bool] = []
        complete = True
        extradata = self._stream.codec_context.extradata
        for packet in self._packets():
            if len(pts) % 1024 == 0:
                self._deadline.check()
            if packet.is_discard:
                continue
            if packet.pts is None:
                complete = False
                break
            pts.append(packet.pts)
            random_access.append(is_random_access(self.codec, packet, extradata))
            self._check_frames(len(pts))
        if not complete:
            pts, random_access = [], []
        return PacketTable(np.array(pts, np.int64), np.array(random_access, np.bool_))

    def _check_frames(self, count: int) -> None:
        if count > self._settings.max_file_frames:
            raise TooManyFramesError(
                f"{self._name} has more than {self._settings.max_file_frames} frames; raise "
                "UNMASK_PREPROCESS_MAX_FILE_FRAMES or cut the file"
            )

    def _decode_all_pts(self) -> NDArray[np.int64]:
        """Presentation times of a file whose packets do not tell them: by decoding it once."""
        self._reopen()
        return np.array(sorted({frame.pts for frame in self._pictures(None) if frame.pts is not None}), np.int64)

    # -- decoding -----------------------------------------------------------------------------------------------------

    def _pictures(self, wanted_pts: NDArray[np.int64] | None) -> "Iterator[VideoFrame]":
        needed = self._needed_packets(wanted_pts)
        last = len(needed) if needed is not None else None
        position = 0
        skipping = False
        for packet in self._packets():
            if packet.is_discard:
                if not skipping:
                    yield from self._decode(packet)
                continue
            if needed is not None and last is not None:
                if position >= last:
                    break
                if not needed[position]:
                    if not skipping:
                        yield from self._decode(None)
                        self._stream.codec_context.flush_buffers()
                        skipping = True
                    position += 1
                    continue
            skipping = False
            position += 1
            yield from self._decode(packet)
        if not skipping:
            yield from self._decode(None)

    def _needed_packets(self, wanted_pts: NDArray[np.int64] | None) -> NDArray[np.bool_] | None:
        """Which packets must be decoded, in decoding order, to the last one needed; None: all of the file."""
        if self._table is None or wanted_pts is None:
            return None
        pts, random_access = self._table.pts, self._table.random_access
        place = np.argsort(pts, kind="stable")
        targets = np.sort(place[np.searchsorted(pts, wanted_pts, sorter=place)])
        needed = np.zeros(int(targets[-1]) + 1, np.bool_)
        starts = np.flatnonzero(random_access)
        end = 0
        for target in targets.tolist():
            # The last start in decoding order, at or before the target, that is not shown after it.
            candidate = int(np.searchsorted(starts, target, side="right")) - 1
            while candidate >= 0 and pts[starts[candidate]] > pts[target]:
                candidate -= 1
            start = int(starts[candidate]) if candidate >= 0 else 0
            needed[(start if start - end >= MIN_SKIPPED_PACKETS else end) : target + 1] = True
            end = target + 1
        return needed

    def _decode(self, packet: "Packet[VideoStream] | None") -> "Iterator[VideoFrame]":
        import av

        try:
            frames = self._stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            # A damaged packet costs its own frames; what follows may be whole.
            logger.debug("a packet of %s cannot be decoded: %s", self._name, error)
            return
        for frame in frames:
            self._deadline.check()
            self._decoded += 1
            if self._decoded > self._settings.max_decoded_frames:
                raise TooManyFramesError(
                    f"{self._name} needs more than {self._settings.max_decoded_frames} frames decoded; raise "
                    "UNMASK_PREPROCESS_MAX_DECODED_FRAMES or look at a shorter span"
                )
            self._check_pixels(frame.width, frame.height)
            self.turn_deg = -frame.rotation % 360 if frame.rotation % 90 == 0 else 0
            yield frame

    def _undecodable(self, error: Exception) -> UndecodableError:
        return UndecodableError(
            f"{self._name} cannot be read as {self._kind.name}: {getattr(error, 'strerror', None) or error}; "
            "it may be damaged or cut off: copy it again"
        )


def _demuxer_names(demuxer: str) -> tuple[str, ...]:
    return {"mov": ("mov,mp4,m4a,3gp,3g2,mj2",), "matroska": ("matroska,webm",)}.get(demuxer, (demuxer,))


class _GuardedFile:
    """The file as FFmpeg sees it: bytes up to the size that it had when it was opened, and proof that it did not change."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._before = os.fstat(stream.fileno())
        self._position = 0

    def read(self, count: int = -1) -> bytes:
        """Bytes from the position; empty at the end."""
        left = self._before.st_size - self._position
        data = self._stream.read(left if count < 0 else min(count, left)) if left > 0 else b""
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """As io.IOBase.seek."""
        base = (0, self._position, self._before.st_size)[whence]
        self._position = self._stream.seek(min(max(base + offset, 0), self._before.st_size))
        return self._position

    def tell(self) -> int:
        """As io.IOBase.tell."""
        return self._position

    def check(self) -> None:
        """Raises:
        FileChangedError: Size or modification time are not what they were.
        """
        now = os.fstat(self._stream.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise FileChangedError(
                f"{self._name} changed while it was read ({self._before.st_size} bytes before, {now.st_size} now); "
                "wait until it is complete"
            )
