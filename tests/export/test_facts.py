"""Facts from flags, metadata and file names; what contradicts itself or is missing."""

from pathlib import Path

import pytest

from client.model_info import ModelInfo
from export.errors import FactError
from export.facts import Flags, class_order, model_info, read_name, slug
from export.layouts import Layout


def info_of(path: str, flags: Flags = Flags()) -> ModelInfo:  # noqa: B008 - frozen
    return model_info(
        Path(path),
        flags,
        {},
        layout="reference",
        semantics="reference_last_frame",
        weights_sha256="",
    )


@pytest.mark.parametrize(
    ("name", "accuracy", "frames", "data"),
    [
        ("model_84_acc_10_frames_final_data.pt", 0.84, 10, "final"),
        ("model_97.76_acc_100_frames_celeb_FF_data.pt", 0.9776, 100, "celeb_FF"),
        ("model_0.9342_acc_20_frames_DFDC_data.pth", 0.9342, 20, "DFDC"),
        ("model_100_acc_40_frames_FF_data.pt", 1.0, 40, "FF"),
    ],
)
def test_the_known_form_of_names(name: str, accuracy: float, frames: int, data: str) -> None:
    facts = read_name(Path(name))
    assert facts is not None
    assert facts.accuracy == pytest.approx(accuracy)
    assert (facts.frames, facts.data) == (frames, data)


def test_other_names_say_nothing() -> None:
    assert read_name(Path("best.pt")) is None
    assert slug(Path("My Model (2).pt")) == "my_model_2"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model_997_acc_10_frames_x_data.pt", "claims an accuracy of 997"),
        ("model_0_acc_10_frames_x_data.pt", "claims an accuracy of 0"),
        ("model_97_acc_0_frames_x_data.pt", "claims 0 frames"),
        ("model_good_acc_10_frames_x_data.pt", "'good'.*no numbers"),
        ("model_97_acc_400_frames_x_data.pt", "trained for 400 frames, one request takes 256.*--max-frames"),
    ],
)
def test_a_name_that_lies(name: str, message: str) -> None:
    with pytest.raises(FactError, match=message):
        info_of(name)


def test_flags_overrule_a_name_that_lies() -> None:
    for name in ("model_997_acc_10_frames_x_data.pt", "model_good_acc_ten_frames_x_data.pt", "model_97_acc_0_frames_x_data.pt"):
        with pytest.raises(FactError, match="overrule its name with --accuracy and --trained-frames"):
            info_of(name, Flags(accuracy=0.9))
        info = info_of(name, Flags(accuracy=0.9, frames=(10,)))
        assert (info.accuracy, info.training_frames) == (0.9, (10,))


def test_a_name_that_contradicts_the_metadata(tmp_path: Path) -> None:
    from export.default_detector import untrained_detector

    _, _, info = untrained_detector()
    metadata = info.to_parameters() | {"accuracy": "0.91", "training_frames": "60"}
    path = tmp_path / "model_97_acc_60_frames_x_data.safetensors"

    def read(flags: Flags) -> ModelInfo:
        return model_info(path, flags, metadata, layout="unmask", semantics="sequence", weights_sha256="")

    with pytest.raises(FactError, match=r"claims accuracy 0\.97 in its name and 0\.91 in its metadata.*--accuracy"):
        read(Flags())
    assert read(Flags(accuracy=0.91)).accuracy == 0.91


def test_the_order_of_classes_is_asked_for() -> None:
    layouts: tuple[Layout, ...] = ("reference", "image")
    for layout in layouts:
        with pytest.raises(FactError, match=r"which of its two outputs means fake.*--classes real,fake or --classes fake,real"):
            class_order(Path("x.pt"), Flags(), {}, layout)
    with pytest.raises(FactError, match="--classes is 'real,real'"):
        class_order(Path("x.pt"), Flags(classes="real,real"), {}, "reference")
    assert class_order(Path("x.pt"), Flags(classes="FAKE, real"), {}, "reference") == ("fake", "real")


def test_flags_win() -> None:
    flags = Flags(accuracy=0.5, frames=(10, 20), data="y", name="mine", threshold=0.7)
    info = info_of("model_97_acc_60_frames_x_data.pt", flags)
    assert (info.accuracy, info.training_frames, info.accuracy_data) == (0.5, (10, 20), "y")
    assert (info.detector, info.threshold, info.abstain_high) == ("mine", 0.7, 0.7)
    with pytest.raises(FactError, match="detector's name is 'a/b'"):
        info_of("x.pt", Flags(name="a/b"))
