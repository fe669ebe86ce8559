"""Hostile and unlucky uploads: the right status, flat memory, and nothing left on the disk."""

import contextlib
import io
import json
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from console.supervisor import Console
from tests.console.conftest import console_settings

LIMIT = 3_000_000
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console with small limits and no worker: what is accepted stays in the queue."""
    settings = console_settings(
        tmp_path_factory.mktemp("strict"),
        max_upload_bytes=LIMIT,
        max_batch_files=3,
        max_batch_bytes=3 * LIMIT,
        max_queued=12,
        triton_url="127.0.0.1:9",
    )
    with Console(settings) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console that waits for nobody: not for the tests whose bytes are to arrive, however busy the machine is."""
    settings = console_settings(
        tmp_path_factory.mktemp("impatient"), header_timeout_s=0.5, upload_idle_s=0.5, triton_url="127.0.0.1:9"
    )
    with Console(settings) as running:
        yield running


@pytest.fixture
def client(strict: Console) -> Iterator[httpx.Client]:
    """Empties the queue after each test, and sees that no upload is left behind."""
    with httpx.Client(base_url=strict.url, timeout=60, trust_env=False) as client:
        yield client
        items = client.get("/v1/analyses", params={"limit": 200}).json()["items"]
        assert sorted(path.name for path in strict.settings.uploads_dir.iterdir()) == sorted(item["id"] for item in items)
        for item in items:
            client.delete(item["links"]["self"])
        assert list(strict.settings.uploads_dir.iterdir()) == []


def png(size: int) -> bytes:
    """So many bytes that begin as a PNG does."""
    return PNG + bytes(size - len(PNG))


def pieces(data: bytes) -> Iterator[bytes]:
    """In chunks, so that httpx sends no length."""
    for at in range(0, len(data), 50_000):
        yield data[at : at + 50_000]


@pytest.mark.parametrize(("extra", "status"), [(-1, 202), (0, 202), (1, 413)])
@pytest.mark.parametrize("form", ["multipart", "raw", "chunked"])
def test_limit_is_exact(client: httpx.Client, form: str, extra: int, status: int) -> None:
    data = png(LIMIT + extra)
    if form == "multipart":
        answer = client.post("/v1/analyses", files={"file": ("a.png", data)})
    else:
        content = data if form == "raw" else pieces(data)
        answer = client.post("/v1/analyses", content=content, headers={"content-type": "image/png"})
        assert ("transfer-encoding" in answer.request.headers) == (form == "chunked")
    assert answer.status_code == status
    if status == 413:
        assert answer.json()["code"] == "too_large"
        assert str(LIMIT) in answer.json()["detail"]
    else:
        assert answer.json()["size_bytes"] == len(data)


def exchange(strict: Console, *parts: bytes, then_close: bool = False) -> tuple[int, bytes]:
    """Sends bytes as they are and reads until the server closes or has answered; status 0 where it closed without a word."""
    address = urlsplit(strict.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        if then_close:
            return 0, b""
        received = b""
        while b"\r\n\r\n" not in received or b"}" not in received:
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            received += part
    return (int(received.split(b" ", 2)[1]) if received else 0), received


def head(strict: Console, *lines: str, path: str = "/v1/analyses") -> bytes:
    """The head of a POST."""
    netloc = urlsplit(strict.url).netloc
    return "\r\n".join([f"POST {path} HTTP/1.1", f"Host: {netloc}", *lines, "", ""]).encode()


def left_behind(console: Console) -> list[str]:
    """Uploads that lie there."""
    return [path.name for path in console.settings.uploads_dir.iterdir()]


def test_length_that_lies_high(strict: Console, client: httpx.Client, impatient: Console) -> None:
    status, body = exchange(strict, head(strict, "Content-Type: image/png", "Content-Length: 99999999999"), PNG)
    assert status == 413
    assert b"too_large" in body
    # Within the limit, but the bytes never come.
    status, body = exchange(impatient, head(impatient, "Content-Type: image/png", "Content-Length: 100000"), PNG)
    assert status == 408
    assert b"upload_timeout" in body
    assert left_behind(impatient) == []
    assert client.get("/v1/analyses").json()["total"] == 0


def test_length_that_lies_low(strict: Console, client: httpx.Client) -> None:
    data = png(1000)
    # What comes after the announced bytes is the next request, and is no request.
    status, _ = exchange(strict, head(strict, "Content-Type: image/png", "Content-Length: 20"), data)
    assert status == 202
    assert [item["size_bytes"] for item in client.get("/v1/analyses").json()["items"]] == [20]


def test_slow_loris(impatient: Console) -> None:
    status, received = exchange(impatient, b"POST /v1/analyses HTTP/1.1\r\nHost: loc")
    assert (status, received) == (0, b"")  # closed after header_timeout_s
    status, received = exchange(impatient, b"")
    assert (status, received) == (0, b"")
    assert left_behind(impatient) == []
    assert impatient.pids()["api"]


def test_sender_that_goes_away(strict: Console, client: httpx.Client) -> None:
    exchange(strict, head(strict, "Content-Type: image/png", "Content-Length: 100000"), png(50_000), then_close=True)
    assert client.get("/v1/analyses").json()["total"] == 0


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system32\\x.png", "x.png"),
        ("/etc/cron.d/x", "x"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("a\x00b\x1b[31m.png", "ab[31m.png"),
        ("x" * 5000 + ".png", "x" * 246 + ".png"),
        ("新闻 视频.png", "新闻 视频.png"),
        ("<script>alert(1)</script>.png", "script>.png"),
    ],
)
def test_tricks_in_the_name(strict: Console, client: httpx.Client, given: str, kept: str) -> None:
    answer = client.post(
        "/v1/analyses", params={"filename": given[:1024]}, content=png(100), headers={"content-type": "image/png"}
    )
    assert answer.status_code == 202
    if len(given) < 1024:
        assert answer.json()["filename"] == kept
    escaped = given.replace("\\", "\\\\").encode("utf-8")
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n--b--\r\n'
    sent = client.post(
        "/v1/analyses", content=body % (escaped, png(100)), headers={"content-type": "multipart/form-data; boundary=b"}
    )
    # A header of 5 kB is more than any file name needs.
    assert (sent.status_code, sent.json().get("filename")) == ((400, None) if len(given) > 4000 else (202, kept))
    outside = [path for path in strict.settings.data_dir.rglob("*") if path.name in ("passwd", "x.png", "x")]
    assert outside == []


