"""Which detector is asked for a number of frames."""

from dataclasses import replace

import pytest

from client import choose
from client.errors import DetectorNotFound
from client.model_info import ModelInfo
from client.verdict import ServedModel

INFO = ModelInfo(
    detector="any", semantics="reference_last_frame", trained=True, training_data="x", accuracy=None, accuracy_data="x", training_frames=(),
    image_size_px=112, crop_margin=1.0, class_order=("real", "fake"), max_frames=256, temperature=1.0, threshold=0.5, abstain_low=0.5,
    abstain_high=0.5, weights_sha256="", caveat="",
)  # fmt: skip


def served(name: str, accuracy: float | None, *frames: int, trained: bool = True) -> ServedModel:
    info = replace(INFO, detector=name, accuracy=accuracy, training_frames=frames, trained=trained)
    return ServedModel(info=info, version="1", profile="cpu", precision="int8")


# As text, 0.9 would come after 0.88 and 100 before 20; as text 0.095 comes before 0.9, and 1.0 before both only as a number.
FOLDER = [
    served("m20_a", 0.88, 20),
    served("m20_b", 0.9, 20),
    served("m20_c", 0.095, 20),
    served("m60", 0.93, 60),
    served("m100_a", 0.9776, 100),
    served("m100_b", 1.0, 100),
    served("untrained", 1.0, 20, trained=False),
]


@pytest.mark.parametrize(
    ("frames", "detector", "noted"),
    [
        (20, "m20_b", False),
        (60, "m60", False),
        (100, "m100_b", False),
        (1, "m20_b", True),
        (39, "m20_b", True),
        (41, "m60", True),
        (80, "m100_b", True),  # as far from 60: the more accurate one
        (250, "m100_b", True),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_nearest_length_then_the_highest_accuracy_as_a_number(
    frames: int, detector: str, noted: bool, turned: bool
) -> None:
    choice = choose(FOLDER[::-1] if turned else FOLDER, frames)
    assert choice.detector == detector
    assert (choice.note is not None) == noted
    if choice.note is not None:
        assert f"No detector was trained for {frames} frames; {detector}, trained for" in choice.note


def test_no_detector_at_all() -> None:
    with pytest.raises(DetectorNotFound, match="no detector ready"):
        choose([], 20)
