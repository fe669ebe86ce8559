"""``unmask doctor``: what is installed, which engines and profiles work here, what is missing and how to get it."""

import json
import platform
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import click

AREAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "client": ("pip install unmask", ("av", "tritonclient", "opencv-contrib-python", "mediapipe")),
    "serve": ("pip install 'unmask[serve]'", ("nvidia-pytriton", "onnxruntime", "openvino")),
    "export": ("pip install 'unmask[export]'", ("torch", "onnx")),
}
"""Area -> how to get it, and the distributions that it needs."""
PYTHONS = ((3, 11), (3, 13))
"""First and last version that mediapipe and the Triton wheel have parts for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis."""

    name: str
    ok: bool
    detail: str
    """What was found, or what is missing and the remedy."""


def diagnose() -> list[Finding]:
    """Looks at this machine; starts nothing and opens no connection."""
    findings = [_python(sys.version_info[:2])]
    for area, (remedy, distributions) in AREAS.items():
        for distribution in distributions:
            findings.append(_distribution(f"{area}: {distribution}", distribution, remedy))
    findings.append(_face_models())
    if find_spec("psutil"):
        return [*findings, *_triton(), *_profiles(), _repository()]
    # Not looked at rather than left out: a short list would read as a whole one.
    remedy = f"no server can be started here; {AREAS['serve'][0]}, or give --url"
    names = ("serve: Triton", *(f"profile {name}" for name in ("gpu", "cpu", "reference")), "model repository")
    return [*findings, *(Finding(name, False, remedy) for name in names)]


def _python(version: tuple[int, ...]) -> Finding:
    found = f"{platform.python_version()} on {platform.machine()}"
    if PYTHONS[0] <= version <= PYTHONS[1]:
        return Finding("python", True, found)
    first, last = (".".join(map(str, bound)) for bound in PYTHONS)
    return Finding("python", False, f"{found}; use Python {first} to {last}")


def _distribution(name: str, distribution: str, remedy: str) -> Finding:
    try:
        return Finding(name, True, metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return Finding(name, False, f"not installed; {remedy}")


def _face_models() -> Finding:
    from preprocess.errors import PreprocessError
    from preprocess.face_models import installed_models

    try:
        models = installed_models()
    except PreprocessError as error:
        return Finding("client: face models", False, str(error))
    return Finding("client: face models", True, ", ".join(path.name for path in models))


def _triton() -> list[Finding]:
    from serving.errors import ServingError
    from serving.launcher import check_libpython
    from serving.runtime import find_runtime

    try:
        runtime = find_runtime()
        check_libpython(runtime)
    except ServingError as error:
        return [Finding("serve: Triton", False, str(error))]
    return [Finding("serve: Triton", True, f"{runtime.binary.name} of nvidia-pytriton {runtime.version}")]


def _profiles() -> list[Finding]:
    from serving.profiles import PROFILES, why_not

    findings = []
    for profile in PROFILES:
        reason = why_not(profile)
        findings.append(Finding(f"profile {profile}", reason is None, reason or "works here"))
    return findings


def _repository() -> Finding:
    from common.places import default_repository
    from serving.errors import ServingError
    from serving.repository import check_repository

    repository: Path = default_repository()
    try:
        check_repository(repository)
    except ServingError as error:
        return Finding("model repository", False, str(error))
    return Finding("model repository", True, str(repository))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def doctor(as_json: bool) -> None:
    """Say what is installed, which engines and profiles work here, what is missing and how to get it.

    \b
    Exit code 0 when a verdict can be made here (client, and a server here or elsewhere), else 1.
    """
    findings = diagnose()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for title in ("", "part", "found, or missing and how to get it"):
            table.add_column(title, overflow="fold")
        for finding in findings:
            mark = "[green]ok[/]" if finding.ok else "[yellow]--[/]"
            table.add_row(mark, finding.name, finding.detail.replace("[", "\\["))
        Console(width=None if sys.stdout.isatty() else 160).print(table)
    needed = ("python", "client:")
    sys.exit(0 if all(finding.ok for finding in findings if finding.name.startswith(needed)) else 1)
