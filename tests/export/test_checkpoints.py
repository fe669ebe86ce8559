"""What is read of files that people have, and what is refused and why."""

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch

from export.checkpoints import read_checkpoint
from export.default_detector import untrained_detector
from export.detector import ImageHead, LastFrameHead, SequenceHead
from export.errors import FactError, UnknownLayout, UnreadableCheckpoint
from export.facts import Flags
from export.load import load_detector, save_detector
from tests.export.made import ServedOriginal, image_checkpoint, save_reference

CLASSES = Flags(classes="real,fake")


class Bomb:
    """Runs when it is unpickled by anything but weights_only."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


def test_a_reference_checkpoint_has_its_size_and_its_names_facts(checkpoint: Path) -> None:
    assert checkpoint.stat().st_size == pytest.approx(226.5e6, rel=1e-3)
    loaded = load_detector(checkpoint, CLASSES)
    assert isinstance(loaded.head, LastFrameHead)
    info = loaded.info
    assert (info.detector, info.semantics, info.trained) == ("model_97_acc_60_frames_ff_data", "reference_last_frame", True)
    assert (info.accuracy, info.training_frames, info.accuracy_data) == (0.97, (60,), "FF")
    assert (info.image_size_px, info.crop_margin, info.class_order) == (112, 1.0, ("real", "fake"))


def test_wrapped_and_parallel_checkpoints_are_the_same(checkpoint: Path, network: ServedOriginal, tmp_path: Path) -> None:
    wrapped = save_reference(network, tmp_path / checkpoint.name, prefix="module.", wrap=True)
    assert load_detector(wrapped, CLASSES).info.weights_sha256 == load_detector(checkpoint, CLASSES).info.weights_sha256


def test_the_order_of_classes_turns_the_last_layer_around(checkpoint: Path) -> None:
    straight, turned = (load_detector(checkpoint, Flags(classes=order)).head for order in ("real,fake", "fake,real"))
    assert isinstance(straight, LastFrameHead)
    assert isinstance(turned, LastFrameHead)
    assert torch.equal(straight.linear1.weight.flip(0), turned.linear1.weight)


def test_sequence_semantics_keep_the_recurrence(checkpoint: Path) -> None:
    loaded = load_detector(checkpoint, Flags(classes="real,fake", semantics="sequence"))
    assert isinstance(loaded.head, SequenceHead)
    assert (loaded.head.lstm.hidden_size, loaded.head.lstm.bias, loaded.info.semantics) == (2048, False, "sequence")
    with pytest.raises(FactError, match="cannot be run as image; possible: sequence, reference_last_frame"):
        load_detector(checkpoint, Flags(classes="real,fake", semantics="image"))


def test_an_image_only_checkpoint(tmp_path: Path) -> None:
    loaded = load_detector(image_checkpoint(tmp_path / "images.pt"), CLASSES)
    assert isinstance(loaded.head, ImageHead)
    assert (loaded.info.semantics, loaded.info.image_size_px, loaded.info.training_frames) == ("image", 224, ())


def test_our_own_format_comes_back_with_its_facts(tmp_path: Path) -> None:
    encoder, head, info = untrained_detector()
    info = dataclasses.replace(info, trained=True, accuracy=0.91, training_frames=(16, 60), threshold=0.4, abstain_low=0.3)
    path = tmp_path / "ours.safetensors"
    save_detector(path, encoder, head, info)
    assert path.stat().st_size < 60e6
    loaded = load_detector(path)
    assert dataclasses.replace(loaded.info, weights_sha256=info.weights_sha256) == info
    for name, value in head.state_dict().items():
        torch.testing.assert_close(loaded.head.state_dict()[name], value, atol=2e-3, rtol=2e-3)
    with pytest.raises(FactError, match=r"its classes are real,fake, --classes says fake,real"):
        load_detector(path, Flags(classes="fake,real"))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UnreadableCheckpoint):
        load_detector(path)


@pytest.mark.parametrize("kept", [0, 100, 1_000_000, -100])
def test_a_truncated_file(checkpoint: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.pt"
    path.write_bytes(checkpoint.read_bytes()[:kept])
    with pytest.raises(UnreadableCheckpoint, match=r"truncated|no checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["torch.save", "pickle"])
def test_a_pickle_with_code_in_it_is_refused_and_does_not_run(tmp_path: Path, zipped: bool) -> None:
    path, touched = tmp_path / "model.pt", tmp_path / "ran"
    content = {"state_dict": {"model.0.weight": Bomb(touched)}}
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UnreadableCheckpoint, match=r"holds more than tensors.*refused.*state_dict"):
        read_checkpoint(path)
    assert not touched.exists()


def test_a_whole_module_is_refused_with_its_class(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(UnreadableCheckpoint, match=r"holds more than tensors.*torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(tmp_path / "model.pt")


def test_missing_surplus_and_misshapen_tensors_are_all_named(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    del state["model.5.0.conv2.weight"], state["linear1.bias"]
    state |= {
        "linear2.weight": torch.zeros(2),
        "model.4.0.bn1.gamma": torch.zeros(2),
        "model.0.weight": torch.zeros(64, 3, 3, 3),
    }
    path = tmp_path / "other.pt"
    torch.save(state, path)
    with pytest.raises(UnknownLayout) as caught:
        load_detector(path, CLASSES)
    for name in ("model.5.0.conv2.weight", "linear1.bias", "linear2.weight", "model.4.0.bn1.gamma"):
        assert name in str(caught.value)
    assert "model.0.weight is (64, 3, 3, 3), must be (64, 3, 7, 7)" in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(1).expand(10**11), r"claims tensors of 400\d+ bytes in float32; the limit is"),
        (torch.zeros(64, 3, 7, 7, dtype=torch.int8), r"model\.0\.weight \(strided int8\)"),
        (torch.zeros(64, 3, 7, 7, dtype=torch.complex64), r"strided complex64"),
        (torch.zeros(64, 3, 7, 7).to(torch.float8_e4m3fn), r"strided float8_e4m3fn"),
        (torch.zeros(64, 3).to_sparse(), r"sparse_coo float32"),
        (torch.zeros(64, device="meta"), r"meta float32"),
    ],
    ids=["larger than the file", "integers", "complex", "float8", "sparse", "without data"],
)
def test_tensors_that_are_no_plain_weights(tensor: torch.Tensor, message: str, tmp_path: Path) -> None:
    torch.save({"model.0.weight": tensor, "model.1.num_batches_tracked": torch.tensor(3)}, tmp_path / "strange.pt")
    assert (tmp_path / "strange.pt").stat().st_size < 100_000
    with pytest.raises(UnreadableCheckpoint, match=message):
        read_checkpoint(tmp_path / "strange.pt")


def test_other_networks_and_other_files(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "vgg.pt")
    with pytest.raises(UnknownLayout, match=r"unknown network \(features\.0\.weight"):
        load_detector(tmp_path / "vgg.pt", CLASSES)
    torch.save({"epoch": 3, "best": 0.9}, tmp_path / "numbers.pt")
    with pytest.raises(UnreadableCheckpoint, match="holds no tensors, only epoch, best"):
        load_detector(tmp_path / "numbers.pt", CLASSES)
    torch.save({"model.0.weight": torch.full((64, 3, 7, 7), float("nan"))}, tmp_path / "nan.pt")
    with pytest.raises(UnreadableCheckpoint, match=r"NaN or infinite values in model\.0\.weight"):
        load_detector(tmp_path / "nan.pt", CLASSES)
    with pytest.raises(UnreadableCheckpoint, match="No such file"):
        load_detector(tmp_path / "absent.pt", CLASSES)
