"""The things that are measured: each takes a clip and does one job."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.deadline import Deadline
from preprocess.faces import FaceFinder
from preprocess.media import identify, open_media
from preprocess.options import ExtractionOptions
from preprocess.pipeline import FramePipeline, StageClock
from preprocess.sampling import plan_samples
from preprocess.settings import PreprocessSettings
from preprocess.video import VideoReader

Frames = list[tuple[int, float, NDArray[np.uint8]]]
Costs = list[tuple[float, float]]
"""Of each frame: wall seconds, and processor seconds of the whole process, which a busy machine disturbs less."""


@contextmanager
def reader(clip: Path, settings: PreprocessSettings) -> Iterator[VideoReader]:
    """The project's own decoder on a clip."""
    with open_media(clip, settings) as stream:
        container = identify(stream, str(clip))
        with VideoReader(stream, container, name=str(clip), settings=settings, deadline=Deadline(600.0)) as opened:
            yield opened


def decode_pyav(clip: Path, options: ExtractionOptions) -> int:
    """PyAV's FFmpeg delivers the sampled frames as RGB and nothing is done with them: every frame is decoded in order."""
    import av

    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        total = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
        container.seek(0)
        wanted = set(plan_samples(np.arange(total, dtype=np.float64), options).indices.tolist())
        count = 0
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                frame.to_ndarray(format="rgb24", threads=1)
                count += 1
            if index == max(wanted):
                break
    return count


def decode_reader(clip: Path, options: ExtractionOptions, settings: PreprocessSettings) -> int:
    """The project's own reader delivers them, leaving out what no sampled frame depends on."""
    count = 0
    with reader(clip, settings) as opened:
        for frame in opened.frames(plan_samples(opened.timestamps_s, options).indices):
            frame.to_rgb()
            count += 1
    return count


def decode_opencv(clip: Path, options: ExtractionOptions) -> int:
    """OpenCV's FFmpeg delivers the same frames: it grabs through the file and retrieves what is wanted."""
    import cv2

    capture = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG)
    total = round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(plan_samples(np.arange(total, dtype=np.float64), options).indices.tolist())
    count = 0
    for index in range(max(wanted) + 1):
        if not capture.grab():
            break
        if index in wanted:
            cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
            count += 1
    capture.release()
    return count


def decoded(clip: Path, options: ExtractionOptions, settings: PreprocessSettings) -> Frames:
    """The sampled frames themselves: index, time, RGB."""
    with reader(clip, settings) as opened:
        indices = plan_samples(opened.timestamps_s, options).indices
        return [(frame.index, frame.timestamp_s, frame.to_rgb()) for frame in opened.frames(indices)]


def crops_of(frames: Frames, finder: FaceFinder, options: ExtractionOptions, settings: PreprocessSettings) -> Costs:
    """Detection, tracking, cropping and quality of decoded frames."""
    pipeline = FramePipeline(finder, options, settings, StageClock())
    costs: Costs = []
    for index, timestamp_s, rgb in frames:
        start = time.perf_counter(), time.process_time()
        pipeline.add(index, timestamp_s, rgb)
        costs.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    found = sum(1 for frame in pipeline.frames if frame.sightings)
    if found < len(frames):
        raise RuntimeError(f"a face was found in {found} of {len(frames)} frames; the comparison needs one in each")
    return costs


def hog_crops_of(frames: Frames, size_px: int) -> Costs:
    """What the reference projects do with decoded frames.

    ``face_recognition.face_locations(frame)`` is ``dlib.get_frontal_face_detector()(frame, 1)``; then the first box is cut
    out and resized.
    """
    import cv2
    import dlib

    detector: Any = dlib.get_frontal_face_detector()
    costs: Costs = []
    for _, _, rgb in frames:
        start = time.perf_counter(), time.process_time()
        boxes = detector(rgb, 1)
        if not boxes:
            raise RuntimeError("dlib found no face; the comparison needs one in each frame")
        box = boxes[0]
        face = rgb[max(0, box.top()) : box.bottom(), max(0, box.left()) : box.right()]
        cv2.resize(face, (size_px, size_px))
        costs.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return costs
