"""What a file can do to the process that reads it, and what it cannot do to this one."""

import io
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from common.errors import InvalidSettings
from preprocess import Clip, Extraction, ExtractionOptions, Preprocessor, PreprocessSettings, SourceFacts, wire
from preprocess.errors import (
    DecoderCrashedError,
    FileChangedError,
    MemoryLimitError,
    PreprocessError,
    TimeLimitError,
    TooManyPixelsError,
    UndecodableError,
    WorkerError,
    error_class,
)
from preprocess.worker_process import WorkerProcess
from tests.clips import astronaut, write_long
from tests.preprocess import fuzz


def child_of(preprocessor: Preprocessor) -> WorkerProcess:
    worker = preprocessor._all[0]
    assert isinstance(worker, WorkerProcess)
    return worker


def test_one_child_reads_file_after_file(
    clips: dict[str, Path], preprocessor: Preprocessor, options: ExtractionOptions
) -> None:
    preprocessor.start()
    before = child_of(preprocessor).pid
    for name in ("one_face.mp4", "no_face.mp4", "one_face.gif"):
        preprocessor.extract(clips[name], options)
    assert child_of(preprocessor).pid == before is not None


def test_a_crash_is_a_typed_error_and_the_next_file_is_read(clips: dict[str, Path], options: ExtractionOptions) -> None:
    with Preprocessor() as preprocessor:
        preprocessor.start()
        child = child_of(preprocessor)
        first = child.pid
        assert first is not None
        # Stopped, it takes the file and does not answer; then it dies as if the decoder had killed it.
        os.kill(first, signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (first, signal.SIGSEGV)).start()
        threading.Timer(0.4, os.kill, (first, signal.SIGCONT)).start()
        with pytest.raises(DecoderCrashedError, match=r"ended while it read .*one_face\.mp4 .*SIGSEGV"):
            preprocessor.extract(clips["one_face.mp4"], options)
        assert len(preprocessor.extract(clips["one_face.mp4"], options).clips) == 1
        assert child.pid != first


def test_a_child_that_hangs_is_ended(clips: dict[str, Path], options: ExtractionOptions) -> None:
    with Preprocessor(PreprocessSettings(max_wall_s=1.0)) as preprocessor:
        preprocessor.start()
        hung = child_of(preprocessor).pid
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)
        with pytest.raises(TimeLimitError, match="took longer than 1 s and did not stop, so its process was ended"):
            preprocessor.extract(clips["one_face.mp4"], options)
        with pytest.raises(ProcessLookupError):
            os.kill(hung, 0)


def test_a_child_is_replaced_after_so_many_files(clips: dict[str, Path], options: ExtractionOptions) -> None:
    with Preprocessor(PreprocessSettings(files_per_worker=2)) as preprocessor:
        preprocessor.start()
        first = child_of(preprocessor).pid
        for _ in range(3):
            preprocessor.extract(clips["one_face.gif"], options)
        assert child_of(preprocessor).pid not in (first, None)


def test_a_file_that_ends_in_an_error_counts_as_well(
    tmp_path: Path, clips: dict[str, Path], options: ExtractionOptions
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clips["one_face.mp4"].read_bytes()[:2000])
    with Preprocessor(PreprocessSettings(files_per_worker=1)) as preprocessor:
        preprocessor.start()
        first = child_of(preprocessor).pid
        with pytest.raises(UndecodableError):
            preprocessor.extract(broken, options)
        preprocessor.start()
        assert child_of(preprocessor).pid not in (first, None)


def test_what_the_child_did_not_expect_is_a_typed_error_and_a_new_child(clips: dict[str, Path]) -> None:
    odd = ExtractionOptions(image_size_px=112, crop_margin=1.3, frames=2)
    object.__setattr__(odd, "crop_margin", "wide")  # no such option can be made; the child fails with a TypeError
    with Preprocessor() as preprocessor:
        preprocessor.start()
        first = child_of(preprocessor).pid
        with pytest.raises(DecoderCrashedError, match=r"failed while it read .*one_face\.gif \(TypeError"):
            preprocessor.extract(clips["one_face.gif"], odd)
        preprocessor.start()
        assert child_of(preprocessor).pid not in (first, None)


