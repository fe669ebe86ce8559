"""``unmask faces``: what preprocessing sees in a file, without asking a detector."""

import json
import sys
from pathlib import Path
from typing import get_args

import click

from preprocess.clip import Extraction
from preprocess.errors import FaceModelMissingError, PreprocessError
from preprocess.options import ExtractionOptions, Sampling, ShortClip


@click.command()
def setup() -> None:
    """Install the face detectors; once, after pip install.

    They are taken out of a wheel of mediapipe that pip downloads (35 MB), checked, and nothing else is kept of it. Nothing is
    fetched at run time. Exit code 1 where pip cannot download it; where they are installed, nothing is done.
    """
    from preprocess.face_models import install

    try:
        written = install()
    except FaceModelMissingError as error:
        raise click.ClickException(str(error)) from error
    for path in written:
        click.echo(f"installed {path}", err=True)
    if not written:
        click.echo("the face detectors are installed already", err=True)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for what is written.")
@click.option("--frames", default=60, show_default=True, help="Frames to look at in each video.")
@click.option("--sampling", type=click.Choice(get_args(Sampling)), default="uniform", show_default=True, help="Which ones.")
@click.option("--interval", "interval_s", default=1.0, show_default=True, help="Seconds between frames (interval).")
@click.option("--window", "window_frames", default=16, show_default=True, help="Consecutive frames in a run (window).")
@click.option("--short-clip", type=click.Choice(get_args(ShortClip)), default="shorten", show_default=True)
@click.option("--start", "start_s", type=float, help="Look from this second on.")
@click.option("--end", "end_s", type=float, help="Look up to this second.")
@click.option("--size", "image_size_px", default=112, show_default=True, help="Side of a crop in pixels.")
@click.option("--margin", "crop_margin", default=1.3, show_default=True, help="Side of the square, in sides of the face.")
@click.option("--align", is_flag=True, help="Turn faces upright and to one scale.")
@click.option("--workers", default=1, show_default=True, help="Files that are read at a time.")
def faces(
    paths: tuple[Path, ...],
    out: Path,
    frames: int,
    sampling: Sampling,
    interval_s: float,
    window_frames: int,
    short_clip: ShortClip,
    start_s: float | None,
    end_s: float | None,
    image_size_px: int,
    crop_margin: float,
    align: bool,
    workers: int,
) -> None:
    """Write the face crops, a contact sheet and a JSON of what preprocessing sees.

    \b
    PATHS                one or more files or folders; of a folder all media files
    OUT/NAME/            one folder a file: track_N/FRAME.png, contact_sheet.png, faces.json
    standard output      one JSON object a line: path, folder, faces, frames; or path, error, message
    """
    from preprocess.export_faces import write_faces
    from preprocess.media import find_media
    from preprocess.preprocessor import Preprocessor

    try:
        options = ExtractionOptions(
            image_size_px=image_size_px,
            crop_margin=crop_margin,
            frames=frames,
            sampling=sampling,
            short_clip=short_clip,
            interval_s=interval_s,
            window_frames=window_frames,
            start_s=start_s,
            end_s=end_s,
            align=align,
        )
        preprocessor = Preprocessor(workers=workers)
    except (PreprocessError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    failed = False
    folders = _Folders(out)
    with preprocessor:
        for path in paths:
            try:
                for found, result in preprocessor.extract_all(find_media(path), options):
                    if isinstance(result, Extraction):
                        folder = folders.of(found)
                        report = write_faces(result, folder)
                        _say(
                            path=str(found),
                            folder=str(folder),
                            faces=len(report["clips"]),
                            frames=[len(clip["frame_indices"]) for clip in report["clips"]],
                            notes=report["notes"],
                        )
                    elif isinstance(result, FaceModelMissingError):
                        raise click.ClickException(str(result))
                    else:
                        failed = True
                        _say(path=str(found), error=result.code, message=str(result))
            except PreprocessError as error:
                failed = True
                _say(path=str(path), error=error.code, message=str(error))
    if failed:
        sys.exit(1)


def _say(**values: object) -> None:
    click.echo(json.dumps(values))


class _Folders:
    """A folder for each file, named after it; a second file of the same name gets a number."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._used: set[str] = set()

    def of(self, path: Path) -> Path:
        name, number = path.name, 2
        while name in self._used:
            name = f"{path.name}.{number}"
            number += 1
        self._used.add(name)
        return self._out / name
