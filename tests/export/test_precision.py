"""fp16 is sixteen bits wide, int8 is eight, and both stay near what PyTorch computes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from export import calibration
from export.contents import latest_version
from export.default_detector import default_detector, untrained_detector
from export.detector import ClipHead, SequenceHead
from export.graphs import FILES, export_encoder, export_head
from export.parity import compare
from export.quantize import blocks_of, cosine, features_of, measure_ranges, write_int8_encoder, write_int8_head

Crops = NDArray[np.uint8]


def folder(repository: Path, model: str) -> Path:
    return repository / model / str(latest_version(repository / model))


@pytest.mark.parametrize("model", ["frame_encoder", "clip_head"])
def test_fp16_graphs_are_fp16_inside_and_fp32_outside(repository: Path, model: str) -> None:
    graph = onnx.load(folder(repository, model) / FILES["fp16"]).graph
    weights = [item for item in graph.initializer if len(item.dims) > 1]
    assert weights
    assert {item.data_type for item in weights} == {onnx.TensorProto.FLOAT16}
    inputs = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    assert inputs == {"FRAMES": onnx.TensorProto.UINT8} if model == "frame_encoder" else {"FEATURES": onnx.TensorProto.FLOAT}
    assert {value.type.tensor_type.elem_type for value in graph.output} == {onnx.TensorProto.FLOAT}
    fp32 = (folder(repository, model) / FILES["fp32"]).stat().st_size
    assert (folder(repository, model) / FILES["fp16"]).stat().st_size == pytest.approx(fp32 / 2, rel=0.01)


def test_fp16_logits_are_within_a_hundredth(shipped_repository: Path) -> None:
    encoder, head, info, _ = default_detector()
    files = [folder(shipped_repository, model) / FILES["fp16"] for model in ("frame_encoder", "clip_head")]
    served = ClipHead(head, temperature=info.temperature).eval()
    found = compare(encoder, served, *files, image_size_px=info.image_size_px, lengths=(1, 2, 3, 5, 8, 16))
    assert len(found) == 6
    assert max(comparison.logits for comparison in found) <= 1e-2


def test_every_convolution_of_int8_is_eight_bits_wide_but_those_that_hurt(repository: Path) -> None:
    path = folder(repository, "frame_encoder") / FILES["int8"]
    if not path.exists():
        pytest.skip("no INT8 graph was built: these weights have no stored ranges, and no clips of faces are here")
    convolutions, eight = eight_bit_convolutions(path)
    assert convolutions == 53
    assert eight >= 40


def eight_bit_convolutions(path: Path) -> tuple[int, int]:
    """How many convolutions there are, and how many of them have weights that are stored in eight bits."""
    graph = onnx.load(path).graph
    made_by = {output: node for node in graph.node for output in node.output}
    stored = {item.name: item.data_type for item in graph.initializer}
    sources = [made_by.get(node.input[1]) for node in graph.node if node.op_type == "Conv"]
    eight = [source for source in sources if source is not None and stored.get(source.input[0]) == onnx.TensorProto.INT8]
    return len(sources), len(eight)


def test_weights_that_the_exporter_shares_are_eight_bits_wide_too(tmp_path: Path, crops: Crops) -> None:
    encoder, _, _ = untrained_detector()
    # Blocks that add nothing: the exporter stores their last convolution's zeros once, and hands them to the others.
    for block in ("layer2.1", "layer2.2", "layer2.3"):
        with torch.no_grad():
            encoder.backbone.get_submodule(block).get_parameter("bn3.weight").zero_()
    graph = tmp_path / "encoder.onnx"
    export_encoder(encoder, graph, image_size_px=112)
    shared = [node for node in onnx.load(graph).graph.node if node.op_type == "Identity"]
    assert shared, "nothing is shared, and this test shows nothing"
    write_int8_encoder(graph, measure_ranges(graph, crops[:16]), tmp_path / "int8.onnx")
    assert eight_bit_convolutions(tmp_path / "int8.onnx") == (53, 53)
    found, expected = features_of(tmp_path / "int8.onnx", crops[:16]), features_of(graph, crops[:16])
    assert cosine(found, expected).min() >= 0.999


def test_int8_is_the_same_file_each_time(shipped_repository: Path, tmp_path: Path) -> None:
    encoder, _, info, weights = default_detector()
    from export.contents import weights_sha256

    stored = calibration.find(weights_sha256(encoder), info.image_size_px, beside=weights)
    if stored is None:
        pytest.skip("these weights have no stored INT8 ranges")
    graph = folder(shipped_repository, "frame_encoder") / FILES["fp32"]
    write_int8_encoder(graph, stored.ranges, tmp_path / "again.onnx", float_blocks=stored.float_blocks)
    assert (tmp_path / "again.onnx").read_bytes() == (folder(shipped_repository, "frame_encoder") / FILES["int8"]).read_bytes()


def test_int8_on_real_faces(shipped_repository: Path, media: Path) -> None:
    _, head, info, _ = default_detector()
    files = {precision: folder(shipped_repository, "frame_encoder") / FILES[precision] for precision in ("fp32", "int8")}
    if not files["int8"].exists():
        pytest.skip("no INT8 graph was built: these weights have no stored ranges")
    clips = calibration.face_clips(media / "real", image_size_px=info.image_size_px, crop_margin=info.crop_margin)
    served = ClipHead(head, temperature=info.temperature).eval()
    labels: dict[str, list[bool]] = {"fp32": [], "int8": []}
    with torch.inference_mode():
        for clip in clips:
            found = {precision: features_of(path, clip) for precision, path in files.items()}
            assert cosine(found["int8"], found["fp32"]).min() >= 0.999
            for precision, features in found.items():
                labels[precision] += (served(torch.from_numpy(features))[1] >= info.threshold).tolist()
    agreement = float(np.mean(np.array(labels["fp32"]) == np.array(labels["int8"])))
    assert agreement >= 0.99


def test_blocks_that_eight_bits_hurt_stay_in_floating_point(tmp_path: Path, crops: Crops) -> None:
    encoder, head, _ = untrained_detector()
    # The same function, but eight channels of one block are 400 times the others': eight bits leave the others nothing.
    block = encoder.backbone.get_submodule("layer3.2")
    with torch.no_grad():
        block.get_parameter("bn2.weight")[:8] *= 400
        block.get_parameter("bn2.bias")[:8] *= 400
        block.get_parameter("conv3.weight")[:, :8] /= 400
    graph = tmp_path / "encoder.onnx"
    export_encoder(encoder, graph, image_size_px=112)
    clips = [crops[start : start + 8] for start in range(0, 64, 8)]
    found = calibration.calibrate(
        graph, ClipHead(head, temperature=1.0), clips, encoder_sha256="x", crops_from="made", threshold=0.5
    )
    assert "layer3.2" in found.float_blocks
    assert len(found.float_blocks) <= 4
    assert found.cosine_min >= 0.999
    assert len(blocks_of(onnx.load(graph))) == 17
    calibration.save(found, tmp_path / "stored.json")
    assert calibration.load(tmp_path / "stored.json") == found


def test_an_lstm_with_eight_bit_weights(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        head = ClipHead(SequenceHead(1024, bias=False), temperature=1.0).eval()
        features = torch.rand(40, 2048)
    export_head(head, tmp_path / "head.onnx")
    write_int8_head(tmp_path / "head.onnx", tmp_path / "head.int8.onnx")
    assert (tmp_path / "head.int8.onnx").stat().st_size < 0.3 * (tmp_path / "head.onnx").stat().st_size
    import onnxruntime as ort

    session = ort.InferenceSession(tmp_path / "head.int8.onnx", providers=["CPUExecutionProvider"])
    (frames,) = session.run(["FRAME_PROBABILITIES"], {"FEATURES": features.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(frames, head(features)[1].numpy(), atol=5e-3)
