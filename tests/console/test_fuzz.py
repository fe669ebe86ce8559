"""schemathesis against the OpenAPI document: no request that it can think of ends in an unexpected 5xx."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from console.supervisor import Console
from serving import EmbeddedTriton
from tests.console.conftest import console_settings, uploaded


@pytest.fixture
def fuzzed(detectors: EmbeddedTriton, tmp_path: Path) -> Iterator[Console]:
    """A console of its own: thousands of strange requests are no company for other tests."""
    settings = console_settings(
        tmp_path / "data",
        triton_url=detectors.grpc_url,
        workers=1,
        max_wait_s=1,
        max_queued=100_000,
        rate_limit="1000000/minute",
    )
    with Console(settings) as running:
        yield running


def test_no_unexpected_5xx(fuzzed: Console, clips: dict[str, Path], tmp_path: Path) -> None:
    with httpx.Client(base_url=fuzzed.url, timeout=60, trust_env=False) as client:
        document = uploaded(client, clips["one_face.mp4"], frames=4)
        examples = os.environ.get("UNMASK_FUZZ_EXAMPLES", "15")
        # Each route with the id of a real analysis, too: random ids find nothing behind them.
        config = tmp_path / "schemathesis.toml"
        config.write_text(f'[parameters]\n"path.analysis_id" = "{document["id"]}"\n')
        options = [
            "run", f"{fuzzed.url}/v1/openapi.json", "--seed", "1", "--max-examples", examples, "--request-timeout", "30",
            "--checks", "not_a_server_error,content_type_conformance,response_schema_conformance", "--no-color",
            "--generation-database", "none", "--phases", "examples,coverage,fuzzing", "--continue-on-failure",
        ]  # fmt: skip
        rounds = (
            ["--config-file", str(config), *options, "--exclude-method", "DELETE"],
            [*options, "--include-path-regex", "analysis_id"],
        )
        for arguments in rounds:
            command = [str(Path(sys.executable).with_name("schemathesis")), *arguments]
            run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=250)
            assert run.returncode == 0, (run.stdout + run.stderr)[-8000:]
        metrics = client.get("/metrics").text
        failed = [
            line for line in metrics.splitlines() if line.startswith("unmask_console_requests_total") and 'status="500"' in line
        ]
        assert failed == []
        assert client.get("/healthz").status_code == 200
