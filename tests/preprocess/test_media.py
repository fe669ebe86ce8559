"""What is opened, and what is refused before a decoder sees it."""

import os
import socket
from pathlib import Path

import av
import numpy as np
import pytest

from preprocess import ExtractionOptions, PreprocessError, Preprocessor, PreprocessSettings, find_media
from preprocess.errors import (
    EmptyFileError,
    FileTooLargeError,
    MediaNotFoundError,
    NamesOtherFilesError,
    NoMediaError,
    NotAFileError,
    UnsupportedMediaError,
)
from preprocess.media import identify, open_media

SETTINGS = PreprocessSettings()


def name_of(path: Path) -> str:
    with open_media(path, SETTINGS) as stream:
        return identify(stream, path.name).name


def test_folder_is_searched_and_sorted(tmp_path: Path) -> None:
    for name in ("b.MP4", "a/z.jpg", "a/notes.txt", ".hidden.mp4", ".git/x.mp4", "c.webm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_media(tmp_path) == [tmp_path / "a/z.jpg", tmp_path / "b.MP4", tmp_path / "c.webm"]


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "upload.bin"
    path.touch()
    assert find_media(path) == [path]


def test_folder_without_media_and_missing_path(tmp_path: Path) -> None:
    with pytest.raises(NoMediaError, match=r"holds no media file; looked for \.3g2"):
        find_media(tmp_path)
    with pytest.raises(MediaNotFoundError, match="does not exist"):
        find_media(tmp_path / "absent")


def test_paths_that_cannot_be_looked_at_are_typed_errors(tmp_path: Path) -> None:
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "elsewhere.mp4").symlink_to("nowhere.mp4")
    for path in (tmp_path / "loop.mp4", tmp_path / ("a" * 300), tmp_path / "zero\0byte.mp4", tmp_path / "elsewhere.mp4"):
        with pytest.raises(MediaNotFoundError):
            find_media(path)
        with pytest.raises(MediaNotFoundError, match="cannot be opened"):
            open_media(path, SETTINGS)
    with pytest.raises(NoMediaError):
        find_media(tmp_path)


def test_content_decides_and_not_the_suffix(clips: dict[str, Path], tmp_path: Path) -> None:
    found = {
        name: name_of(clips[name])
        for name in ("one_face.mp4", "one_face.mov", "one_face.mkv", "one_face_vp9.webm", "one_face_mpeg4.avi", "one_face.3gp")
    }
    assert list(found.values()) == ["mp4", "mov", "matroska", "webm", "avi", "3gp"]
    assert [name_of(clips[f"one_face{suffix}"]) for suffix in (".gif", ".flv", ".wmv")] == ["gif", "flv", "asf"]
    assert name_of(clips["one_face_mpeg1.mpg"]) == "mpeg"
    disguised = tmp_path / "picture.png"
    disguised.write_bytes(clips["one_face.mp4"].read_bytes())
    assert name_of(disguised) == "mp4"


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
        "\ufeff#EXTM3U\n",
        "ffconcat version 1.0\nfile '/etc/passwd'\n",
        "[playlist]\nFile1=/etc/passwd\n",
        "<?xml version='1.0'?><MPD><BaseURL>http://localhost/</BaseURL></MPD>",
    ],
)
def test_playlists_are_refused_whatever_they_are_called(tmp_path: Path, text: str) -> None:
    path = tmp_path / "video.mp4"
    path.write_text(text)
    with pytest.raises(NamesOtherFilesError, match="a playlist, which names other files"):
        name_of(path)


def test_avi_with_a_text_stream_is_refused(tmp_path: Path, clips: dict[str, Path]) -> None:
    path = tmp_path / "subtitled.avi"
    path.write_bytes(with_subtitle_stream(clips["one_face_mpeg4.avi"].read_bytes(), b"#EXTM3U\nfile:///etc/passwd\n"))
    with pytest.raises(NamesOtherFilesError, match="an AVI with a subtitle stream"):
        name_of(path)


def with_subtitle_stream(avi: bytes, text: bytes) -> bytes:
    """An AVI with a second stream header of type 'txts' and a GAB2 block, as players' subtitle support reads it."""
    header = b"strh" + (56).to_bytes(4, "little") + b"txts" + bytes(52)
    form = b"strf" + (4).to_bytes(4, "little") + bytes(4)
    block = (
        b"GAB2\0" + (2).to_bytes(2, "little") + bytes(4) + (4).to_bytes(2, "little") + len(text).to_bytes(4, "little") + text
    )
    stream = b"LIST" + (4 + len(header) + len(form)).to_bytes(4, "little") + b"strl" + header + form
    at = avi.index(b"LIST", 100)
    grown = avi[:at] + stream + avi[at:]
    size = int.from_bytes(grown[16:20], "little") + len(stream)
    return grown[:16] + size.to_bytes(4, "little") + grown[20:] + b"01tx" + len(block).to_bytes(4, "little") + block


def test_one_byte_nothing_and_a_text_are_no_video(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"\0")
    with pytest.raises(UnsupportedMediaError, match="begins with 00, which is no supported container"):
        name_of(path)
    path.write_bytes(b"")
    with pytest.raises(EmptyFileError, match="has 0 bytes"):
        name_of(path)
    path.write_text("to be or not to be")
    with pytest.raises(UnsupportedMediaError):
        name_of(path)


def test_fifo_folder_device_and_socket_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.mp4")
    server = socket.socket(socket.AF_UNIX)
    place = os.open(tmp_path, os.O_RDONLY)
    server.bind(f"/proc/self/fd/{place}/socket.mp4")  # a socket's path may be 107 bytes long, a temporary folder longer
    os.close(place)
    server.close()
    (tmp_path / "link.mp4").symlink_to("fifo.mp4")
    for path, what in (
        (tmp_path / "fifo.mp4", "a FIFO"),
        (tmp_path / "link.mp4", "a FIFO"),
        (tmp_path / "socket.mp4", "a socket"),
        (tmp_path, "a folder"),
        (Path("/dev/zero"), "a device"),
    ):
        with pytest.raises(NotAFileError, match=f"is {what}"):
            open_media(path, SETTINGS)


def test_size_limit(clips: dict[str, Path]) -> None:
    size = clips["one_face.mp4"].stat().st_size
    with pytest.raises(FileTooLargeError, match=f"has {size} bytes, the limit is {size - 1}"):
        open_media(clips["one_face.mp4"], PreprocessSettings(max_file_bytes=size - 1))


def test_sound_alone_is_no_video(tmp_path: Path, preprocessor: Preprocessor, options: ExtractionOptions) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        silence.rate = 8000
        output.mux([*stream.encode(silence), *stream.encode(None)])
    with pytest.raises(PreprocessError) as caught:
        preprocessor.extract(path, options)
    assert caught.value.code == "undecodable"
