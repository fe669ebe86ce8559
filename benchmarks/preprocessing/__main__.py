"""``python -m benchmarks.preprocessing --media DIR``: measures, prints a table, writes raw results.

DIR holds ``cases/talking_720p_20s.mp4`` and other real clips. The comparison with dlib needs the extra ``reference``.
"""

import json
import logging
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks.preprocessing import contestants
from benchmarks.preprocessing.timing import in_turn, machine, ratios, summary
from preprocess.faces import FaceFinder
from preprocess.options import ExtractionOptions
from preprocess.preprocessor import Preprocessor
from preprocess.settings import PreprocessSettings

RESULTS = Path(__file__).parent.parent / "results" / "preprocessing.json"
SPEED_CLIP = "cases/talking_720p_20s.mp4"
DECODER_CLIPS = (
    SPEED_CLIP,
    "cases/talking_1080p_5s.mp4",
    "cases/help_vp9.webm",
    "cases/help_mpeg4.avi",
    "real/grid_bbaf2n.mpg",
)
OPTIONS = ExtractionOptions(image_size_px=112, crop_margin=1.3, frames=100)
ALONE = ("pyav_alone", "opencv_alone", "reader_alone")
logger = logging.getLogger(__name__)


def decoders(media: Path, rounds: int) -> dict[str, Any]:
    """PyAV and OpenCV deliver the same 100 frames as RGB."""
    settings = PreprocessSettings()
    results = {}
    for name in DECODER_CLIPS:
        clip = media / name
        if not clip.exists():
            continue
        logger.info("decoders: %s", name)
        seconds = in_turn(
            {
                "pyav": lambda clip=clip: contestants.decode_pyav(clip, OPTIONS),  # type: ignore[misc]
                "opencv": lambda clip=clip: contestants.decode_opencv(clip, OPTIONS),  # type: ignore[misc]
                "reader": lambda clip=clip: contestants.decode_reader(clip, OPTIONS, settings),  # type: ignore[misc]
            },
            rounds=rounds,
        )
        results[name] = {
            **{contestant: summary(values) for contestant, values in seconds.items()},
            "pyav_over_opencv": ratios(seconds["pyav"], seconds["opencv"]),
        }
    return results


def crops(clip: Path, rounds: int) -> dict[str, Any]:
    """File to crops, in this process and in a child, against the decoder alone; and whether the stages add up."""
    logger.info("crops against decoding: %s", clip.name)
    stages: list[dict[str, float]] = []
    trusted = PreprocessSettings(isolation="none")
    with Preprocessor(trusted) as here, Preprocessor() as child:
        child.start()
        seconds = in_turn(
            {
                "pyav_alone": lambda: contestants.decode_pyav(clip, OPTIONS),
                "opencv_alone": lambda: contestants.decode_opencv(clip, OPTIONS),
                "reader_alone": lambda: contestants.decode_reader(clip, OPTIONS, trusted),
                "crops": lambda: stages.append(here.extract(clip, OPTIONS).stage_s),
                "crops_in_child": lambda: child.extract(clip, OPTIONS),
            },
            rounds=rounds,
        )
    stages = stages[1:]
    sums = [sum(value for name, value in stage_s.items() if name != "total") / stage_s["total"] for stage_s in stages]
    return {
        **{contestant: summary(values) for contestant, values in seconds.items()},
        "crops_over": {alone: ratios(seconds["crops"], seconds[alone]) for alone in ALONE},
        "crops_in_child_over": {alone: ratios(seconds["crops_in_child"], seconds[alone]) for alone in ALONE},
        "stage_sum_over_wall": {"min": min(sums), "max": max(sums)},
        "stage_s": stages,
    }


