"""Video files for evaluation: fakes made of held-back faces, and genuine clips encoded anew."""

import csv
import errno
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.clips import ClipKind, ClipMaker
from training.errors import EvaluationError, PictureError
from training.fakes.blend import Picture

if TYPE_CHECKING:
    import av

VARIANTS: dict[str, tuple[int, float]] = {
    "crf23": (23, 1.0),
    "crf32": (32, 1.0),
    "crf40": (40, 1.0),
    "half": (18, 0.5),
    "quarter": (18, 0.25),
}
"""Name -> CRF and scale of a re-encoding."""


def write_video(path: Path, pictures: Iterable[Picture], *, crf: int, fps: Fraction = Fraction(25)) -> Path:
    """H.264 in MP4, (H, W, 3) uint8 RGB pictures of one size; an odd last row or column is left out.

    Raises:
        OSError: The file cannot be written; also what ``pictures`` raises.
    """
    import av

    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": "veryfast", "threads": "1"})
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
            if number == 0:
                stream.height, stream.width = height, width
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            frame.pts, frame.time_base = number, 1 / fps
            output.mux(stream.encode(frame.reformat(format="yuv420p")))
        output.mux(stream.encode(None))
    return path


def reencode(source: Path, target: Path, *, crf: int, scale: float = 1.0) -> Path:
    """Encodes a whole video anew, frame by frame, smaller by ``scale``.

    Raises:
        PictureError: The source has no pictures.
        EvaluationError: There is no room for the new file.
    """
    import av

    try:
        with av.open(str(source)) as container:
            stream = container.streams.video[0]
            fps = (stream.average_rate or Fraction(25)).limit_denominator(1001)
            write_video(target, _upright(container.decode(stream), scale), crf=crf, fps=fps)
    # PyAV's errors of the disk are OSErrors, too.
    except (av.FFmpegError, IndexError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise EvaluationError(
                f"{source.name} encoded anew does not fit on {target.parent}: {error}; set TMPDIR to a folder with more room"
            ) from error
        raise PictureError(f"{source} cannot be decoded to be encoded anew: {error}") from error
    return target


def _upright(frames: "Iterable[av.VideoFrame]", scale: float) -> Iterator[Picture]:
    """Frames as pictures, turned as their metadata say, which the new file will not have."""
    import cv2

    for frame in frames:
        picture: Picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        if frame.rotation % 90 == 0 and frame.rotation:
            picture = np.asarray(np.rot90(picture, frame.rotation // 90), np.uint8)
        if scale < 1.0:
            picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        yield picture


def write_made_clips(
    maker: ClipMaker, kinds: Sequence[ClipKind], folder: Path, *, pairs: int, frames: int, severity: float, seed: int
) -> Path:
    """Pairs of genuine and fake clips as video files, and the table that lists them.

    The faces stand in a frame three times as wide, as they do in videos; nothing else is in it.

    Returns:
        The table, for ``training.readers.table``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "clips.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "identity", "dataset", "method", "compression"])
        for number in range(pairs):
            rng = np.random.default_rng((seed, number))
            kind = kinds[number % len(kinds)]
            pair = maker.make(kind, frames, rng, severity=severity)
            for label, pictures in (("real", pair.real), ("fake", pair.fake)):
                name = f"{number:04d}_{kind}_{label}.mp4"
                write_video(folder / name, pictures, crf=18)
                writer.writerow([name, label, pair.split, pair.identity, f"made_{kind}", kind if label == "fake" else "", ""])
    return table


def variant_of(source: Path, name: str, folder: Path) -> Path:
    """A source, or its re-encoding of one of ``VARIANTS``, made in ``folder``."""
    if name == "original":
        return source
    try:
        crf, scale = VARIANTS[name]
    except KeyError:
        raise EvaluationError(f"variant is {name!r}; it must be original or one of {', '.join(VARIANTS)}") from None
    return reencode(source, folder / f"{source.stem}_{name}.mp4", crf=crf, scale=scale)
