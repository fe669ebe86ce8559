"""Frames of a video by their place in presentation order, decoded by FFmpeg through PyAV.

PyAV was measured against OpenCV's FFmpeg (``benchmarks/preprocessing``): equal speed, but only PyAV tells presentation
times, takes an open file instead of a path (so that the demuxer can open nothing else) and lets one demuxer be named.
"""

import itertools
import logging
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from preprocess.deadline import Deadline
from preprocess.errors import (
    NamesOtherFilesError,
    PreprocessError,
    TooLongError,
    TooManyFramesError,
    TooManyPixelsError,
    UndecodableError,
)
from preprocess.guarded_file import GuardedFile
from preprocess.media import Container
from preprocess.orientation import AS_STORED, Orientation, of_display_matrix
from preprocess.packet_table import PacketTable
from preprocess.random_access import is_disposable, is_random_access
from preprocess.settings import PreprocessSettings

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

MIN_SEEK_PACKETS = 250
"""Packets to pass over from which asking the container's index is quicker than reading on."""

_BT709, _UNSPECIFIED, _BT601, _BT2020, _BT2020_CONSTANT = 1, 2, 5, 9, 10  # MatrixCoefficients, ITU-T H.273, table 4


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A picture still as the decoder gave it; ``to_rgb`` is where the work is."""

    index: int
    """Position in presentation order."""
    timestamp_s: float
    picture: "VideoFrame"
    orientation: Orientation = AS_STORED
    """What makes it upright."""

    def to_rgb(self) -> NDArray[np.uint8]:
        """Upright picture, (H, W, 3) uint8 RGB, contiguous.

        Raises:
            UndecodableError: Its colours or its pixel format cannot be converted.
        """
        import av

        frame = self.picture
        matrix = int(frame.colorspace)
        if matrix == _UNSPECIFIED:
            # Files that do not say their matrix mean BT.709 from 720 lines up and BT.601 below: so do players.
            matrix = _BT709 if frame.height >= 720 else _BT601
        elif matrix == _BT2020_CONSTANT:
            # FFmpeg has no conversion for constant luminance; the other BT.2020 is a few levels off, as in players.
            matrix = _BT2020
        try:
            rgb = frame.to_ndarray(format="rgb24", src_colorspace=matrix, dst_colorspace=matrix, threads=1)
        except (av.FFmpegError, ValueError) as error:
            raise UndecodableError(
                f"pictures of format {frame.format.name} with colour matrix {matrix} (ITU-T H.273) cannot be converted to RGB: "
                f"{getattr(error, 'strerror', None) or error}; convert the file to BT.709"
            ) from error
        return self.orientation.upright(np.asarray(rgb, np.uint8))


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
        self._file = GuardedFile(stream, name)
        self._kind = container
        self._name = name
        self._settings = settings
        self._deadline = deadline
        self._threads = settings.decoder_threads or min(8, len(os.sched_getaffinity(0)))
        self.decoded_frames = 0
        """Frames that the decoder has given so far."""
        self._at = 0
        self._rotation_deg: int | None = None
        """That of the frame from which the orientation was read."""
        self.orientation = AS_STORED
        """That of the last wanted frame."""
        self._container, self._stream = self._open()
        try:
            self._read_facts()
            self._table = self._demux()
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
                # A frame whose side data was asked for is in a reference cycle and lives until the garbage collector comes.
                if frame.rotation != self._rotation_deg:
                    self._rotation_deg, self.orientation = frame.rotation, _orientation(frame)
                yield DecodedFrame(index, float(self.timestamps_s[index]), frame, self.orientation)
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
        except (av.FFmpegError, ValueError) as error:
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
        # Of several the one that FFmpeg takes for the main one: a still that is not marked as cover art may come first.
        best = container.streams.best("video")
        stream = best if isinstance(best, av.VideoStream) and best in streams else streams[0]
        if stream.codec_context is None:
            container.close()
            raise UndecodableError(f"{self._name} has a video codec that this FFmpeg cannot decode; convert it to H.264")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = self._threads
        # What the container says of a frame's size is one thing; the decoder refuses what the pictures say.
        stream.codec_context.options = {"max_pixels": str(self._settings.max_frame_pixels)}
        return container, stream

    def _reopen(self) -> None:
        self._container.close()
        self._container, self._stream = self._open()
        self._at = 0

    def _refuse_open(self, url: str, flags: int, options: dict[str, Any]) -> Any:  # noqa: ARG002
        raise NamesOtherFilesError(f"{self._name} asked to open {url[:200]!r}; only the file itself is read")

    def _read_facts(self) -> None:
        context = self._stream.codec_context
        self.codec = context.name
        self._check_pixels(context.width, context.height)
        self._stored = (context.width, context.height)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height, upright."""
        width, height = self._stored
        return (height, width) if self.orientation.on_its_side else (width, height)

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
            except (av.FFmpegError, ValueError) as error:
                logger.debug("demuxing of %s ended early: %s", self._name, error)
                packet = None
            self._file.check()
            if packet is None:
                return
            if packet.size:
                yield packet

    def _demux(self) -> PacketTable | None:
        """The table, or None where the packets do not tell every frame's time."""
        pts, dts = array("q"), array("q")
        random_access = bytearray()
        extradata = self._stream.codec_context.extradata
        for packet in self._packets():
            if len(pts) % 1024 == 0:
                self._deadline.check()
            if packet.is_discard:
                continue
            if packet.pts is None:
                return None
            pts.append(packet.pts)
            dts.append(packet.pts if packet.dts is None else packet.dts)
            random_access.append(is_random_access(self.codec, packet, extradata))
            self._check_frames(len(pts))
        table = PacketTable(
            np.array(pts, np.int64), np.array(dts, np.int64), np.frombuffer(random_access, np.uint8).astype(np.bool_)
        )
        return table if len(np.unique(table.pts)) == len(table.pts) > 0 else None

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
        """What decoding gives for the packets that the wanted presentation times need; None: for all of them."""
        table = self._table
        if table is None or wanted_pts is None:
            for packet in self._packets():
                yield from self._decode(packet)
            yield from self._decode(None)
            return
        wanted = set(wanted_pts.tolist())
        extradata = self._stream.codec_context.extradata
        for start, end in table.runs(wanted_pts):
            for packet in self._packets_between(table, start, end):
                if packet.pts in wanted or not is_disposable(self.codec, packet, extradata):
                    yield from self._decode(packet)
            yield from self._decode(None)
            self._stream.codec_context.flush_buffers()

    def _packets_between(self, table: PacketTable, start: int, end: int) -> "Iterator[Packet[VideoStream]]":
        """Packets of the table from ``start`` to ``end`` (exclusive); ``self._at`` is the place of the next one."""
        packets = self._packets()
        if start - self._at >= MIN_SEEK_PACKETS:
            self._container.seek(int(table.pts[start]), stream=self._stream, backward=True)
            packets = self._packets()
            first = next(packets, None)
            place = table.place(first.pts, first.dts) if first is not None else None
            if place is None or not self._at <= place <= start or first is None:
                # The container's index leads elsewhere; reading from the beginning always arrives.
                logger.debug("seeking in %s led to %s instead of packet %d", self._name, place, start)
                self._reopen()
                packets = self._packets()
            else:
                self._at = place
                packets = itertools.chain([first], packets)
        for packet in packets:
            if packet.is_discard:
                # Before an edit list's start: decoded for those that follow, never shown.
                if self._at >= start:
                    yield packet
                continue
            self._at += 1
            if self._at > start:
                yield packet
            if self._at >= end:
                return

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
            self.decoded_frames += 1
            if self.decoded_frames > self._settings.max_decoded_frames:
                raise TooManyFramesError(
                    f"{self._name} needs more than {self._settings.max_decoded_frames} frames decoded; raise "
                    "UNMASK_PREPROCESS_MAX_DECODED_FRAMES or look at a shorter span"
                )
            self._check_pixels(frame.width, frame.height)
            yield frame

    def _undecodable(self, error: Exception) -> UndecodableError:
        return UndecodableError(
            f"{self._name} cannot be read as {self._kind.name}: {getattr(error, 'strerror', None) or error}; "
            "it may be damaged or cut off: copy it again"
        )


def _orientation(frame: "VideoFrame") -> Orientation:
    from av.sidedata.sidedata import Type

    # PyAV's stubs say that the keys are strings; they are of this enumeration.
    matrix = cast(Any, frame.side_data).get(Type.DISPLAYMATRIX)
    return AS_STORED if matrix is None else of_display_matrix(bytes(matrix))


def _demuxer_names(demuxer: str) -> tuple[str, ...]:
    return {"mov": ("mov,mp4,m4a,3gp,3g2,mj2",), "matroska": ("matroska,webm",)}.get(demuxer, (demuxer,))
