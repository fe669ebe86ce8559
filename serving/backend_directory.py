"""Lays out the backend directory: Triton's Python backend and the two Python-based backends of this project.

A folder that holds ``model.py`` is a Python-based backend: Triton runs that file with the Python backend for each model whose
``backend`` is the folder's name. Ours carry the names of Triton's C++ backends, so the same repository runs here and
on NVIDIA's container.
"""

from pathlib import Path

from serving.runtime import TritonRuntime

BACKENDS = ("onnxruntime", "openvino")
_SOURCES = Path(__file__).resolve().parent / "backends"


def lay_out(directory: Path, runtime: TritonRuntime) -> Path:
    """Fills ``directory`` with links to the wheel's Python backend and to our ``model.py`` files; returns it."""
    python = directory / "python"
    python.mkdir(parents=True)
    for part in ("libtriton_python.so", "triton_python_backend_utils.py"):
        (python / part).symlink_to(runtime.python_backend / part)
    (python / runtime.stub.name).symlink_to(runtime.stub)
    for name in BACKENDS:
        (directory / name).mkdir()
        (directory / name / "model.py").symlink_to(_SOURCES / name / "model.py")
    return directory
