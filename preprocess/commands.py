"""``unmask faces``: what preprocessing sees in a file, without asking a detector."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import click

from preprocess.errors import FaceModelMissingError, OptionError, PreprocessError
from preprocess.media import find_media
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
def faces(paths: tuple[Path, ...], out: Path, workers: int, **options: Any) -> None:
    """Write the face crops, a contact sheet and a JSON of what preprocessing sees.

    \b
    PATHS                one or more files or folders; of a folder all media files
    OUT/NAME/            one folder a file: track_N/FRAME.png, contact_sheet.png, faces.json
    standard output      one JSON object a line: path, folder, faces, frames; or path, error, message

    Of a folder, what an earlier run left in OUT is not read again. Exit code 1 when a file gave an error or its folder could
    not be written, 2 when an option is wrong.
    """
    from preprocess.export_faces import write_faces
    from preprocess.preprocessor import Preprocessor

    try:
        wanted = ExtractionOptions(**options)
        preprocessor = Preprocessor(workers=workers)
    except OptionError as error:
        raise click.UsageError(str(error)) from error
    failed = False
    folders = _Folders(out)
    with preprocessor:
        found = _expand(paths, out)
        results = preprocessor.extract_all([path for path, reason in found if reason is None], wanted)
        for path, reason in found:
            result = next(results)[1] if reason is None else reason
            if isinstance(result, FaceModelMissingError):
                raise click.ClickException(str(result))
            if isinstance(result, PreprocessError):
                failed = True
                _say(path=str(path), error=result.code, message=str(result))
                continue
            folder = folders.of(path)
            try:
                report = write_faces(result, folder)
            except OSError as refused:
                raise click.ClickException(f"{folder} cannot be written: {refused}; give another --out") from refused
            _say(
                path=str(path),
                folder=str(folder),
                faces=len(report["clips"]),
                frames=[len(clip["frame_indices"]) for clip in report["clips"]],
                notes=report["notes"],
            )
    if failed:
        sys.exit(1)


def _expand(paths: Iterable[Path], out: Path) -> list[tuple[Path, PreprocessError | None]]:
    """Media files of files and folders, in order; a path that has none stands with its error."""
    found: list[tuple[Path, PreprocessError | None]] = []
    for path in paths:
        try:
            below = find_media(path)
        except PreprocessError as error:
            found.append((path, error))
            continue
        # The crops of an earlier run are pictures of faces, too.
        found += [(file, None) for file in below if file == path or not file.resolve().is_relative_to(out.resolve())]
    return found


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
