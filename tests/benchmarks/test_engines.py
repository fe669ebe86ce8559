"""Engines without a server compute what the served models compute, before anybody compares their speed."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.clips import noise_clip
from benchmarks.engine_run import bare_twin
from benchmarks.engines import ENGINES, make
from benchmarks.engines.peak import multiply_adds_per_frame, peak_flops
from benchmarks.errors import EngineUnavailable, UsageError

# bf16 keeps eight bits of mantissa, int8 less; the untrained head's logits span about 10.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.15, "int8": 0.5}


@pytest.mark.parametrize(
    "name", [name for name in ENGINES if name not in ("torch-eager", "torch-channels-last", "torch-compile", "torch-cuda-bf16")]
)
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
