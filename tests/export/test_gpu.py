"""The gpu profile as far as it can be proved without a GPU: its configuration, and the second half of verify.sh on the processor."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

from export.default_detector import untrained_detector
from export.model_configs import ENGINE_CACHE, GPU_WARM_UP_FRAMES, encoder_config, from_text
from serving import EmbeddedTriton
from tests.conftest import ROOT

VERIFY = ROOT / "deploy" / "gpu" / "verify.py"


def test_the_engine_covers_every_length_and_is_kept() -> None:
    config = from_text((ROOT / "model_repository" / "frame_encoder" / "configs" / "gpu.pbtxt").read_text())
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    shapes = [accelerator.parameters[f"trt_profile_{part}_shapes"] for part in ("min", "opt", "max")]
    assert shapes == [f"FRAMES:{length}x112x112x3" for length in (1, 64, config.max_batch_size)]
    assert accelerator.parameters["trt_engine_cache_path"] == accelerator.parameters["trt_timing_cache_path"] == ENGINE_CACHE
    assert config.default_model_filename == "model.fp16.onnx"
    assert [item.batch_size for item in config.model_warmup] == list(GPU_WARM_UP_FRAMES) == [1, 16, 60, 100, 256]


def test_each_length_is_warmed_up_once() -> None:
    _, _, info = untrained_detector()
    config = encoder_config("frame_encoder", dataclasses.replace(info, max_frames=50), "gpu")
    assert [item.batch_size for item in config.model_warmup] == [1, 16, 50]
    assert len({item.name for item in config.model_warmup}) == 3


def test_verify_compares_and_measures_a_running_server(triton_cpu: EmbeddedTriton, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(VERIFY),
        "--grpc",
        triton_cpu.grpc_url,
        "--repository",
        str(triton_cpu.settings.model_repository),
    ]
    arguments = ["--out", str(tmp_path), "--runs", "1"]
    done = subprocess.run([*command, *arguments, "--profile", "cpu"], cwd=ROOT, capture_output=True, text=True)
    report = json.loads((tmp_path / "report.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["frames"] for row in report["rows"]] == [1, 16, 60, 100, 256]
    assert all(row["frames_per_s"] > 0 for row in report["rows"])
    assert report["failures"] == []


def test_verify_does_not_take_another_profile_or_an_empty_cache_for_proof(triton_cpu: EmbeddedTriton, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(VERIFY),
        "--grpc",
        triton_cpu.grpc_url,
        "--repository",
        str(triton_cpu.settings.model_repository),
    ]
    (tmp_path / "engines").mkdir()
    arguments = ["--out", str(tmp_path), "--runs", "1", "--engines", str(tmp_path / "engines")]
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "frame_encoder runs the profile 'cpu', not 'gpu'" in done.stdout
    assert "holds no TensorRT engine" in done.stdout


def test_verify_sh_says_what_is_missing(tmp_path: Path) -> None:
    # A PATH with the shell's own tools and no docker.
    for tool in ("bash", "env", "dirname", "realpath", "sed", "head"):
        (tmp_path / tool).symlink_to(Path("/usr/bin") / tool)
    done = subprocess.run(["deploy/gpu/verify.sh"], cwd=ROOT, capture_output=True, text=True, env={"PATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (2, "verify.sh: docker is not installed\n")
