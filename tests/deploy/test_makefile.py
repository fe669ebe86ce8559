"""`make demo` with clips that make could not name as targets."""

import shutil
import subprocess

import pytest

from tests.conftest import ROOT


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed; it is what is tested here")
@pytest.mark.parametrize("clip", ["/tmp/my clip.mp4", "nope.mp4", "it's $one.mp4"])
def test_demo_takes_any_path(clip: str) -> None:
    # -n: says what would be done; the set-up itself is what these tests run in.
    done = subprocess.run(
        ["make", "-n", "demo", f"CLIP={clip.replace('$', '$$')}"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert 'unmask detect "$CLIP"' in done.stdout
    assert "out/demo.mp4" not in done.stdout
