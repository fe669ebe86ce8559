"""Which files are media: by suffix when a folder is searched, by their first bytes when one is opened."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from preprocess.errors import (
    EmptyFileError,
    FileTooLargeError,
    MediaNotFoundError,
    NamesOtherFilesError,
    NoMediaError,
    NotAFileError,
    UnsupportedMediaError,
)
from preprocess.settings import PreprocessSettings

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi"),
    *(".mpg", ".mpeg", ".m1v", ".m2v", ".vob", ".wmv", ".asf", ".flv", ".gif"),
)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MEDIA_SUFFIXES = frozenset((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES))


@dataclass(frozen=True, slots=True)
class Container:
    """What a file is by its first bytes."""

    name: str
    """Such as ``mp4`` or ``jpeg``, for people and reports."""
    kind: Literal["video", "image"]
    demuxer: str
    """The one FFmpeg demuxer, or the one Pillow plug-in, that may read it."""


def find_media(path: str | os.PathLike[str]) -> list[Path]:
    """The file itself, or the media files below a folder, sorted by path. Hidden files and folders are left out.

    A file named by the caller is returned whatever its suffix: what it is, its content says.

    Raises:
        MediaNotFoundError: No such path, or it cannot be looked at.
        NoMediaError: A folder without a file that has a media suffix.
    """
    root = Path(path)
    try:
        mode = root.stat().st_mode
        if not stat.S_ISDIR(mode):
            return [root]
        os.scandir(root).close()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaNotFoundError(f"{root} does not exist; give a media file or a folder that holds some") from error
    except (OSError, ValueError) as error:
        # No permission, a name that is too long, a loop of links, a zero byte in the name.
        reason = getattr(error, "strerror", None) or error
        raise MediaNotFoundError(f"{root} cannot be looked at ({reason}); give a readable media file or folder") from error
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(folder, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in MEDIA_SUFFIXES and _is_file(Path(folder, name))
        ]
    if not found:
        raise NoMediaError(f"{root} holds no media file; looked for {' '.join(sorted(MEDIA_SUFFIXES))}")
    return sorted(found)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a link to where this process may not look
        return False


def open_media(path: str | os.PathLike[str], settings: PreprocessSettings) -> BinaryIO:
    """Opens a local regular file for reading, without ever waiting for a FIFO or a device.

    Raises:
        MediaNotFoundError, NotAFileError, EmptyFileError, FileTooLargeError
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ENXIO:
            raise NotAFileError(f"{path} is a socket or a device; give a regular media file") from error
        reason = getattr(error, "strerror", None) or error
        raise MediaNotFoundError(f"{path} cannot be opened ({reason}); give a readable media file") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise NotAFileError(f"{path} is {_kind(facts.st_mode)}; give a regular media file")
        if facts.st_size == 0:
            raise EmptyFileError(f"{path} has 0 bytes; copy it again")
        if facts.st_size > settings.max_file_bytes:
            raise FileTooLargeError(
                f"{path} has {facts.st_size} bytes, the limit is {settings.max_file_bytes}; "
                "raise UNMASK_PREPROCESS_MAX_FILE_BYTES or cut the file"
            )
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def _kind(mode: int) -> str:
    names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(mode), "a device")


def identify(stream: BinaryIO, name: str) -> Container:
    """What the file is by its first bytes; the suffix counts for nothing. The stream is left at its start.

    Raises:
        UnsupportedMediaError: None of the supported containers and image formats.
        NamesOtherFilesError: A playlist or script, or an AVI with a text stream: FFmpeg has opened what such name.
    """
    stream.seek(0)
    head = stream.read(4096)
    container = _by_magic(head)
    if container is None:
        text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if text.startswith((b"#extm3u", b"ffconcat", b"[playlist]", b"<smil", b"rtsptext", b"<asx", b"<?xml")):
            raise NamesOtherFilesError(f"{name} is a playlist, which names other files; give the video itself")
        raise UnsupportedMediaError(
            f"{name} begins with {head[:12].hex(' ')}, which is no supported container; give mp4, mov, 3gp, mkv, webm, avi, "
            "mpg, wmv, flv, gif, jpg, png, webp or bmp"
        )
    if container.demuxer == "avi" and _avi_has_text_stream(stream):
        raise NamesOtherFilesError(
            f"{name} is an AVI with a subtitle stream, which can name other files; "
            "take the subtitles out (`ffmpeg -i in.avi -map 0:v -c copy out.avi`)"
        )
    stream.seek(0)
    return container


_MOV = "mov"  # FFmpeg's one demuxer for the whole family
_PREFIXES: tuple[tuple[bytes, Container], ...] = (
    (b"GIF87a", Container("gif", "video", "gif")),
    (b"GIF89a", Container("gif", "video", "gif")),
    (b"FLV\x01", Container("flv", "video", "flv")),
    (b"\x00\x00\x01\xba", Container("mpeg", "video", "mpeg")),
    (b"\x00\x00\x01\xb3", Container("mpegvideo", "video", "mpegvideo")),
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), Container("asf", "video", "asf")),
    (b"\xff\xd8\xff", Container("jpeg", "image", "JPEG")),
    (b"\x89PNG\r\n\x1a\n", Container("png", "image", "PNG")),
)


def _by_magic(head: bytes) -> Container | None:
    for prefix, container in _PREFIXES:
        if head.startswith(prefix):
            return container
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return Container("webm" if b"webm" in head[:64] else "matroska", "video", "matroska")
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return Container("avi", "video", "avi")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Container("webp", "image", "WEBP")
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" and len(head) > 26:
        return Container("bmp", "image", "BMP")
    box = head[4:8]
    if box == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"):
            return None
        return Container("mov" if brand == b"qt  " else "3gp" if brand[:2] == b"3g" else "mp4", "video", _MOV)
    if box in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return Container("mov", "video", _MOV)
    return None


def _avi_has_text_stream(stream: BinaryIO) -> bool:
    """Whether a stream header ('strh') of an AVI says 'txts'. FFmpeg hands such a stream to other demuxers."""
    stream.seek(0)
    head = stream.read(1 << 20)
    at = head.find(b"strh")
    while at >= 0:
        if head[at + 8 : at + 12] in (b"txts", b"TXTS"):
            return True
        at = head.find(b"strh", at + 4)
    return b"GAB2" in head
