"""Starts the embedded Triton, waits until it serves the profile that was asked for, drains and stops it."""

import contextlib
import ctypes
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from types import TracebackType

from serving import backend_config, readiness, run_directory
from serving.backend_directory import lay_out
from serving.errors import StartFailed, StartTimeout, TritonMissing
from serving.guard import ADMIN_KEY_VARIABLE
from serving.log_relay import LogRelay
from serving.ports import reserve
from serving.profiles import Profile, pick
from serving.repository import check_repository, hold_repository
from serving.runtime import TritonRuntime, find_runtime
from serving.settings import ServingSettings

_POLL_S = 0.05
# 256 frames of 112x112 are 9.6 MB; a region that holds several requests never grows while it serves.
_SHM_REGION_BYTES = 64 * 1024 * 1024


class EmbeddedTriton:
    """A Triton server as a child process; a context manager.

    Attributes after ``start``: ``profile`` (what ``auto`` became), ``grpc_url`` (``host:port``), ``http_url`` and ``metrics_url``.
    """

    def __init__(self, settings: ServingSettings | None = None) -> None:
        self.settings = settings or ServingSettings()
        self.profile: Profile | None = None
        self.admin_key = self.settings.admin_key or secrets.token_urlsafe(24)
        self._ports: dict[str, int] = {}
        self._guard: subprocess.Popen[str] | None = None
        self._relay: LogRelay | None = None
        self._run_dir: Path | None = None
        self._hold: int | None = None
        self._run_hold: int | None = None

    @property
    def grpc_url(self) -> str:
        """``host:port`` of the gRPC endpoint."""
        return f"{self._client_host}:{self._ports['grpc']}"

    @property
    def http_url(self) -> str:
        """``http://host:port``."""
        return f"http://{self._client_host}:{self._ports['http']}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus reads."""
        return f"http://{self._client_host}:{self._ports['metrics']}/metrics"

    @property
    def _client_host(self) -> str:
        # A client on this machine cannot connect to "any address".
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.settings.host, self.settings.host)
        return f"[{host}]" if ":" in host and not host.startswith("[") else host

    def pids(self) -> list[int]:
        """Process ids of the guard, the server and the backends' workers."""
        if self._guard is None:
            return []
        import psutil

        try:
            guard = psutil.Process(self._guard.pid)
            return [guard.pid, *(child.pid for child in guard.children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    def alive(self) -> bool:
        """True while the server's process runs."""
        return self._guard is not None and self._guard.poll() is None

    def start(self) -> "EmbeddedTriton":
        """Starts the server and returns when every model is ready in the right profile.

        Raises:
            ServingError: One of its kinds; nothing is left running.
        """
        if self._guard is not None:
            raise RuntimeError("this server was started already")
        settings = self.settings
        runtime = find_runtime()
        check_libpython(runtime)
        self.profile = pick(settings.profile)
        check_repository(settings.model_repository)
        self._ports = reserve(
            settings.host, {"grpc": settings.grpc_port, "http": settings.http_port, "metrics": settings.metrics_port}
        )
        try:
            self._launch(runtime)
            self._wait_until_ready()
            readiness.check_profile(self.http_url, self.profile, self.admin_key)
            assert self._relay is not None
            self._relay.release()
            self._tell_the_guard_that_it_is_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def _launch(self, runtime: TritonRuntime) -> None:
        settings = self.settings
        shm_prefix = f"unmask_{os.getpid()}_{secrets.token_hex(3)}_"
        run_directory.sweep()
        run_dir, self._run_hold = run_directory.make()
        self._run_dir = run_dir
        backends = lay_out(run_dir / "backends", runtime)
        command = self._command(runtime, backends, shm_prefix)
        self._hold = hold_repository(settings.model_repository)
        self._guard = subprocess.Popen(
            [
                *(sys.executable, "-m", "serving.guard"),
                *("--shm-prefix", shm_prefix, "--drain-s", str(settings.drain_timeout_s), "--http-url", self.http_url),
                *("--run-dir", str(run_dir), "--repository", str(settings.model_repository.resolve())),
                *(["--explainer"] if settings.explainer else []),
                *("--", *command),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self._environment(runtime),
            # `-m` and the workers' interpreters look into the current folder first, where a `serving` of somebody else may lie.
            cwd=run_dir,
            # Ctrl+C on the terminal is for the launcher alone: it drains the server in its own time.
            start_new_session=True,
            pass_fds=(self._run_hold,),
        )
        assert self._guard.stdout is not None
        self._relay = LogRelay(self._guard.stdout)
        self._relay.start()

    def _command(self, runtime: TritonRuntime, backends: Path, shm_prefix: str) -> list[str]:
        settings = self.settings
        options = {
            "model-repository": settings.model_repository.resolve(),
            "backend-directory": backends,
            "model-control-mode": "explicit",
            "exit-on-error": "true",
            "exit-timeout-secs": max(1, round(settings.drain_timeout_s)),
            "http-address": settings.host,
            "http-port": self._ports["http"],
            "grpc-address": settings.host,
            "grpc-port": self._ports["grpc"],
            "metrics-address": settings.host,
            "metrics-port": self._ports["metrics"],
            "allow-gpu-metrics": "true" if self.profile == "gpu" else "false",
            "log-verbose": settings.verbose,
        }
        if self.profile != "reference":
            options["model-config-name"] = self.profile
        python_options = {
            "shm-region-prefix-name": shm_prefix,
            "shm-default-byte-size": _SHM_REGION_BYTES,
            "shm-growth-byte-size": _SHM_REGION_BYTES,
        }
        return [
            str(runtime.binary),
            "--disable-auto-complete-config",
            # Any page in a browser of this machine can post to loopback, and a load request can bring its own Python file.
            f"--http-restricted-api=model-repository:{readiness.ADMIN_HEADER}={self.admin_key}",
            f"--grpc-restricted-protocol=model-repository:{readiness.ADMIN_HEADER}={self.admin_key}",
            *(f"--{name}={value}" for name, value in options.items()),
            *(f"--backend-config=python,{name}={value}" for name, value in python_options.items()),
        ]

    def _environment(self, runtime: TritonRuntime) -> dict[str, str]:
        settings = self.settings
        environment = dict(os.environ)
        # The stub runs the `python3` that comes first, and that must be this environment's.
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
        libraries = [str(runtime.libraries), sysconfig.get_config_var("LIBDIR"), environment.get("LD_LIBRARY_PATH")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(path for path in libraries if path)
        root = str(Path(__file__).resolve().parent.parent)
        environment["PYTHONPATH"] = os.pathsep.join(path for path in (root, environment.get("PYTHONPATH")) if path)
        environment[ADMIN_KEY_VARIABLE] = self.admin_key
        environment[backend_config.MICRO_BATCH_VARIABLE] = str(settings.micro_batch_frames)
        environment[backend_config.STREAMS_VARIABLE] = str(settings.streams or "")
        environment[backend_config.THREADS_VARIABLE] = str(settings.threads or "")
        return environment

    def _tell_the_guard_that_it_is_ready(self) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended just now, which the next request will show
            # Past the buffer: what cannot be written would stay in it, and make closing fail, too.
            os.write(self._guard.stdin.fileno(), b"r")

    def _wait_until_ready(self) -> None:
        assert self._guard is not None
        assert self._relay is not None
        deadline = time.monotonic() + self.settings.start_timeout_s
        while not readiness.is_ready(self.http_url):
            if (code := self._guard.poll()) is not None:
                self._relay.join(timeout=5)
                raise StartFailed(f"Triton ended with code {code} while starting:\n  {self._relay.errors()}")
            if time.monotonic() > deadline:
                raise StartTimeout(
                    f"Triton was not ready after {self.settings.start_timeout_s:g} s (start_timeout_s; raise it with "
                    f"UNMASK_SERVING_START_TIMEOUT_S). Its last words:\n  {self._relay.errors()}"
                )
            time.sleep(_POLL_S)

    def wait(self) -> int:
        """Blocks until the server ends by itself; its exit code."""
        if self._guard is None:
            raise RuntimeError("the server was not started")
        return self._guard.wait()

    def stop(self) -> None:
        """Drains and ends the server; returns when its processes are gone. May be called twice."""
        guard, relay = self._guard, self._relay
        if guard is None:
            self._let_go()
            return
        assert guard.stdin is not None
        guard.stdin.close()
        # A process that was forked from this one may hold the pipe open. The signal means the same.
        guard.terminate()
        try:
            guard.wait(timeout=2 * self.settings.drain_timeout_s + 15)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
        if relay is not None:
            relay.join(timeout=5)
        if guard.stdout is not None:
            guard.stdout.close()
        self._guard = None
        self._let_go()

    def _let_go(self) -> None:
        if self._hold is not None:
            os.close(self._hold)
            self._hold = None
        if self._run_dir is not None:
            # The guard removes it, unless the guard was killed.
            shutil.rmtree(self._run_dir, ignore_errors=True)
        if self._run_hold is not None:
            os.close(self._run_hold)
            self._run_hold = None

    def __enter__(self) -> "EmbeddedTriton":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def check_libpython(runtime: TritonRuntime) -> None:
    """The stub links libpython, which a Python built without --enable-shared does not bring.

    Raises:
        TritonMissing: It cannot be loaded.
    """
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    for candidate in (name, str(Path(sysconfig.get_config_var("LIBDIR") or "") / name), str(runtime.libraries / name)):
        try:
            ctypes.CDLL(candidate)
        except OSError:
            continue
        return
    raise TritonMissing(
        f"Triton's Python backend needs {name}, which is not on this machine; on Debian and Ubuntu install "
        f"libpython{sys.version_info.major}.{sys.version_info.minor}"
    )
