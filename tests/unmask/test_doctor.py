"""`unmask doctor` on this machine, and in an environment where parts are missing."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unmask", "doctor", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.usefixtures("repository")
def test_it_finds_what_the_tests_need() -> None:
    done = run("--json")
    assert done.returncode == 0, done.stderr
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    for name in ("serve: Triton", "profile reference", "client: face models", "model repository", "export: torch"):
        assert findings[name]["ok"], findings[name]


def test_the_table_names_the_remedy_of_each_gap() -> None:
    done = run()
    assert "profile reference" in done.stdout
    for line in done.stdout.splitlines():
        if line.startswith("--"):
            assert any(word in line for word in ("install", "use", "run", "build", "driver")), line


def test_a_missing_package_is_named_with_its_remedy() -> None:
    code = """
import sys
from importlib import metadata
real = metadata.version
def version(name):
    if name == "nvidia-pytriton":
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
from unmask.doctor import diagnose
print([finding for finding in diagnose() if not finding.ok and "pytriton" in finding.name])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "pip install 'unmask[serve]'" in done.stdout, done.stderr