def test_limits_of_whoever_started_the_parent_are_kept(clips: dict[str, Path]) -> None:
    """Hard limits below those of the settings; a process may not raise them again."""
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (100, 100))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (5 << 30, 5 << 30))\n"
        "from preprocess import ExtractionOptions, extract\n"
        "found = extract(sys.argv[1], ExtractionOptions(image_size_px=112, crop_margin=1.3, frames=2))\n"
        "print(len(found.clips))\n"
    )
    command = [sys.executable, "-c", script, str(clips["one_face.gif"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_closing_leaves_no_process(clips: dict[str, Path], options: ExtractionOptions) -> None:
    with Preprocessor(workers=2) as preprocessor:
        list(preprocessor.extract_all([clips["one_face.mp4"]] * 3, options))
        pids = [worker.pid for worker in preprocessor._all if isinstance(worker, WorkerProcess)]
    for pid in filter(None, pids):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_memory_is_limited(tmp_path: Path, options: ExtractionOptions) -> None:
    Image.new("RGB", (15_000, 11_000)).save(tmp_path / "large.png", compress_level=1)
    settings = PreprocessSettings(max_memory_bytes=1600 * 2**20, max_frame_pixels=170_000_000)
    with Preprocessor(settings) as preprocessor, pytest.raises(MemoryLimitError, match="more memory than 1677721600 bytes"):
        preprocessor.extract(tmp_path / "large.png", options)


def test_16k_pictures_are_refused(tmp_path: Path, preprocessor: Preprocessor, options: ExtractionOptions) -> None:
    Image.new("1", (16_384, 16_384)).save(tmp_path / "large.png")
    with pytest.raises(TooManyPixelsError, match="the limit is 37748736"):
        preprocessor.extract(tmp_path / "large.png", options)


@pytest.mark.parametrize(
    ("container_says", "picture_has_bytes_for_it", "code"),
    [(True, True, "too_many_pixels"), (False, True, "too_many_pixels"), (False, False, "undecodable")],
)
def test_a_video_with_16k_frames_is_refused(
    tmp_path: Path,
    preprocessor: Preprocessor,
    options: ExtractionOptions,
    container_says: bool,
    picture_has_bytes_for_it: bool,
    code: str,
) -> None:
    """A Motion JPEG of 1600x1200 whose headers are rewritten: that of the container, that of the picture.

    A picture of too few bytes for the size that its header tells is damaged to the decoder, whatever the limit is.
    """
    buffer = io.BytesIO()
    Image.new("RGB", (1600, 1200), (90, 120, 30)).save(buffer, "JPEG")
    picture = bytearray(buffer.getvalue())
    at = picture.index(b"\xff\xc0") + 5
    picture[at : at + 4] = struct.pack(">HH", 16_000, 16_000)
    if picture_has_bytes_for_it:
        picture[-2:-2] = bytes(2 << 20)
    path = motion_jpeg(tmp_path / "large.mkv", [bytes(picture)], size=(1600, 1200))
    if container_says:
        data = path.read_bytes()
        for element, before in ((b"\xb0\x82", 1600), (b"\xba\x82", 1200)):
            assert element + struct.pack(">H", before) in data
            data = data.replace(element + struct.pack(">H", before), element + struct.pack(">H", 16_000))
        path.write_bytes(data)
    with pytest.raises(PreprocessError) as caught:
        preprocessor.extract(path, options)
    assert caught.value.code == code
    if code == "too_many_pixels":
        assert "16000x16000 = 256000000 pixels, the limit is 37748736" in str(caught.value)


def motion_jpeg(path: Path, pictures: list[bytes], *, size: tuple[int, int]) -> Path:
    """A Matroska file of JPEGs, 25 a second, that says that its pictures have ``size``."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        assert isinstance(stream, av.VideoStream)
        (stream.width, stream.height), stream.pix_fmt = size, "yuvj420p"
        for number, picture in enumerate(pictures):
            packet = av.Packet(picture)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
            packet.is_keyframe = True
            output.mux(packet)
    return path


def test_pictures_that_change_their_size_are_said_so(
    tmp_path: Path, preprocessor: Preprocessor, options: ExtractionOptions
) -> None:
    pictures = []
    for side in (512, 256):
        buffer = io.BytesIO()
        Image.fromarray(astronaut()).resize((side, side)).save(buffer, "JPEG")
        pictures += [buffer.getvalue()] * 3
    extraction = preprocessor.extract(motion_jpeg(tmp_path / "resized.mkv", pictures, size=(512, 512)), options)
    assert "the pictures change their size (512x512, 256x256); boxes are in pixels of their own frame" in extraction.notes
    assert [len(clip) for clip in extraction.clips] == [3, 3]


def test_a_file_that_grows_is_refused(tmp_path: Path, preprocessor: Preprocessor, options: ExtractionOptions) -> None:
    path = write_long(tmp_path / "growing.mp4", hours=1, size=(64, 48))
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab") as stream:
            while not stop.is_set():
                stream.write(b"more")
                stream.flush()
                time.sleep(0.005)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        with pytest.raises(FileChangedError, match="changed while it was read"):
            preprocessor.extract(path, options)
    finally:
        stop.set()
        writer.join()


def test_the_child_may_open_nothing(preprocessor: Preprocessor) -> None:
    preprocessor.start()
    if child_of(preprocessor).sandbox == 0:
        pytest.skip("this kernel has no Landlock; the trace of system calls shows the same")
    script = (
        "import socket\n"
        "from preprocess.sandbox import shut_off\n"
        "assert shut_off() > 0\n"
        "for path, mode in (('/etc/passwd', 'rb'), ('/tmp/unmask-should-not-be', 'wb')):\n"
        "    try:\n"
        "        open(path, mode)\n"
        "    except PermissionError:\n"
        "        continue\n"
        "    raise SystemExit(path + ' could be opened')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed; Landlock's test covers the same")
def test_nothing_but_the_file_is_opened(tmp_path: Path, clips: dict[str, Path], options: ExtractionOptions) -> None:
    """System calls of the child, all threads, while it reads an ordinary file, a picture and three that name other files."""
    from tests.preprocess.test_media import with_subtitle_stream

    Image.fromarray(astronaut()).save(tmp_path / "picture.webp")
    (tmp_path / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n")
    avi = with_subtitle_stream(clips["one_face_mpeg4.avi"].read_bytes(), b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    (tmp_path / "subtitled.avi").write_bytes(avi)
    paths = [clips["one_face.mp4"], tmp_path / "picture.webp", tmp_path / "playlist.mp4", tmp_path / "subtitled.avi"]
    log = tmp_path / "trace.txt"
    with Preprocessor() as preprocessor:
        preprocessor.start()
        pid = child_of(preprocessor).pid
        calls = "trace=open,openat,openat2,creat,connect,bind,execve,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat"
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-e", calls, "-o", str(log), "-p", str(pid)])
        try:
            deadline = time.monotonic() + 10
            while "TracerPid:\t0" in Path(f"/proc/{pid}/status").read_text():
                if tracer.poll() is not None or time.monotonic() > deadline:
                    pytest.skip("this system does not let strace attach to a process")
                time.sleep(0.05)
            outcomes = [type(result).__name__ for _, result in preprocessor.extract_all(paths, options)]
        finally:
            tracer.terminate()
            tracer.wait()
    assert outcomes == ["Extraction", "Extraction", "NamesOtherFilesError", "NamesOtherFilesError"]
    traced = [line for line in log.read_text().splitlines() if "(" in line and "---" not in line and "resumed" not in line]
    assert traced == []


def test_damaged_files_end_in_a_result_or_a_typed_error(clips: dict[str, Path]) -> None:
    sources = {name: clips[name].read_bytes() for name in fuzz.SOURCES} | fuzz.pictures()
    counts = fuzz.run(80, 2, sources)
    assert sum(counts["outcomes"].values()) == 80
    assert counts["over_the_limit"] == []
    assert counts["files_left"] == []
    assert counts["outcomes"]["result"] > 10
    assert set(counts["outcomes"]) <= {"result", *(cls.code for cls in _all_errors())}


def _all_errors() -> list[type[PreprocessError]]:
    found, pending = [], [PreprocessError]
    while pending:
        found.append(pending.pop())
        pending += found[-1].__subclasses__()
    return found


def test_every_code_leads_back_to_its_class() -> None:
    codes = [cls.code for cls in _all_errors()]
    assert len(set(codes)) == len(codes)
    assert all(error_class(cls.code) is cls for cls in _all_errors())
    assert error_class("made_up") is PreprocessError


def some_extraction() -> Extraction:
    rng = np.random.default_rng(5)
    clip = Clip(
        track_id=0,
        frames=rng.integers(0, 256, (3, 16, 16, 3), np.uint8),
        timestamps_s=np.arange(3.0),
        frame_indices=np.arange(3),
        boxes_px=rng.random((3, 4), np.float32),
        detector_scores=rng.random(3, np.float32),
        quality={"face_px": rng.random(3, np.float32)},
    )
    source = SourceFacts(
        path="a.mp4", kind="video", container="mp4", codec="h264", width_px=16, height_px=16, rotation_deg=0,
        fps=25.0, frame_count=3, duration_s=0.12, size_bytes=9,
    )  # fmt: skip
    return Extraction(
        source=source, clips=(clip,), sampled_frame_indices=np.arange(3), sampled_timestamps_s=np.arange(3.0), dropped=(),
        notes=("a note",), stage_s={"total": 1.0},
    )  # fmt: skip


def test_a_result_crosses_the_wire_unchanged() -> None:
    sent = some_extraction()
    message, blob = wire.pack_extraction(sent)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = threading.Thread(target=wire.send, args=(theirs, message, blob))
        writer.start()
        received, bytes_received, descriptor = wire.receive(ours)
        writer.join()
    got = wire.unpack_extraction(received, bytes_received)
    assert descriptor is None
    assert got.source == sent.source
    assert got.notes == sent.notes
    np.testing.assert_array_equal(got.clips[0].frames, sent.clips[0].frames)
    np.testing.assert_array_equal(got.clips[0].quality["face_px"], sent.clips[0].quality["face_px"])


@pytest.mark.parametrize(
    ("place", "value"),
    [("shape", [9, 16, 16, 3]), ("shape", [-1, 16, 16, 3]), ("dtype", "<f8"), ("dtype", "O"), ("at", 10**12)],
)
def test_a_result_that_lies_about_its_arrays_is_refused(place: str, value: object) -> None:
    message, blob = wire.pack_extraction(some_extraction())
    message["extraction"]["clips"][0]["frames"][place] = value
    with pytest.raises(WorkerError, match="sent a result that cannot be read"):
        wire.unpack_extraction(message, bytearray(blob))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="max_file_byte"):
        PreprocessSettings(max_file_byte=1)  # type: ignore[call-arg]


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_PREPROCESS_MAX_TRACKS", "3")
    assert PreprocessSettings().max_tracks == 3