def test_ten_thousand_fields(client: httpx.Client) -> None:
    parts = b"".join(b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % number for number in range(10_000))
    answer = client.post(
        "/v1/analyses", content=parts + b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert "fields" in answer.json()["detail"]


def test_field_as_large_as_a_file(client: httpx.Client) -> None:
    answer = client.post("/v1/analyses", files={"detector": (None, "x" * 1_000_000), "file": ("a.png", png(100))})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_too_many_files(client: httpx.Client) -> None:
    answer = client.post("/v1/analyses", files=[("file", (f"{number}.png", png(100))) for number in range(4)])
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_zip_named_mp4(client: httpx.Client) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(10_000_000))
    answer = client.post("/v1/analyses", files={"file": ("holiday.mp4", packed.getvalue(), "video/mp4")})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media")
    assert "holiday.mp4" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "image/png", 415, "empty_file"),
        (b"#EXTM3U\nhttp://169.254.169.254/", "video/mp4", 415, "names_other_files"),
        (b"{}", "application/json", 415, "unsupported_media"),
        (b"--b\r\nnonsense", "multipart/form-data; boundary=b", 400, "bad_upload"),
        (b"--b\r\n", "multipart/form-data", 400, "bad_upload"),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 400, "bad_upload"),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n\x89PNG', "multipart/form-data; boundary=b", 400, "bad_upload"),
    ],
)  # fmt: skip
def test_bodies_that_are_no_upload(client: httpx.Client, body: bytes, kind: str, status: int, code: str) -> None:
    answer = client.post("/v1/analyses", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_full_queue(client: httpx.Client) -> None:
    for _ in range(12):
        assert client.post("/v1/analyses", files={"file": ("a.png", png(100))}).status_code == 202
    answer = client.post("/v1/analyses", files={"file": ("a.png", png(100))})
    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
    assert int(answer.headers["retry-after"]) >= 1


def test_other_bodies_are_small(client: httpx.Client) -> None:
    answer = client.post("/analyses/delete", content=b"id=" + b"a" * 100_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert client.post("/sign-in", content=pieces(b"key=" + b"a" * 100_000)).status_code == 413


def test_memory_stays_flat_while_reading(strict: Console, client: httpx.Client) -> None:
    process = psutil.Process(strict.pids()["api"])
    client.post("/v1/analyses", content=pieces(png(LIMIT + 1)), headers={"content-type": "image/png"})
    before = process.memory_info().rss
    for _ in range(20):
        # 60 MB in all, each file refused or accepted only at its end.
        answer = client.post("/v1/analyses", content=pieces(bytes(LIMIT)), headers={"content-type": "video/mp4"})
        assert answer.status_code == 415
    assert process.memory_info().rss - before < 16 * 2**20


def test_problem_of_an_upload_is_readable(client: httpx.Client) -> None:
    answer = client.post("/v1/analyses", files={"file": ("a.txt", b"hello")})
    problem = json.loads(answer.text)
    assert problem["type"] == "urn:unmask:problem:unsupported_media"
    assert problem["status"] == 415
    assert problem["instance"] == "/v1/analyses"
    assert "mp4" in problem["detail"]
    assert str(Path("uploads")) not in problem["detail"]


def test_room_is_looked_for_while_reading(tmp_path: Path) -> None:
    """A body without a length is stopped where the disk has no room left for it, long before the disk is full."""
    keep = shutil.disk_usage(tmp_path).free - 24 * 2**20
    with Console(console_settings(tmp_path, min_free_disk_bytes=keep, triton_url="127.0.0.1:9")) as cramped:
        body = pieces(bytes(128 * 2**20))
        with httpx.Client(base_url=cramped.url, timeout=60, trust_env=False) as client:
            answer = client.post("/v1/analyses", content=body, headers={"content-type": "video/mp4"})
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        assert left_behind(cramped) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(path)], check=False, capture_output=True
    ).returncode:
        pytest.skip("this user may not mount a small file system")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_full_disk(small_disk: Path) -> None:
    settings = console_settings(small_disk / "data", min_free_disk_bytes=0, triton_url="127.0.0.1:9")
    with Console(settings) as cramped, httpx.Client(base_url=cramped.url, timeout=60, trust_env=False) as client:
        kept = client.post("/v1/analyses", files={"file": ("a.png", png(500_000))}).json()
        answer = client.post("/v1/analyses", content=pieces(png(9_000_000)), headers={"content-type": "image/png"})
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        assert left_behind(cramped) == [kept["id"]]
        with (small_disk / "data" / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        assert client.get("/v1/analyses").json()["total"] == 1
        answer = client.post("/v1/analyses", files={"file": ("a.png", png(100))})
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        # The remedy works although nothing can be written.
        assert client.delete(kept["links"]["self"]).status_code == 204
        assert left_behind(cramped) == []
        assert client.get("/v1/analyses").json()["total"] == 0
        assert client.post("/v1/analyses", files={"file": ("a.png", png(100))}).status_code == 202
