"""What can go wrong between a path and a clip. Each class has a ``code`` that programs compare and reports carry.

::

    PreprocessError
    ├── OptionError               bad_option            (also a ValueError)
    ├── MediaNotFoundError        not_found             no such file
    ├── NoMediaError              no_media              a folder without media
    ├── NotAFileError             not_a_file            FIFO, device, socket, folder
    ├── EmptyFileError            empty_file
    ├── UnsupportedMediaError     unsupported_media     the first bytes are of no supported container
    ├── NamesOtherFilesError      names_other_files     playlists, scripts and subtitles that point elsewhere
    ├── UndecodableError          undecodable           damaged, cut off, or a codec that the decoder lacks
    │   └── DecoderCrashedError   decoder_crashed       the decoding process died of this file
    ├── FileChangedError          changed_while_read
    ├── ClipTooShortError         clip_too_short        with ``short_clip="error"``
    ├── EmptySpanError            empty_span            no frame lies between start and end
    ├── LimitError
    │   ├── FileTooLargeError     too_large
    │   ├── TooManyPixelsError    too_many_pixels
    │   ├── TooLongError          too_long
    │   ├── TooManyFramesError    too_many_frames
    │   ├── TimeLimitError        timeout
    │   └── MemoryLimitError      out_of_memory
    ├── FaceModelMissingError     face_model_missing
    └── WorkerError               worker_failed         the decoding process could not be started or broke its protocol
"""

from typing import ClassVar


class PreprocessError(Exception):
    """Root of the package's exceptions; the message has the offending value, the limit and the remedy."""

    code: ClassVar[str] = "preprocess_error"
    """Machine-readable and stable; every subclass has its own."""


class OptionError(PreprocessError, ValueError):
    """An option's value is outside what it may be."""

    code = "bad_option"


class MediaNotFoundError(PreprocessError):
    """The path does not exist or may not be read."""

    code = "not_found"


class NoMediaError(PreprocessError):
    """A folder holds no file with a media suffix."""

    code = "no_media"


class NotAFileError(PreprocessError):
    """The path is not a regular file."""

    code = "not_a_file"


class EmptyFileError(PreprocessError):
    """The file has no bytes."""

    code = "empty_file"


class UnsupportedMediaError(PreprocessError):
    """The file's first bytes belong to no supported container or image format."""

    code = "unsupported_media"


class NamesOtherFilesError(PreprocessError):
    """The file can make a player open other files or URLs."""

    code = "names_other_files"


class UndecodableError(PreprocessError):
    """Not one picture could be decoded."""

    code = "undecodable"


class DecoderCrashedError(UndecodableError):
    """The decoding process ended while it worked on this file; the next file gets a new one."""

    code = "decoder_crashed"


class FileChangedError(PreprocessError):
    """The file's size or modification time changed while it was read."""

    code = "changed_while_read"


class ClipTooShortError(PreprocessError):
    """The file has fewer frames than asked for and ``short_clip`` is ``"error"``."""

    code = "clip_too_short"


class EmptySpanError(PreprocessError):
    """No frame lies between ``start_s`` and ``end_s``."""

    code = "empty_span"


class LimitError(PreprocessError):
    """A limit of ``PreprocessSettings`` was reached."""

    code = "limit"


class FileTooLargeError(LimitError):
    """``max_file_bytes``."""

    code = "too_large"


class TooManyPixelsError(LimitError):
    """``max_frame_pixels``."""

    code = "too_many_pixels"


class TooLongError(LimitError):
    """``max_duration_s``."""

    code = "too_long"


class TooManyFramesError(LimitError):
    """``max_file_frames`` or ``max_decoded_frames``."""

    code = "too_many_frames"


class TimeLimitError(LimitError):
    """``max_wall_s``."""

    code = "timeout"


class MemoryLimitError(LimitError):
    """``max_memory_bytes``."""

    code = "out_of_memory"


class FaceModelMissingError(PreprocessError):
    """A face detector's weights are not where set-up puts them, or are not the expected ones."""

    code = "face_model_missing"


class WorkerError(PreprocessError):
    """The decoding process could not be started, or what it answered cannot be read."""

    code = "worker_failed"


def error_class(code: str) -> type[PreprocessError]:
    """The class of a code, for errors that come over a wire; ``PreprocessError`` for one that is unknown."""
    pending = [PreprocessError]
    while pending:
        candidate = pending.pop()
        if candidate.code == code:
            return candidate
        pending.extend(candidate.__subclasses__())
    return PreprocessError
