"""Finds the Triton server inside the nvidia-pytriton wheel.

The wheel is used for its files alone (binary, Python backend, stubs, shared libraries); its Python package is not imported.
"""

import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from serving.errors import TritonMissing

WHEEL = "nvidia-pytriton"
_REMEDY = "install it with `pip install 'unmask[serve]'` (x86-64 or aarch64 Linux, Python 3.11 to 3.13)"


@dataclass(frozen=True, slots=True)
class TritonRuntime:
    """Where the parts of the server lie, and the wheel's version."""

    version: str
    binary: Path
    libraries: Path
    """Goes first into LD_LIBRARY_PATH."""
    python_backend: Path
    """Folder with ``libtriton_python.so`` and ``triton_python_backend_utils.py``."""
    stub: Path
    """The Python backend's worker for this Python's minor version."""


def find_runtime() -> TritonRuntime:
    """The server of the installed wheel.

    Raises:
        TritonMissing: The wheel is not installed, or has no part for this Python version.
    """
    try:
        distribution = metadata.distribution(WHEEL)
    except metadata.PackageNotFoundError:
        raise TritonMissing(f"the embedded server needs {WHEEL}, which is not installed; {_REMEDY}") from None
    site = Path(str(distribution.locate_file("")))
    server = site / "pytriton" / "tritonserver"
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    runtime = TritonRuntime(
        version=distribution.version,
        binary=server / "bin" / "tritonserver",
        libraries=site / "nvidia_pytriton.libs",
        python_backend=server / "backends" / "python",
        stub=server / "python_backend_stubs" / minor / "triton_python_backend_stub",
    )
    for part in (runtime.binary, runtime.libraries, runtime.python_backend / "libtriton_python.so", runtime.stub):
        if not part.exists():
            raise TritonMissing(
                f"{WHEEL} {distribution.version} has no {part.relative_to(site)} for Python {minor} on {platform.machine()}; {_REMEDY}"
            )
    return runtime
