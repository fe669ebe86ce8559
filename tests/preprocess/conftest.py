"""Made clips and one running Preprocessor for the whole area."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from preprocess import ExtractionOptions, Preprocessor, PreprocessSettings
from tests.clips import make_clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every made clip by its file name."""
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def preprocessor() -> Iterator[Preprocessor]:
    """One child process for all tests that do not hurt it."""
    with Preprocessor(PreprocessSettings(max_wall_s=60)) as running:
        yield running


@pytest.fixture(scope="session")
def options() -> ExtractionOptions:
    """What most tests ask for; size and margin are those of the widely copied checkpoints with a margin."""
    return ExtractionOptions(image_size_px=112, crop_margin=1.3, frames=24)
