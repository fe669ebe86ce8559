"""Starting, draining and stopping the real server; and what is left after each way of ending."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from serving import EmbeddedTriton
from serving.errors import PortInUse, ProfileMismatch, RepositoryError, StartFailed
from serving.readiness import live_config, loaded_models
from tests.conftest import ROOT, free_port_settings

MODELS = {"frame_encoder", "clip_head", "deepfake_detector"}


def segments(server_pid: int) -> list[str]:
    """Shared-memory segments of the server that process ``server_pid`` launched."""
    return [path.name for path in Path("/dev/shm").glob(f"unmask_{server_pid}_*")]


def runs(pid: int) -> bool:
    """True for a process that has not ended."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def gone(pids: list[int], *, timeout_s: float = 20.0) -> bool:
    """Waits until none of the processes runs; a zombie that its parent has not reaped yet counts as gone."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not any(runs(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def serve_command(repository: Path, *arguments: str) -> subprocess.Popen[str]:
    """`unmask serve` on free ports, as a user starts it."""
    ports = ("--grpc-port", "0", "--http-port", "0", "--metrics-port", "0")
    return subprocess.Popen(
        [sys.executable, "-m", "unmask", "serve", "--no-console", "--repository", str(repository), *ports, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def copy_of(repository: Path, target: Path) -> Path:
    """A repository that a test may break; graphs are hard links."""
    shutil.copytree(repository, target, copy_function=os.link, ignore=shutil.ignore_patterns(".built"))
    return target


def replace(path: Path, content: bytes) -> None:
    """Writes a file anew, so that the one it was linked to keeps its content."""
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("fixture", ["triton", "triton_cpu"])
def test_every_model_is_ready_and_runs_the_profile(fixture: str, request: pytest.FixtureRequest) -> None:
    server: EmbeddedTriton = request.getfixturevalue(fixture)
    assert {name for name, state in loaded_models(server.http_url, server.admin_key).items() if state == "READY"} >= MODELS
    for model in MODELS:
        assert live_config(server.http_url, model)["parameters"]["profile"]["string_value"] == server.profile
    backends = {"reference": "onnxruntime", "cpu": "openvino"}
    assert live_config(server.http_url, "frame_encoder")["backend"] == backends[str(server.profile)]


def test_stop_leaves_no_process_no_shared_memory_and_no_folder(repository: Path) -> None:
    before, folders_before = set(segments(os.getpid())), set(Path("/tmp").glob("python_env_*"))
    server = EmbeddedTriton(free_port_settings(repository, profile="reference")).start()
    pids = server.pids()
    assert set(segments(os.getpid())) > before
    folders = set(Path("/tmp").glob("python_env_*")) - folders_before
    assert folders, "Triton's Python backend makes one"
    assert len(pids) >= 4, "guard, server and a worker for each of two models"
    server.stop()
    server.stop()
    assert gone(pids)
    assert set(segments(os.getpid())) <= before
    assert not [folder for folder in folders if folder.exists()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_however_unmask_serve_ends_nothing_is_left(repository: Path, number: signal.Signals) -> None:
    command = serve_command(repository, "--profile", "reference")
    assert command.stdout is not None
    try:
        assert command.stdout.readline().startswith("ready: profile reference, gRPC 127.0.0.1:")
        children = [child.pid for child in psutil.Process(command.pid).children(recursive=True)]
        assert len(children) >= 4
        assert segments(command.pid)
        command.send_signal(number)
        command.communicate(timeout=60)
    finally:
        command.kill()
    assert command.returncode == (-9 if number == signal.SIGKILL else 0)
    assert gone(children)
    assert not segments(command.pid)


def test_a_killed_server_is_noticed_and_cleaned_up(repository: Path) -> None:
    command = serve_command(repository, "--profile", "reference")
    assert command.stdout is not None
    try:
        command.stdout.readline()
        children = psutil.Process(command.pid).children(recursive=True)
        next(child for child in children if child.name() == "tritonserver").kill()
        _, errors = command.communicate(timeout=60)
    finally:
        command.kill()
    assert command.returncode == 3
    assert "Triton ended by itself with code 137" in errors
    assert gone([child.pid for child in children])
    assert not segments(command.pid)


def test_a_killed_guard_takes_the_server_with_it(repository: Path) -> None:
    server = EmbeddedTriton(free_port_settings(repository, profile="reference")).start()
    pids = server.pids()
    os.kill(pids[0], signal.SIGKILL)
    try:
        assert gone(pids[1:], timeout_s=45)
    finally:
        server.stop()


def serves_the_ensemble(server: EmbeddedTriton) -> bool:
    """False once the ensemble was taken out of service, or the server is gone; a server too busy to say so still serves it."""
    try:
        return loaded_models(server.http_url, server.admin_key).get("deepfake_detector") == "READY"
    except urllib.error.URLError as error:
        return isinstance(error.reason, TimeoutError)
    except TimeoutError:
        return True
    except OSError:
        return False


def test_a_stop_answers_what_is_in_flight_and_refuses_what_is_new(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        caplog.clear()
        refused, answered = asked_around_a_stop(repository)
        # A machine that stands still for a second costs a worker, which is another test's subject.
        lost = [record.getMessage() for record in caplog.records if "worker" in record.getMessage()]
        if "is not healthy" not in f"{refused} {answered}" and not lost:
            break
    else:
        pytest.skip(f"the worker was lost each time, so nothing can be said about stopping: {refused}, {answered}, log: {lost}")
    assert isinstance(refused, InferenceServerException), "a request after the stop must be refused"
    # Triton calls a model that was taken out of service unknown; once it stopped, the connection itself is refused.
    assert str(refused.status()) in ("StatusCode.NOT_FOUND", "StatusCode.UNAVAILABLE")
    assert isinstance(answered, np.ndarray), f"the request in flight was not answered: {answered}"


def asked_around_a_stop(repository: Path) -> tuple[object, object]:
    """What two requests got: one sent after a stop was asked for, and one of 100 frames that was in flight then.

    Both are what the request before got where that failed.
    """
    settings = free_port_settings(repository, profile="reference", drain_timeout_s=120)
    with EmbeddedTriton(settings) as server, ThreadPoolExecutor(2) as pool:

        def ask(count: int) -> object:
            frames = np.zeros((count, 112, 112, 3), np.uint8)
            request = triton_grpc.InferInput("FRAMES", frames.shape, "UINT8")
            request.set_data_from_numpy(frames)
            with triton_grpc.InferenceServerClient(server.grpc_url) as client:
                try:
                    return client.infer("deepfake_detector", [request], client_timeout=150).as_numpy("CLIP_PROBABILITY")
                except InferenceServerException as error:
                    return error

        warm = ask(100)  # so that the next takes no longer than it must
        if not isinstance(warm, np.ndarray):
            return warm, warm
        in_flight = pool.submit(ask, 100)
        time.sleep(0.5)  # 100 frames take about a second in fp32
        stopped = pool.submit(server.stop)
        while server.alive() and serves_the_ensemble(server):
            time.sleep(0.02)
        refused = ask(1)
        answered = in_flight.result()
        stopped.result()
        return refused, answered


def test_the_current_folder_has_no_say(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "__init__.py").write_text("raise SystemExit('a package of the same name')\n")
    monkeypatch.chdir(tmp_path)
    with EmbeddedTriton(free_port_settings(repository, profile="reference", explainer=False, drain_timeout_s=0)) as server:
        assert serves_the_ensemble(server)


def test_a_stop_is_heard_although_another_process_holds_the_pipe(repository: Path) -> None:
    server = EmbeddedTriton(free_port_settings(repository, profile="reference", drain_timeout_s=120)).start()
    pids = server.pids()
    assert server._guard is not None
    assert server._guard.stdin is not None
    # As a process forked from this one would.
    holder = subprocess.Popen(["sleep", "3600"], pass_fds=(server._guard.stdin.fileno(),))
    try:
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert gone(pids, timeout_s=120), "without a signal it waits four minutes"
        stopping.join()
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.parametrize("path", ["index", "models/clip_head/load", "models/clip_head/unload"])
def test_the_api_that_loads_models_is_locked(triton: EmbeddedTriton, path: str) -> None:
    # A page in any browser on this machine could send this very request.
    request = urllib.request.Request(f"{triton.http_url}/v2/repository/{path}", data=b"{}", method="POST")
    request.add_header("Content-Type", "text/plain")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)
    with triton_grpc.InferenceServerClient(triton.grpc_url) as client:
        with pytest.raises(InferenceServerException, match="restricted"):
            client.unload_model("clip_head")
        assert client.is_model_ready("clip_head")


def test_a_port_in_use_is_named(repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = free_port_settings(repository, profile="reference").model_copy(update={"http_port": port})
        with pytest.raises(PortInUse, match=rf"http port {port} on 127\.0\.0\.1 is in use.*--http-port"):
            EmbeddedTriton(settings).start()


@pytest.mark.parametrize(
    ("content", "profile"),
    [(b"", "reference"), (b"not a graph", "reference"), (None, "reference"), (None, "cpu")],
    ids=["empty", "text", "truncated", "truncated for OpenVINO"],
)
def test_a_broken_graph_is_one_clear_error(repository: Path, tmp_path: Path, content: bytes | None, profile: str) -> None:
    broken = copy_of(repository, tmp_path / "repository")
    graph = broken / "clip_head" / "1" / "model.onnx"
    replace(graph, graph.read_bytes()[:100_000] if content is None else content)
    command = serve_command(broken, "--profile", profile)
    output, errors = command.communicate(timeout=120)
    assert command.returncode == 3
    assert output == ""
    assert str(graph) in errors, "the file is named"
    assert "unmask export" in errors, "and what to do"
    assert len(errors.splitlines()) <= 2, errors
    assert r"\n" not in errors
    assert ".cpp" not in errors


def test_a_missing_profile_configuration_is_not_taken_for_the_profile(repository: Path, tmp_path: Path) -> None:
    broken = copy_of(repository, tmp_path / "repository")
    (broken / "clip_head" / "configs" / "cpu.pbtxt").unlink()
    with pytest.raises(ProfileMismatch, match="clip_head runs reference"):
        EmbeddedTriton(free_port_settings(broken, profile="cpu")).start()


def test_a_configuration_that_contradicts_its_graph_is_refused(repository: Path, tmp_path: Path) -> None:
    broken = copy_of(repository, tmp_path / "repository")
    path = broken / "frame_encoder" / "config.pbtxt"
    replace(path, path.read_bytes().replace(b'name: "FEATURES"', b'name: "EMBEDDING"'))
    with pytest.raises(StartFailed, match=r"config\.pbtxt has outputs \['EMBEDDING'\], model\.onnx has \['FEATURES', 'MAPS'\]"):
        EmbeddedTriton(free_port_settings(broken, profile="reference")).start()


def test_repositories_that_cannot_be_served(tmp_path: Path, repository: Path) -> None:
    with pytest.raises(RepositoryError, match="no model repository at"):
        EmbeddedTriton(free_port_settings(tmp_path / "absent")).start()
    with pytest.raises(RepositoryError, match="holds no model"):
        EmbeddedTriton(free_port_settings(tmp_path)).start()
    unbuilt = copy_of(repository, tmp_path / "repository")
    shutil.rmtree(unbuilt / "clip_head" / "1")
    with pytest.raises(RepositoryError, match=r"clip_head .* not built .*unmask export"):
        EmbeddedTriton(free_port_settings(unbuilt)).start()


def test_a_missing_wheel_is_one_clear_error() -> None:
    # -S leaves site-packages out: an environment in which the wheel is not installed.
    code = "from serving.runtime import find_runtime; find_runtime()"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "TritonMissing: the embedded server needs nvidia-pytriton, which is not installed" in done.stderr
    assert "pip install 'unmask[serve]'" in done.stderr


def test_the_gpu_profile_says_what_is_missing_here(repository: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has an NVIDIA GPU: the profile may work here")
    command = serve_command(repository, "--profile", "gpu")
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 3
    assert "the profile gpu cannot run here" in errors
