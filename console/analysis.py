"""One file, from the upload to its verdict and the files that pages and reports are made of."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client import Detector, Verdict
from client.detector import default_frames
from client.errors import InvalidFrames
from client.report import Report
from client.results import Result
from console.heatmaps import write_crops
from console.jobs import Job
from preprocess import Extraction, ExtractionOptions, Preprocessor

Progress = Callable[[str, int, int], None]
"""Stage (decode, faces, network, verdict), what is done of it, and how much there is."""
_CROP_QUALITY = 88


def analyze(
    path: Path,
    job: Job,
    *,
    detector: Detector,
    preprocessor: Preprocessor,
    picture_px: int,
    folder: Path,
    progress: Progress,
) -> Verdict:
    """The verdict of an upload; ``folder`` then holds its pictures, crops and report, and is complete. On any error it is gone.

    Raises:
        client.errors.ClientError: The server, or an option that its model does not take.
        preprocess.errors.PreprocessError: The file cannot be read.
        OSError: The folder cannot be written.
    """
    started = time.perf_counter()
    # First, so that nothing is decoded for a server that is away.
    info = detector.model().info
    count = default_frames(info, detector.settings.frames) if job.frames is None else job.frames
    if not 1 <= count <= info.max_frames:
        raise InvalidFrames(f"frames is {count}; {job.detector} takes 1 to {info.max_frames} frames of a clip; ask for fewer")
    options = ExtractionOptions(
        frames=count,
        sampling=job.sampling,  # type: ignore[arg-type]  # checked when the request came, and again here
        start_s=job.start_s,
        end_s=job.end_s,
        image_size_px=info.image_size_px,
        crop_margin=info.crop_margin,
        picture_px=picture_px,
    )
    extraction = preprocessor.extract(path, options, progress=lambda done, planned: progress("faces", done, planned))
    progress("network", 0, len(extraction.clips))
    try:
        # What needs no verdict is written while the server computes.
        with ThreadPoolExecutor(1, "unmask-pictures") as beside:
            written = beside.submit(_write_pictures, folder, extraction)
            verdict = detector.detect_clips(extraction, frames_requested=count, source_sha256=job.sha256)
            stage_s = {**verdict.stage_s, "total": round(time.perf_counter() - started, 6)}
            # The upload has a name of ours; people know the one that they gave it.
            verdict = replace(verdict, source=replace(verdict.source, path=job.filename), stage_s=stage_s)
            progress("verdict", 0, 0)
            report = Report()
            report.add(Result(path=verdict.source.path, verdict=verdict), extraction)
            text = report.render()
            written.result()
        # Nobody looks into the folder before the result names it.
        (folder / "report.html").write_text(text, encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return verdict


def _write_pictures(folder: Path, extraction: Extraction) -> None:
    folder.mkdir(mode=0o700, parents=True)
    frames = folder / "frames"
    frames.mkdir()
    for index, jpeg in extraction.pictures.items():
        (frames / f"{index}.jpg").write_bytes(jpeg)
    for clip in extraction.clips:
        crops = folder / "crops" / str(clip.track_id)
        crops.mkdir(parents=True)
        for position, index in enumerate(clip.frame_indices):
            (crops / f"{int(index)}.jpg").write_bytes(_jpeg(clip.frames[position]))
    write_crops(folder, extraction)


def _jpeg(crop: NDArray[np.uint8]) -> bytes:
    import cv2

    encoded, jpeg = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _CROP_QUALITY])
    if not encoded:
        raise ValueError(f"a crop of shape {crop.shape} could not be encoded as JPEG")
    return jpeg.tobytes()
