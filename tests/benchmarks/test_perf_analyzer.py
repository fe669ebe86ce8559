"""NVIDIA's perf_analyzer understands this server and mixed clip lengths; how the figures compare is for `unmask bench load`."""

import pytest

from benchmarks import perf_analyzer
from serving import EmbeddedTriton


def test_it_measures_mixed_lengths(triton_cpu: EmbeddedTriton) -> None:
    if reason := perf_analyzer.why_not():
        pytest.skip(reason)
    measured = perf_analyzer.measure(triton_cpu.grpc_url, frames=(1, 3), clients=1, seconds=1.0)
    assert measured.requests_per_s > 0
    assert 0 < measured.p50_ms <= measured.p99_ms
