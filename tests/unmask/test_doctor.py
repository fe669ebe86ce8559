"""`unmask doctor` on this machine, and in an environment where parts are missing."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from unmask.doctor import _python, diagnose


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


@pytest.mark.parametrize(("version", "ok"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_pythons_that_have_all_parts(version: tuple[int, int], ok: bool) -> None:
    finding = _python(version)
    assert finding.ok is ok
    assert ok or "use Python 3.11 to 3.13" in finding.detail


def test_a_client_without_a_decoder_is_not_one() -> None:
    assert "client: av" in {finding.name for finding in diagnose()}


def test_without_the_server_its_lines_say_so() -> None:
    code = """
import sys
sys.modules["psutil"] = None
import importlib.util, json
from unmask import doctor
doctor.find_spec = lambda name: None if name == "psutil" else importlib.util.find_spec(name)
print(json.dumps({finding.name: finding.detail for finding in doctor.diagnose() if not finding.ok}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    details = json.loads(done.stdout)
    for name in ("serve: Triton", "profile cpu", "profile reference", "model repository"):
        assert "pip install 'unmask[serve]'" in details[name], done.stderr
