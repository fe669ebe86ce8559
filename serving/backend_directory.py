"""Lays out the backend directory: Triton's Python backend and the two Python-based backends of this project.

A folder that holds ``model.py`` is a Python-based backend: Triton runs that file with the Python backend for each model whose
``backend`` is the folder's name. Ours carry the names of Triton's C++ backends, so the same repository runs here and
on NVIDIA's container.
"""

import os
import shutil
from pathlib import Path

from serving.runtime import TritonRuntime

BACKENDS = ("onnxruntime", "openvino")
_SOURCES = Path(__file__).resolve().parent / "backends"


def lay_out(directory: Path, runtime: TritonRuntime) -> Path:
    """Fills ``directory`` with the wheel's Python backend and our ``model.py`` files; returns it.

    Hard links or copies: Triton resolves symbolic links and refuses a library outside the backend directory.
    """
    python = directory / "python"
    python.mkdir(parents=True)
    for part in ("libtriton_python.so", "triton_python_backend_utils.py"):
        _place(runtime.python_backend / part, python / part)
    _place(runtime.stub, python / runtime.stub.name)
    for name in BACKENDS:
        (directory / name).mkdir()
        _place(_SOURCES / name / "model.py", directory / name / "model.py")
    return directory


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
