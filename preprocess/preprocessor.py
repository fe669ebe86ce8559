"""The package's front: paths in, extractions out, by way of child processes that live on from file to file."""

import os
from types import TracebackType

from preprocess.clip import Extraction
from preprocess.errors import OptionError
from preprocess.media import open_media
from preprocess.options import ExtractionOptions, Sampling, ShortClip
from preprocess.settings import PreprocessSettings


class Preprocessor:
    """Keeps face detectors (and the processes that they live in) from file to file. Thread-safe.

    Args:
        workers: Files that may be read at a time, each by a process of its own.

    Raises:
        FaceModelMissingError: Set-up has not been run.
    """

    def __init__(self, settings: PreprocessSettings | None = None, *, workers: int = 1) -> None:
        from preprocess.faces import FaceFinder

        if workers < 1:
            raise OptionError(f"workers is {workers}; it must be at least 1")
        self.settings = settings or PreprocessSettings()
        self._finder = FaceFinder(min_confidence=self.settings.min_confidence, max_faces=self.settings.max_faces_per_frame)

    def __enter__(self) -> "Preprocessor":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes and frees the detectors."""
        self._finder.close()

    def extract(self, path: str | os.PathLike[str], options: ExtractionOptions) -> Extraction:
        """Faces of one video or image file.

        Raises:
            PreprocessError: See ``preprocess.errors``; ``code`` says which.
        """
        from preprocess import pipeline

        with open_media(path, self.settings) as stream:
            return pipeline.run(stream, name=os.fspath(path), options=options, settings=self.settings, finder=self._finder)


def extract(
    path: str | os.PathLike[str],
    *,
    image_size_px: int,
    crop_margin: float,
    frames: int = 60,
    sampling: Sampling = "uniform",
    short_clip: ShortClip = "shorten",
    interval_s: float = 1.0,
    window_frames: int = 16,
    start_s: float | None = None,
    end_s: float | None = None,
    align: bool = False,
    settings: PreprocessSettings | None = None,
) -> Extraction:
    """Faces of one file. For several files keep a ``Preprocessor``: starting one takes about a second.

    The arguments are the fields of ``ExtractionOptions``.

    Raises:
        PreprocessError: See ``preprocess.errors``; ``code`` says which.
    """
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
    with Preprocessor(settings) as preprocessor:
        return preprocessor.extract(path, options)
