"""Commands of parts that are not installed: one line with the remedy, no traceback."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

# A module that is None in sys.modules cannot be imported: as if it were not installed.
CODE = """
import sys
from importlib import metadata
missing = {missing!r}
for name in missing:
    sys.modules[name] = None
real = metadata.distribution
def distribution(name):
    if name == "nvidia-pytriton" and "psutil" in missing:
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.distribution = distribution
from unmask.cli import main
main({arguments!r})
"""


@pytest.mark.parametrize(
    ("arguments", "missing", "code", "remedy"),
    [
        (["serve"], ["psutil", "fastapi", "sqlalchemy"], 3, "pip install 'unmask[serve"),
        (["export", "--repository", "out/none"], ["torch"], 1, "pip install 'unmask[export]'"),
        (["console"], ["sqlalchemy"], 1, "pip install 'unmask[console]'"),
        (["keys", "list"], ["sqlalchemy"], 1, "pip install 'unmask[console]'"),
    ],
)
def test_what_is_not_installed_is_one_line(arguments: list[str], missing: list[str], code: int, remedy: str) -> None:
    script = CODE.format(missing=missing, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert remedy in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
