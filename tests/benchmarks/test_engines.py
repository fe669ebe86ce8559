"""Engines without a server compute what the served models compute, before anybody compares their speed."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.clips import noise_clip
from benchmarks.engine_run import _distance_to_peak, bare_twin
from benchmarks.engines import ENGINES, engines_of, make
from benchmarks.engines.peak import multiply_adds_per_frame, peak_flops
from benchmarks.errors import EngineUnavailable, UsageError
from benchmarks.record import Record, Series
from benchmarks.tables import rows

# bf16 keeps eight bits of mantissa, int8 less; the untrained head's logits span about 10.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.15, "int8": 0.5}


@pytest.mark.parametrize("name", [name for name in ENGINES if name not in ("torch-eager", "torch-compile", "torch-cuda-bf16")])
def test_an_engine_agrees_with_pytorch(name: str, repository: Path) -> None:
    try:
        engine = make(name, repository)
    except EngineUnavailable as error:
        pytest.skip(str(error))
    clip = noise_clip(5)
    eager = make("torch-eager", repository)
    assert engine.tune(5)
    np.testing.assert_allclose(engine.run(clip), eager.run(clip), atol=TOLERANCE[engine.precision])
    assert engine.encode(clip).shape == (5, 2048)
    assert engine.size_bytes > 10_000_000
    engine.close()


def test_an_unknown_engine_is_named(repository: Path) -> None:
    with pytest.raises(UsageError, match="no engine 'abacus'"):
        make("abacus", repository)


def test_the_served_profiles_have_a_bare_twin(repository: Path) -> None:
    assert bare_twin("reference", repository) == "onnxruntime-fp32"
    assert bare_twin("cpu", repository) in ("openvino-bf16", "openvino-int8")


def test_the_operations_of_a_frame_are_counted() -> None:
    # The paper's 4.2e9 multiply-adds are at 224 px; a quarter of the pixels is a quarter of that, but for the rounding of sizes.
    assert multiply_adds_per_frame(224) == pytest.approx(4.2e9, rel=0.02)
    assert multiply_adds_per_frame(112) == pytest.approx(multiply_adds_per_frame(224) / 4, rel=0.1)


def test_a_peak_of_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="fp4"):
        peak_flops("fp4")


def test_the_distance_to_the_peak_is_of_the_same_precision() -> None:
    def series(engine: str, precision: str) -> Series:
        labels: dict[str, str | int | float] = {"engine": engine, "precision": precision, "frames": 10, "served": "no"}
        return Series(name=engine, unit="s", samples=[0.1], labels=labels)

    run = Record(
        kind="engines", settings={}, figures={"operations_per_frame": 2e9, "peak_gflops": {"fp32": 400.0, "bf16": 1000.0}},
        series=[series("a", "fp32"), series("b", "bf16"), series("c", "int8"), series("torch-cuda-bf16", "bf16")],
    )  # fmt: skip
    _distance_to_peak(run)
    # 100 frames/s x 2 GFLOP = 200 GFLOP/s.
    assert [item.figures.get("share_of_peak") for item in run.series] == [0.5, 0.2, None, None]
    assert [row[-1] for row in rows(run)] == ["50%", "20%", "", ""]


def test_engines_of_cuda_are_for_machines_with_a_gpu() -> None:
    without = engines_of({"gpus": []})
    assert {"torch-eager", "torch-channels-last", "torch-bf16", "torch-compile", "onnxruntime-fp32", "openvino-int8"} <= set(
        without
    )
    assert not any("cuda" in name for name in without)
    assert engines_of({"gpus": ["NVIDIA H200"]}) == tuple(ENGINES)
