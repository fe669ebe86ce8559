"""One open file -> ``Extraction``, in this process: one thread decodes, the caller's detects, follows and crops."""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from preprocess.assembly import SampledFrame, Sighting, assemble
from preprocess.clip import Dropped, Extraction, SourceFacts
from preprocess.crops import crop_aligned, crop_square, encode_picture, shrink_picture
from preprocess.deadline import Deadline
from preprocess.errors import UndecodableError
from preprocess.faces import FaceFinder
from preprocess.images import read_image
from preprocess.media import Container, identify
from preprocess.options import ExtractionOptions
from preprocess.quality import measure, reason_to_drop
from preprocess.sampling import SamplePlan, plan_samples
from preprocess.settings import PreprocessSettings
from preprocess.tracks import CutFinder, Tracker
from preprocess.video import DecodedFrame, VideoReader

LOOK_ROUND_EVERY = 8
"""Sampled frames between searches for small and new faces; the first one and the first after a cut always are."""


Progress = Callable[[int, int], None]
"""Called with the sampled frames that are done and how many there are in all."""


class StageClock:
    """Seconds by stage of one thread's work; stages do not nest, so they add up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


_ENCODERS = min(4, len(os.sched_getaffinity(0)))
_SHRUNK_FRAMES = 64
"""Pictures that wait to be encoded, at most; 0.7 MB each at 640 px."""


class FramePipeline:
    """Looks for faces in the sampled frames of one file, given in order of time."""

    def __init__(self, finder: FaceFinder, options: ExtractionOptions, settings: PreprocessSettings, clock: StageClock) -> None:
        self._finder = finder
        self._options = options
        self._settings = settings
        self._clock = clock
        self._tracker = Tracker()
        self._cuts = CutFinder()
        self._since_look_round = LOOK_ROUND_EVERY
        self.frames: list[SampledFrame] = []
        self.sizes_px: list[tuple[int, int]] = []
        """Width and height of the first frame and of each that differs from the one before."""
        self._pictures: dict[int, bytes] = {}
        self._shrunk: dict[int, NDArray[np.uint8]] = {}

    def add(self, index: int, timestamp_s: float, rgb: NDArray[np.uint8]) -> None:
        """Takes the next sampled frame, (H, W, 3) uint8 RGB, upright."""
        with self._clock.stage("track"):
            height, width = rgb.shape[:2]
            resized = bool(self.sizes_px) and self.sizes_px[-1] != (width, height)
            if resized or not self.sizes_px:
                self.sizes_px.append((width, height))
            # Boxes before and after are in different pixels and cannot be compared.
            cut = self._cuts.is_cut(rgb) or resized
            if cut:
                self._tracker.cut()
            expected = self._tracker.expected(timestamp_s)
            look_round = cut or self._since_look_round >= LOOK_ROUND_EVERY
            self._since_look_round = 1 if look_round else self._since_look_round + 1
        with self._clock.stage("detect"):
            faces = self._finder.find(rgb, expected=expected, look_round=look_round)
        with self._clock.stage("track"):
            keys = self._tracker.update([face.box for face in faces], timestamp_s)
        frame = SampledFrame(index, timestamp_s)
        with self._clock.stage("crop"):
            for key, face in zip(keys, faces, strict=True):
                size, margin = self._options.image_size_px, self._options.crop_margin
                if self._options.align:
                    crop = crop_aligned(rgb, face.points, size_px=size, margin=margin)
                else:
                    crop = crop_square(rgb, face.box, size_px=size, margin=margin)
                measures = measure(crop, face)
                frame.sightings.append(Sighting(key, face, crop, measures, reason_to_drop(measures, self._settings)))
        self.frames.append(frame)
        if self._options.picture_px is not None:
            # In a thread it held up the decoder's on two processors, for three times what it saved; when the decoder is done, it is
            # cheap. What waits for that is bounded.
            with self._clock.stage("picture"):
                self._shrunk[index] = shrink_picture(rgb, self._options.picture_px)
                if len(self._shrunk) >= _SHRUNK_FRAMES:
                    self._encode()

    def pictures(self) -> dict[int, bytes]:
        """JPEGs by frame index, where the options ask for them."""
        with self._clock.stage("picture"):
            self._encode()
        return self._pictures

    def _encode(self) -> None:
        # Side by side: nothing else is computed meanwhile.
        with ThreadPoolExecutor(_ENCODERS) as pool:
            self._pictures |= dict(zip(self._shrunk, pool.map(encode_picture, self._shrunk.values()), strict=True))
        self._shrunk.clear()


def run(
    stream: BinaryIO,
    *,
    name: str,
    options: ExtractionOptions,
    settings: PreprocessSettings,
    finder: FaceFinder,
    progress: Progress | None = None,
) -> Extraction:
    """Everything from an open file to its clips.

    Raises:
        PreprocessError: Any of ``preprocess.errors`` that concern a file's content.
    """
    began = time.perf_counter()
    clock = StageClock()
    deadline = Deadline(settings.max_wall_s)
    with clock.stage("open"):
        container = identify(stream, name)
    pipeline = FramePipeline(finder, options, settings, clock)
    if container.kind == "image":
        source, plan = _run_image(stream, container, name, settings, clock, pipeline)
    else:
        source, plan = _run_video(stream, container, name, options, settings, clock, pipeline, deadline, progress)
    pictures = pipeline.pictures()
    with clock.stage("track"):
        repeats = {int(i): int(n) for i, n in zip(plan.indices, plan.repeats, strict=True) if n != 1}
        clips, dropped, notes = assemble(pipeline.frames, repeats, settings)
        seen = {frame.index for frame in pipeline.frames}
        lost = [int(index) for index in plan.indices if int(index) not in seen]
    if len(pipeline.sizes_px) > 1:
        sizes = ", ".join(f"{width}x{height}" for width, height in pipeline.sizes_px[:4])
        notes = (*notes, f"the pictures change their size ({sizes}); boxes are in pixels of their own frame")
    times_s = {int(index): time_s for index, time_s in zip(plan.indices, plan.timestamps_s, strict=True)}
    if lost:
        notes = (*notes, f"{len(lost)} of {len(plan.indices)} sampled frames could not be decoded")
        missing = tuple(Dropped(frame_index=i, timestamp_s=float(times_s[i]), reason="not_decoded") for i in lost)
        dropped = tuple(sorted((*dropped, *missing), key=lambda drop: drop.frame_index))
    return Extraction(
        source=source,
        clips=clips,
        sampled_frame_indices=plan.indices,
        sampled_timestamps_s=plan.timestamps_s,
        dropped=dropped,
        notes=(*plan.notes, *notes),
        stage_s={**clock.seconds, "total": time.perf_counter() - began},
        pictures=pictures,
    )


def _run_image(
    stream: BinaryIO,
    container: Container,
    name: str,
    settings: PreprocessSettings,
    clock: StageClock,
    pipeline: FramePipeline,
) -> tuple[SourceFacts, SamplePlan]:
    with clock.stage("decode"):
        rgb, turn_deg = read_image(stream, container, name=name, settings=settings)
    pipeline.add(0, 0.0, rgb)
    source = SourceFacts(
        path=name,
        kind="image",
        container=container.name,
        codec=container.name,
        width_px=rgb.shape[1],
        height_px=rgb.shape[0],
        rotation_deg=turn_deg,
        fps=None,
        frame_count=1,
        duration_s=None,
        size_bytes=os.fstat(stream.fileno()).st_size,
    )
    return source, SamplePlan(np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros(1), ())


def _run_video(
    stream: BinaryIO,
    container: Container,
    name: str,
    options: ExtractionOptions,
    settings: PreprocessSettings,
    clock: StageClock,
    pipeline: FramePipeline,
    deadline: Deadline,
    progress: Progress | None,
) -> tuple[SourceFacts, SamplePlan]:
    with clock.stage("open"):
        reader = VideoReader(stream, container, name=name, settings=settings, deadline=deadline)
    with reader:
        plan = plan_samples(reader.timestamps_s, options)
        ahead = _ReadAhead(reader, plan.indices, settings.queued_frames)
        unreadable: UndecodableError | None = None
        try:
            while True:
                with clock.stage("decode"):
                    frame = ahead.next()
                if frame is None:
                    break
                try:
                    with clock.stage("convert"):
                        rgb = frame.to_rgb()
                except UndecodableError as error:
                    unreadable = error
                    continue
                pipeline.add(frame.index, frame.timestamp_s, rgb)
                if progress is not None:
                    progress(len(pipeline.frames), len(plan.indices))
                deadline.check()
        finally:
            with clock.stage("decode"):
                ahead.stop()
        if not pipeline.frames:
            why = "it may be damaged: copy it again" if unreadable is None else str(unreadable)
            raise UndecodableError(f"none of the {len(plan.indices)} sampled frames of {name} can be decoded; {why}")
        width, height = reader.size_px
        source = SourceFacts(
            path=name,
            kind="video",
            container=container.name,
            codec=reader.codec,
            width_px=width,
            height_px=height,
            rotation_deg=reader.orientation.turn_deg,
            fps=reader.fps,
            frame_count=reader.frame_count,
            duration_s=reader.duration_s,
            size_bytes=os.fstat(stream.fileno()).st_size,
        )
    return source, plan


class _ReadAhead:
    """Decodes in a thread of its own, a few frames ahead. FFmpeg lets go of the interpreter while it works."""

    def __init__(self, reader: VideoReader, indices: NDArray[np.int64], queued: int) -> None:
        self._queue: queue.Queue[DecodedFrame | BaseException | None] = queue.Queue(maxsize=queued)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(reader, indices), name="unmask-decode", daemon=True)
        self._thread.start()

    def _work(self, reader: VideoReader, indices: NDArray[np.int64]) -> None:
        last: BaseException | None = None
        try:
            for frame in reader.frames(indices):
                if not self._put(frame):
                    return
        except BaseException as error:  # it belongs to the caller's thread
            last = error
        self._put(last)

    def _put(self, item: DecodedFrame | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def next(self) -> DecodedFrame | None:
        """The next frame, or None at the end; raises what decoding raised."""
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """Ends the thread; the reader may be closed after it."""
        self._stopped.set()
        self._thread.join()
