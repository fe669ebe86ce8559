"""docker-compose.yml against the Compose specification's schema, and against what Triton needs."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import ROOT

# The last wheel that carries the specification's JSON schema as a file.
SCHEMA_WHEEL = "docker-compose==1.29.2"
SCHEMA_FILE = "compose/config/compose_spec.json"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("schema")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(folder),
        SCHEMA_WHEEL,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip(
            f"{SCHEMA_WHEEL}, which carries the schema, cannot be downloaded here; `docker compose config` checks the same"
        )
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        loaded = json.loads(wheel.read(SCHEMA_FILE))
    assert isinstance(loaded, dict)
    return loaded


def test_it_fits_the_specification(compose: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(schema).validate(compose)


def test_the_schema_finds_a_wrong_key(compose: dict[str, Any], schema: dict[str, Any]) -> None:
    broken = {
        **compose,
        "services": {**compose["services"], "triton-cpu": {**compose["services"]["triton-cpu"], "imagee": "x"}},
    }
    with pytest.raises(jsonschema.ValidationError, match="imagee"):
        jsonschema.Draft7Validator(schema).validate(broken)


@pytest.mark.parametrize("profile", ["gpu", "cpu"])
def test_compose_itself_reads_it(profile: str) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("no `docker compose` here; the schema is checked instead")
    done = subprocess.run([docker, "compose", "--profile", profile, "config"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "UNMASK_SERVING_ADMIN_KEY": "test"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("service", "profile"), [("triton-gpu", "gpu"), ("triton-cpu", "cpu")])
def test_a_server_is_pinned_unprivileged_and_on_loopback(compose: dict[str, Any], service: str, profile: str) -> None:
    server = compose["services"][service]
    assert re.fullmatch(r"nvcr\.io/nvidia/tritonserver:\d\d\.\d\d-py3", server["image"])
    assert server["profiles"] == [profile]
    assert f"--model-config-name={profile}" in server["command"]
    for api in ("--http-restricted-api", "--grpc-restricted-protocol"):
        assert any(
            word.startswith(f"{api}=model-repository:unmask-admin-key=${{UNMASK_SERVING_ADMIN_KEY:?")
            for word in server["command"]
        )
    assert server["user"] not in ("", "0", "root", "0:0")
    assert server["read_only"] is True
    assert any(volume.startswith("models:") and volume.endswith(":ro") for volume in server["volumes"])
    assert all(port.startswith("${UNMASK_BIND:-127.0.0.1}:") for port in server["ports"])
    assert server["healthcheck"]["test"][-1].endswith("/v2/health/ready")
    assert server["shm_size"] == "1gb"


def test_the_engine_cache_is_where_the_configuration_looks(compose: dict[str, Any]) -> None:
    from export.model_configs import ENGINE_CACHE

    assert f"tensorrt:{ENGINE_CACHE}" in compose["services"]["triton-gpu"]["volumes"]


def test_the_image_copies_every_package_that_the_command_imports() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE))
    packages = {path.parent.name for path in Path(ROOT).glob("*/__init__.py")} - {"tests"}
    assert packages <= copied
