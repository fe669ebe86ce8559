"""``unmask detect`` as it is typed, on the real server."""

import json
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
import trustme
from referencing import Registry, Resource

from client.results import results_schema
from client.verdict import Verdict, verdict_schema
from serving import EmbeddedTriton
from tests.clips import make_clips
from tests.conftest import ROOT

EXIT_DONE, EXIT_INPUT, EXIT_USAGE, EXIT_SERVER = 0, 1, 2, 3


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unmask", "detect", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What --json printed, held against its schema."""
    parsed: dict[str, Any] = json.loads(done.stdout)
    registry: Registry[Any] = Registry().with_resource("urn:unmask:verdict:1", Resource.from_contents(verdict_schema()))
    jsonschema.Draft202012Validator(results_schema(), registry=registry).validate(parsed)
    return parsed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, a hostile name, and files that are not what they are called."""
    folder = tmp_path_factory.mktemp("detect")
    clip = make_clips(folder, ["one_face.mp4"])["one_face.mp4"]
    shutil.copy(clip, folder / "[red]\x1b[31m\u202e<b>&.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a film\n" * 100)
    (folder / "notes.txt").write_text("left alone")
    (folder / "no media").mkdir()
    return folder


def test_a_folder_in_json_with_a_report(triton: EmbeddedTriton, folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = run(
        folder,
        folder / "no media",
        folder / "absent.mp4",
        "--url",
        triton.http_url,
        "--frames",
        "5",
        "--json",
        "--report",
        report,
    )
    parsed = document(done)
    assert done.returncode == EXIT_INPUT, done.stderr
    assert parsed["counts"] == {"FAKE": 0, "REAL": 0, "UNCERTAIN": 0, "NOT_EVALUATED": 2, "ERROR": 4}
    by_name = {Path(item["path"]).name: item for item in parsed["results"]}
    codes = {name: item["error"]["code"] for name, item in by_name.items() if "error" in item}
    assert codes == {
        "empty.mp4": "empty_file",
        "text.mp4": "unsupported_media",
        "no media": "no_media",
        "absent.mp4": "not_found",
    }
    verdict = Verdict.from_dict(by_name["one_face.mp4"]["verdict"])
    assert verdict.reason == "untrained_model"
    assert len(verdict.tracks[0].frames) == 5
    page = report.read_text("utf-8")
    assert page.count('<section class="file') == 6
    assert "<b>&" not in page
    assert str(report) in done.stderr
    assert list(tmp_path.iterdir()) == [report]


def test_a_pipe_gets_tab_separated_lines_and_no_bar(triton: EmbeddedTriton, folder: Path) -> None:
    hostile = folder / "[red]\x1b[31m\u202e<b>&.mp4"
    done = run(hostile, "--url", triton.grpc_url, "--frames", "4")
    assert done.returncode == EXIT_DONE, done.stderr
    [line] = done.stdout.splitlines()
    label, score, path, why = line.split("\t")
    assert label == "NOT_EVALUATED"
    assert re.fullmatch(r"0\.\d{3}", score)
    assert path.endswith("[red]\\u001b[31m\\u202e<b>&.mp4")
    assert "never trained" in why
    assert "\x1b" not in done.stdout + done.stderr
    assert "evaluating" not in done.stderr


def test_a_name_that_is_no_text(triton: EmbeddedTriton, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(folder / "one_face.mp4", path)
    report = tmp_path / "report.html"
    done = run(path, "--url", triton.grpc_url, "--frames", "4", "--json", "--report", report)
    assert done.returncode == EXIT_DONE, done.stderr
    [result] = document(done)["results"]
    assert Verdict.from_dict(result["verdict"]).source.path == str(path)
    assert "caf\\udce9.mp4" in report.read_text("utf-8")
    done = run(path, "--url", triton.grpc_url, "--frames", "4")
    assert "caf\\udce9.mp4" in done.stdout


def test_a_terminal_gets_a_table_and_a_bar(triton: EmbeddedTriton, folder: Path) -> None:
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "unmask", "detect", str(folder / "one_face.mp4"), "--url", triton.grpc_url, "--frames", "4"],
        cwd=ROOT,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(terminal)
    seen = b""
    while select.select([screen], [], [], 60)[0]:
        try:
            data = os.read(screen, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not data:
            break
        seen += data
    os.close(screen)
    assert process.wait(timeout=60) == EXIT_DONE
    text = seen.decode()
    for part in ("evaluating", "File", "Verdict", "NOT EVALUATED", "Nothing is said about whether"):
        assert part in text


def test_without_url_a_server_is_started_and_stopped(folder: Path, repository: Path) -> None:
    assert repository.is_dir()
    done = run(folder / "one_face.mp4", "--frames", "4", "--profile", "reference", "--json")
    assert done.returncode == EXIT_DONE, done.stderr
    [result] = document(done)["results"]
    assert result["verdict"]["model"]["profile"] == "reference"
    assert "no --url: starting a Triton server for this call" in done.stderr
    url = re.search(r"serving profile reference on 127\.0\.0\.1:(\d+)", done.stderr)
    assert url
    # The port is in the server's command line.
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if f"--grpc-port={url[1]}" in line]


def test_a_server_that_cannot_be_started(folder: Path, tmp_path: Path) -> None:
    done = run(folder / "one_face.mp4", folder / "no media", "--json", UNMASK_SERVING_MODEL_REPOSITORY=str(tmp_path / "none"))
    assert done.returncode == EXIT_SERVER
    codes = [result["error"]["code"] for result in document(done)["results"]]
    assert codes == ["server_not_started", "no_media"]
    assert "there is no model repository" in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_listens(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = run(folder / "one_face.mp4", "--json", UNMASK_URL=f"http://127.0.0.1:{port}")
    assert done.returncode == EXIT_SERVER
    [result] = document(done)["results"]
    assert result["error"]["code"] == "unreachable"
    assert f"127.0.0.1:{port}" in result["error"]["message"]


def test_a_report_that_cannot_be_written_stops_no_other(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    reports = ("--report", "/proc/report.json", "--report", tmp_path / "report.json")
    done = run(folder / "one_face.mp4", "--url", f"http://127.0.0.1:{port}", *reports)
    assert done.returncode == EXIT_SERVER, "what became of the reports must not hide what became of the server"
    assert "/proc/report.json could not be written" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    assert json.loads((tmp_path / "report.json").read_text())["results"][0]["error"]["code"] == "unreachable"
    done = run(folder / "no media", "--report", "/proc/report.html")
    assert done.returncode == EXIT_INPUT
    assert "Traceback" not in done.stderr


def test_a_deadline_that_cannot_be_met(triton: EmbeddedTriton, folder: Path) -> None:
    done = run(folder / "one_face.mp4", "--url", triton.grpc_url, "--deadline", "0.000001", "--json")
    assert done.returncode == EXIT_SERVER
    assert document(done)["results"][0]["error"]["code"] == "deadline_exceeded"


def test_nothing_to_evaluate_starts_no_server(folder: Path) -> None:
    done = run(folder / "no media", "--json")
    assert done.returncode == EXIT_INPUT
    assert document(done)["results"][0]["error"]["code"] == "no_media"
    assert "starting" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'PATH...'"),
        (["x.mp4", "--frames", "0"], "0 is not in the range x>=1"),
        (["x.mp4", "--frames", "many"], "not a valid integer"),
        (["x.mp4", "--deadline", "0"], "not in the range"),
        (["x.mp4", "--url", "ftp://host"], "ftp"),
        (["x.mp4", "--url", ""], "names no host"),
        (["x.mp4", "--url", "localhost:1", "--profile", "cpu"], "--profile belongs to"),
        (["x.mp4", "--url", "localhost:1", "--tls-ca", "ca.pem"], "grpcs:// or https://"),
        (["x.mp4", "--url", "https://localhost:1", "--tls-ca", __file__], "no certificate can be read"),
        (["x.mp4", "--url", "grpcs://localhost:1", "--tls-ca", __file__], "no certificate can be read"),
        (["x.mp4", "--tls-cert", __file__, "--url", "grpcs://localhost:1"], "belong together"),
        (["x.mp4", "--report", "/no/such/folder/report.html"], "does not exist"),
        (["x.mp4", "--nonsense"], "No such option"),
    ],
)
def test_usage(arguments: list[str], message: str, folder: Path) -> None:
    trustme.CA().cert_pem.write_to_path(folder.parent / "ca.pem")
    files = {"x.mp4": str(folder / "one_face.mp4"), "ca.pem": str(folder.parent / "ca.pem")}
    arguments = [files.get(argument, argument) for argument in arguments]
    done = run(*arguments)
    assert done.returncode == EXIT_USAGE, done.stderr
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_more_frames_than_the_model_takes_is_usage(triton: EmbeddedTriton, folder: Path) -> None:
    done = run(folder / "one_face.mp4", "--url", triton.grpc_url, "--frames", "257")
    assert done.returncode == EXIT_USAGE
    assert "257" in done.stderr
    assert "1 to 256" in " ".join(done.stderr.split())


def test_help_is_quick_to_import() -> None:
    code = "import sys, unmask.detect; print([name for name in ('grpc', 'cv2', 'mediapipe', 'rich') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
