"""Triton's own counters: where a request's time goes inside the server, by composing model."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass

from benchmarks.errors import ServerDied

PARTS = ("queue", "compute_input", "compute_infer", "compute_output")
_TIMEOUT_S = 30.0
"""Generous: a server that is kept busy is slow to answer, and not dead."""
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Counters:
    """One model since it was loaded."""

    requests: int
    executions: int
    total_ns: int
    """Of answered requests, from their arrival at the model to their answer."""
    parts_ns: dict[str, int]
    """By the names in ``PARTS``."""


def read(http_url: str) -> dict[str, Counters]:
    """Counters by model.

    Raises:
        ServerDied: Nobody answers.
    """
    try:
        with _opener.open(f"{http_url}/v2/models/stats", timeout=_TIMEOUT_S) as response:
            models = json.load(response)["model_stats"]
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        raise ServerDied(f"{http_url} does not answer any more ({error})") from error
    found = {}
    for model in models:
        stats = model["inference_stats"]
        found[model["name"]] = Counters(
            int(stats["success"]["count"]),
            int(model["execution_count"]),
            int(stats["success"]["ns"]),
            {part: int(stats[part]["ns"]) for part in PARTS},
        )
    return found


def split_ms(before: dict[str, Counters], after: dict[str, Counters]) -> dict[str, dict[str, float]]:
    """Mean milliseconds a request between two readings, by model: ``total``, the parts, and ``batch`` (requests an execution)."""
    result = {}
    for name, now in after.items():
        then = before.get(name, Counters(0, 0, 0, dict.fromkeys(PARTS, 0)))
        count = now.requests - then.requests
        if count:
            row = {part: (now.parts_ns[part] - then.parts_ns[part]) / count / 1e6 for part in PARTS}
            row["total"] = (now.total_ns - then.total_ns) / count / 1e6
            row["batch"] = count / max(1, now.executions - then.executions)
            result[name] = {key: round(value, 4) for key, value in row.items()}
    return result
