"""The parity report sees a graph that computes something else, says so of all that do, and writes what it saw."""

import json
import os
import shutil
from pathlib import Path

import pytest

from export.default_detector import untrained_detector
from export.detector import ClipHead, SequenceHead
from export.graphs import FILES, export_head
from export.load import Loaded
from export.report import report
from export.repository import Written

MODELS = ("frame_encoder", "clip_head", "deepfake_detector")


def test_all_that_differs_is_gathered(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("export.report.LENGTHS", (1, 5))
    monkeypatch.setattr("export.report.SPEED_FRAMES", 4)
    monkeypatch.setattr("export.report.SPEED_RUNS", 1)
    mine = Path(shutil.copytree(repository, tmp_path / "mine", copy_function=os.link, ignore=shutil.ignore_patterns(".*")))
    encoder, head, info = untrained_detector()
    other = mine / "clip_head" / "1" / FILES["fp16"]
    other.unlink()  # a link to a file that other tests use
    export_head(ClipHead(SequenceHead(), temperature=1.0).eval(), other, precision="fp16")
    nobody = tmp_path / "nobody"
    nobody.mkdir()
    written = Written(mine, MODELS, (), 1, int8=True)
    failures = report([Loaded(encoder, head, info, "unmask", Path())], [written], tmp_path / "out", media=nobody)
    assert [failure.split(":")[0] for failure in failures] == ["deepfake_detector in ONNX Runtime fp16 on random frames"]
    document = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert document["failures"] == failures
    found = {(row["engine"], row["precision"]): row for row in document["rows"]}
    assert {("PyTorch", "fp32"), ("ONNX Runtime", "fp32"), ("OpenVINO", "bf16"), ("Triton, reference", "fp32")} <= found.keys()
    assert found["Triton, reference", "fp32"]["logits_max"] <= 1e-4
    assert [part["frames"] for part in found["ONNX Runtime", "fp16"]["by_length"]] == [1, 5]
    assert (
        max(part["logits_max"] for part in found["ONNX Runtime", "fp16"]["by_length"])
        == found["ONNX Runtime", "fp16"]["logits_max"]
    )
    assert (tmp_path / "out" / "parity.png").read_bytes().startswith(b"\x89PNG")
    assert "deepfake_detector: |difference| from PyTorch" in capsys.readouterr().out
