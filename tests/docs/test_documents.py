"""What the documents tell people to type works: options exist, links lead somewhere, the Python runs on the real server."""

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from serving import EmbeddedTriton
from tests.conftest import ROOT
from unmask.cli import main

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
_COMMAND = re.compile(r"^(?: {4}|\$ )?(unmask (?!\.)[a-z][^#\n]*?)(?:\s+#.*)?$", re.MULTILINE)
_TARGET = re.compile(r"^ {4}make ([a-z]+)", re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def commands() -> Iterator[tuple[str, str]]:
    """Each command line of the documents, those inside fences too, with the document's name."""
    for document in DOCUMENTS:
        for match in _COMMAND.finditer(document.read_text()):
            yield document.name, match.group(1).strip()


@pytest.mark.parametrize(("document", "line"), list(commands()))
def test_a_command_line_names_what_exists(document: str, line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"{document}: there is no command {words[0]} in `{line}`"
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]} | {
        "--help",
        "-h",
    }
    for word in words:
        if re.match(r"--?[a-z]", word):
            assert word.split("=")[0] in known, f"{document}: `{line}` uses {word}"


def test_commands_were_found() -> None:
    assert {line.split()[1] for _, line in commands()} >= {"detect", "serve", "doctor"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(_TARGET.findall(document.read_text())) <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    for target in _LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


def snippets() -> Iterator[tuple[str, str]]:
    """The documents' Python, without the blocks that say they are fragments."""
    for document in DOCUMENTS:
        for block in _PYTHON.findall(document.read_text()):
            if "# fragment" not in block:
                yield document.name, block


@contextmanager
def demo_clip_as(name: str, folder: Path) -> Iterator[None]:
    """Runs the body in a folder that holds the demonstration clip under the documents' name for one."""
    import os

    from tests import clips

    before = Path.cwd()
    clips.write_demo(folder / name)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.mark.parametrize(("document", "code"), list(snippets()))
def test_the_python_runs(
    document: str, code: str, triton: EmbeddedTriton, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for address, real in (("8001", triton.grpc_url.rsplit(":")[-1]), ("8000", triton.http_url.rsplit(":")[-1])):
        code = re.sub(rf"(localhost|127\.0\.0\.1):{address}", f"127.0.0.1:{real}", code)
    assert str(ROOT) in sys.path or Path.cwd() == ROOT
    with demo_clip_as("clip.mp4", tmp_path):
        exec(compile(code, document, "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip(), f"{document}: the snippet prints nothing"