def against_hog(clip: Path, frames: int) -> dict[str, Any]:
    """Detection and cropping against dlib's HOG on the same decoded frames, frame by frame in turn."""
    logger.info("detection and cropping against dlib's HOG: %d frames of %s", frames, clip.name)
    settings = PreprocessSettings()
    decoded = contestants.decoded(clip, OPTIONS, settings)
    hog_frames = decoded[:: max(1, len(decoded) // frames)]
    with FaceFinder(min_confidence=settings.min_confidence, max_faces=settings.max_faces_per_frame) as finder:
        contestants.crops_of(decoded, finder, OPTIONS, settings)
        ours: contestants.Costs = []
        theirs: contestants.Costs = []
        # Small blocks in turn: all hundred frames here, so that the looks round are in their due share, a few of theirs.
        for at in range(0, len(hog_frames), 4):
            ours += contestants.crops_of(decoded, finder, OPTIONS, settings)
            theirs += contestants.hog_crops_of(hog_frames[at : at + 4], OPTIONS.image_size_px)
    results: dict[str, Any] = {}
    for column, clock in enumerate(("wall", "processor")):
        mine, hog = [cost[column] for cost in ours], [cost[column] for cost in theirs]
        results[clock] = {
            "ours_mean_s": statistics.mean(mine),
            "ours_median_s": statistics.median(mine),
            "hog_mean_s": statistics.mean(hog),
            "hog_median_s": statistics.median(hog),
            "times_faster_by_means": statistics.mean(hog) / statistics.mean(mine),
            "times_faster_by_medians": statistics.median(hog) / statistics.median(mine),
            "ours_raw_s": [round(value, 6) for value in mine],
            "hog_raw_s": [round(value, 6) for value in hog],
        }
    return results


def two_hours(rounds: int) -> dict[str, Any]:
    """A synthetic video of two hours, 720p, a key frame every ten seconds, 60 frames of it; memory of the child."""
    import psutil

    from tests.clips import write_long

    with tempfile.TemporaryDirectory(prefix="unmask-benchmark-") as folder, Preprocessor() as preprocessor:
        logger.info("making a video of two hours")
        clip = write_long(Path(folder, "two_hours.mp4"), hours=2, size=(1280, 720))
        preprocessor.start()
        logger.info("two hours: %d MB", clip.stat().st_size >> 20)
        options = ExtractionOptions(image_size_px=112, crop_margin=1.3, frames=60)
        seconds = in_turn({"two_hours": lambda: preprocessor.extract(clip, options)}, rounds=rounds, warm_up=0)["two_hours"]
        extraction = preprocessor.extract(clip, options)
        children = psutil.Process().children()
        peaks = [
            int(line.split()[1]) << 10
            for child in children
            for line in Path(f"/proc/{child.pid}/status").read_text().splitlines()
            if line.startswith("VmHWM")
        ]
        return {
            **summary(seconds),
            "file_bytes": clip.stat().st_size,
            "frames_in_file": extraction.source.frame_count,
            "crops": [len(found) for found in extraction.clips],
            "child_peak_resident_bytes": max(peaks),
            "stage_s": extraction.stage_s,
        }


@click.command()
@click.option("--media", type=click.Path(exists=True, file_okay=False, path_type=Path), default=os.environ.get("UNMASK_MEDIA"))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--hog-frames", default=20, show_default=True, help="Frames that dlib gets; 0: leave it out.")
def main(media: Path | None, out: Path, rounds: int, hog_frames: int) -> None:
    """Measure preprocessing on real clips."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if media is None:
        raise click.UsageError("give --media or set UNMASK_MEDIA to a folder with cases/talking_720p_20s.mp4")
    clip = media / SPEED_CLIP
    results = {
        "command": "python -m benchmarks.preprocessing",
        "machine": machine(),
        "frames": OPTIONS.frames,
        "crops": crops(clip, rounds),
        "decoders": decoders(media, rounds),
        "two_hours": two_hours(min(rounds, 3)),
    }
    if hog_frames:
        results["against_hog"] = against_hog(clip, hog_frames)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


def table(results: dict[str, Any]) -> str:
    """What people read."""
    crop, long = results["crops"], results["two_hours"]
    lines = [
        *(f"{alone:30}{crop[alone]['median_s']:.3f} s for 100 frames" for alone in ALONE),
        *(
            f"{name:30}{crop[name]['median_s']:.3f} s; times "
            + ", ".join(f"{alone} {crop[name + '_over'][alone]['median']:.2f}" for alone in ALONE)
            for name in ("crops", "crops_in_child")
        ),
        f"stages over wall              {crop['stage_sum_over_wall']['min']:.3f} to {crop['stage_sum_over_wall']['max']:.3f}",
        f"two hours, 60 frames          {long['median_s']:.2f} s, {long['child_peak_resident_bytes'] / 2**20:.0f} MiB",
    ]
    for name, result in results["decoders"].items():
        lines.append(
            f"{name:30}PyAV {result['pyav']['median_s']:.3f} s, OpenCV {result['opencv']['median_s']:.3f} s, "
            f"ratio {result['pyav_over_opencv']['median']:.2f}; reader {result['reader']['median_s']:.3f} s"
        )
    for clock, hog in results.get("against_hog", {}).items():
        lines.append(
            f"detection and crop, {clock:9} {hog['ours_mean_s'] * 1e3:.2f} ms a frame; dlib's HOG {hog['hog_mean_s'] * 1e3:.0f} ms: "
            f"{hog['times_faster_by_means']:.0f} times (means), {hog['times_faster_by_medians']:.0f} (medians)"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
