"""Rounds of several contestants in turn, so that a noisy machine disturbs all of them alike."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def in_turn(contestants: dict[str, Callable[[], Any]], *, rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Wall seconds of every round of every contestant; warm-up rounds are not in it."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(warm_up + rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: list[float]) -> dict[str, Any]:
    """Median, quartiles and the raw values, in seconds."""
    quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    return {
        "median_s": statistics.median(seconds),
        "quartiles_s": [quartiles[0], quartiles[2]],
        "raw_s": [round(value, 6) for value in seconds],
    }


def ratios(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """Ours over theirs, round by round."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"median": statistics.median(pairs), "raw": [round(value, 4) for value in pairs]}


def machine() -> dict[str, Any]:
    """What was measured on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
    }
